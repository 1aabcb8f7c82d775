/** Do the verbs that show something (status, sessions, plan, trace, capture) show what is there? */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { frameOf } from "../../controlplane/cli/pcap.ts";
import { siteText, withAgent } from "../api/harness.ts";
import { inDirectory, offramp, on, program, root } from "./harness.ts";

test("plan and trace work on the store of a site whose agent does not run", () =>
  withAgent(async (running) => {
    await running.call("POST", "/service", { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" });
    await running.agent.stop();
    const file = join(running.stateDir, "site.yaml");
    writeFileSync(file, siteText(running.stateDir));
    assert.is(
      (await offramp(["plan", "--config", file])).out,
      'rule 1 "web" priority 100: to 203.0.113.80/32: take → 10.60.0.80\nprotect 192.0.2.0/24 10.60.0.1/32\n',
    );
    const traced = await offramp([
      "trace",
      "--config",
      file,
      "--ue",
      "10.45.0.2",
      "--dst",
      "203.0.113.80",
      "--dport",
      "80",
      "--json",
    ]);
    assert.is(JSON.parse(traced.out).verdict, "take", traced.err);
  }));

test("trace names each rule that is met, from fields and from a frame of a capture", () =>
  withAgent(async (running) => {
    await running.call("POST", "/service", { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" });
    const rules = { priority: "200", nw_dst: "203.0.113.80", nw_src: "10.45.9.0/24", protocol: "tcp", tp_dst: "80" };
    await running.call("POST", "/service", { name: "not-these", rules });
    const trace = async (...args: string[]) => (await offramp(["trace", ...args], on(running))).out;
    assert.is(
      await trace("--ue", "10.45.0.2", "--dst", "203.0.113.80", "--sport", "5000", "--dport", "80"),
      [
        "tunnel 0x00000001 198.51.100.1 → 198.51.100.2",
        "packet 10.45.0.2:5000 → 203.0.113.80:80 protocol 6 (flags S)",
        "assumed: 10.45.0.2 has no uplink tunnel that is known: as if it had just sent through this one",
        '  · rule 2 "not-these" priority 200: to 203.0.113.80/32 from 10.45.9.0/24 proto 6 port 80: pass  (source is not in 10.45.9.0/24)',
        '  ✓ rule 1 "web" priority 100: to 203.0.113.80/32: take → 10.60.0.80',
        'taken by service "web": destination becomes 10.60.0.80 port 80',
        "",
      ].join("\n"),
    );
    assert.match(
      await trace("--ue", "10.45.9.2", "--dst", "203.0.113.80", "--dport", "80"),
      'service "not-these" leaves it there',
    );
    assert.match(await trace("--ue", "10.45.0.2", "--dst", "192.0.2.1"), "dropped: 192.0.2.1 is in 192.0.2.0/24");
    assert.match(await trace("--ue", "10.45.0.2", "--dst", "198.51.100.1"), "no rule matches");
    assert.is((await offramp(["trace", "--ue", "x", "--dst", "1.2.3.4"], on(running))).code, 2);
  }));

test("status, sessions and bypass", () =>
  withAgent(async (running) => {
    running.dataplane.known.push({
      dataplane: "s1",
      ue: "10.45.0.2",
      index: 1,
      epoch: 1,
      baseStation: "198.18.1.2",
      gateway: "198.18.2.2",
      state: "up",
      bearers: [
        {
          direction: "uplink",
          teid: 1,
          baseStation: "198.18.1.2",
          gateway: "198.18.2.2",
          vlans: [],
          state: "live",
          overhead: 36,
        },
        {
          direction: "downlink",
          teid: 2,
          baseStation: "198.18.1.2",
          gateway: "198.18.2.2",
          vlans: [],
          state: "stale",
          overhead: 44,
          qfi: 9,
        },
      ],
      flows: 3,
      idle: 1,
      age: 3700,
    });
    assert.is(
      (await offramp(["sessions", "--ue", "10.45.0.2"], on(running))).out,
      [
        "UE         DATAPLANE  STATE  STATION     GATEWAY     BEARERS                                       FLOWS  IDLE  AGE",
        "10.45.0.2  s1         up     198.18.1.2  198.18.2.2  up 0x00000001, down 0x00000002 (stale qfi 9)  3      1s    1h1m",
        "",
      ].join("\n"),
    );
    assert.is((await offramp(["sessions", "--ue", "10.45.0.3"], on(running))).out, "no sessions\n");
    running.dataplane.samples = [{ dataplane: "s1", name: "pass_no_rule", packets: 1234567n, bytes: 9n }];
    const status = await offramp(["status"], on(running));
    assert.match(status.out, /^offramp \S+: ready, 0 services\n\ns1: gtp, offload; 1 session, 0 flows\n/);
    assert.match(status.out, "core   cor0  up  MTU 1600  generic: the probe did not arrive");
    assert.match(status.out, /s1 +pass_no_rule +1 234 567 +9/);
    assert.is((await offramp(["bypass", "on"], on(running))).out, "s1: bypass\ns2: bypass\n");
    assert.match((await offramp(["status"], on(running))).out, "s1: gtp, bypass, site.yaml says offload");
    assert.is((await offramp(["bypass", "off", "s2"], on(running))).out, "s2: observe\n");
    assert.is(running.dataplane.modes.get("s1"), "bypass");
    assert.is((await offramp(["bypass", "on", "nobody"], on(running))).code, 1);
    assert.equal(JSON.parse((await offramp(["status", "--json"], on(running))).out).dataplanes.length, 2);
  }));

test("capture writes pcapng, and ends by itself when told how many", () =>
  withAgent(async (running) =>
    inDirectory(async (directory) => {
      const file = join(directory, "x.pcapng");
      const data = new Uint8Array(60);
      const feed = setInterval(
        () =>
          running.dataplane.packet({
            time: 1n,
            dataplane: "s1",
            port: 0,
            verdict: 0,
            service: 0,
            inner: false,
            length: 60,
            data,
          }),
        5,
      );
      const { code, err } = await offramp(["capture", "--count", "3", "-w", file], on(running));
      clearInterval(feed);
      assert.is(code, 0, err);
      assert.is(readFileSync(file).readUInt32LE(0), 0x0a0d0d0a);
      const traced = await offramp(["trace", "--pcap", file, "--frame", "3"], on(running));
      assert.is(
        traced.out,
        "captured: pass_not_gtpu dataplane=s1 port=0\npasses untouched: not IP: Ethernet type 0x0000\n",
        traced.err,
      );
      assert.match(
        (await offramp(["trace", "--pcap", file, "--frame", "4"], on(running))).err,
        "there is no frame 4: the file has 3",
      );
    }),
  ));

test("capture ended by a signal leaves a whole file, and gives the capture back", () =>
  withAgent(async (running) =>
    inDirectory(async (directory) => {
      const file = join(directory, "x.pcapng");
      const packet = {
        time: 1n,
        dataplane: "s1",
        port: 0,
        verdict: 0,
        service: 0,
        inner: false,
        length: 60,
        data: new Uint8Array(60),
      };
      const child = spawn(process.execPath, [...program, "capture", "-w", file, "--api", running.url], { cwd: root });
      const ended = new Promise((resolve) => child.on("close", resolve));
      let sent = 0;
      const feed = setInterval(() => {
        if (running.dataplane.capturing > 0 && sent < 5) {
          running.dataplane.packet(packet);
          sent += 1;
        } else if (existsSync(file) && statSync(file).size > 500) {
          clearInterval(feed);
          child.kill("SIGINT");
        }
      }, 5);
      const code = await ended;
      clearInterval(feed);
      assert.is(code, 0);
      assert.ok(frameOf(readFileSync(file), 5));
      for (let turn = 0; turn < 200 && running.dataplane.capturing > 0; turn += 1)
        await new Promise((resolve) => setTimeout(resolve, 10));
      assert.is(running.dataplane.capturing, 0);
      assert.is((await offramp(["capture", "-w", "/nonexistent/x"], on(running))).code, 1);
    }),
  ));

test.run();
