/** Do `offramp verify` and the options of `service add` say and do what they should (C7, A16, A17)? */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { siteText, withAgent } from "../api/harness.ts";
import { inDirectory, offramp, on } from "./harness.ts";

const second = (name: string, priority: number, rules: Record<string, unknown>) => ({
  name,
  rules: { priority, nw_src: "10.45.0.0/16", ...rules },
});

test("C7: verify of a running agent, of a file, and of a store whose agent does not run", () =>
  withAgent(async (running) => {
    await running.call("POST", "/service", second("old", 10, { nw_dst: "203.0.113.7" }));
    const nothing = await offramp(["verify"], on(running));
    assert.equal(
      [nothing.code, nothing.out],
      [0, "1 rule verified: nothing found; the data plane has what they mean\n"],
    );
    const added = await offramp(
      ["service", "add", "new", "--priority", "20", "--dst", "203.0.113.0/24", "--src", "10.45.0.0/16", "--drop"],
      on(running),
    );
    assert.equal(
      [added.code, added.err],
      [0, 'warning: service "old" never acts: new has all of its packets; see offramp verify\n'],
    );
    const said = (more: string) =>
      `shadowed: "old" never acts: "new", of higher priority, has all of its packets; for example 10.45.0.2:50000 → 203.0.113.7:443 tcp\n2 rules verified: 1 finding${more}\n`;
    const found = await offramp(["verify"], on(running));
    assert.equal([found.code, found.out], [1, said("; the data plane has what they mean")]);
    await running.agent.stop();
    const file = join(running.stateDir, "site.yaml");
    writeFileSync(file, siteText(running.stateDir));
    const stored = await offramp(["verify", "--config", file]);
    assert.equal([stored.code, stored.out], [1, said("")]);
    const list = join(running.stateDir, "list.json");
    writeFileSync(list, JSON.stringify([second("a", 5, {}), second("b", 5, { nw_dst: "203.0.113.1" })]));
    const listed = await offramp(["verify", "--config", file, "--file", list, "--json"]);
    assert.is(listed.code, 1);
    assert.equal(
      JSON.parse(listed.out).findings.map(({ kind, packet }: { kind: string; packet: object }) => [kind, packet]),
      [
        [
          "conflict",
          { source: "10.45.0.2", destination: "203.0.113.1", protocol: 6, sourcePort: 50000, destinationPort: 443 },
        ],
      ],
    );
  }));

test("C7: verify names what is wrong with a file", () =>
  inDirectory(async (directory) => {
    const site = join(directory, "site.yaml");
    writeFileSync(site, siteText(directory));
    const list = join(directory, "list.yaml");
    writeFileSync(list, "- { name: x, rules: { priority: 1, nw_src: 10.45.0.0/16, tp_dst: 80 } }");
    const { code, err } = await offramp(["verify", "--config", site, "--file", list]);
    assert.is(code, 1);
    assert.match(err, "[0].rules.tp_dst: needs protocol 6 (tcp) or 17 (udp)");
  }));

test("A16, A17: the options of service add mean the fields of the second form", () =>
  withAgent(async (running) => {
    const add = (...args: string[]) => offramp(["service", "add", ...args], on(running));
    const { code, err } = await add(
      ...["web", "--priority", "7", "--dst", "203.0.113.1,203.0.113.2", "--protocol", "tcp", "--dport", "80,8000-8099"],
      ...["--dscp", "EF", "--on", "s1", "--vlan", "100", "--teid", "0x10-0x20", "--gateway", "198.18.2.1"],
      ...["--endpoint", "10.60.0.2:80,10.60.0.3:80", "--affinity", "ue", "--rate-up", "10M", "--mirror", "tap0"],
      ...["--health", "http:8080/ok"],
    );
    assert.is(code, 0, err);
    assert.equal((await running.call("GET", "/service/web")).body, {
      name: "web",
      rules: {
        priority: "7",
        nw_dst: ["203.0.113.1", "203.0.113.2"],
        nw_src: "0.0.0.0/0",
        protocol: "tcp",
        tp_dst: ["80", "8000-8099"],
        nw_dscp: "EF",
        in_port: "s1",
        dl_vlan: "100",
        tun_dst: "198.18.2.1",
        tun_id: "0x10-0x20",
        endpoints: [
          { address: "10.60.0.2", port: "80" },
          { address: "10.60.0.3", port: "80" },
        ],
        affinity: "ue",
      },
      mirror: { port: "tap0" },
      rate: { uplink: "10M" },
      health: { type: "http", port: "8080", path: "/ok" },
    });
    const away = ["--forward", "eth2.7", "--next-hop", "10.70.0.1", "--tunnel", "gtp-u/198.18.2.9"];
    assert.is((await add("away", "--priority", "10", "--src", "10.45.0.7", ...away)).code, 0);
    const tapped = ["--direction", "downlink", "--output", "--tunnel", "gre/10.70.0.9"];
    assert.is((await add("tapped", "--priority", "11", "--dst", "203.0.113.9", ...tapped)).code, 0);
    const rules = async (name: string) =>
      ((await running.call("GET", `/service/${name}`)).body as { rules: unknown }).rules;
    const tunnel = { type: "gtp-u", destination: "198.18.2.9" };
    assert.equal(await rules("away"), {
      ...{ priority: "10", nw_src: "10.45.0.7" },
      forward: { port: "eth2", vlan: "7", address: "10.70.0.1", tunnel },
    });
    assert.equal(await rules("tapped"), {
      ...{ priority: "11", nw_dst: "203.0.113.9", nw_src: "0.0.0.0/0", direction: "downlink" },
      output: { tunnel: { type: "gre", destination: "10.70.0.9" } },
    });
    assert.match((await add("x", "--priority", "12", "--next-hop", "10.70.0.1")).err, "give one of those");
    assert.is((await add("echo", "--priority", "9", "--message", "echo-request", "--drop")).code, 0);
    const { out } = await offramp(["service", "ls"], on(running));
    assert.match(out, "any message echo-request");
    assert.match(out, "203.0.113.9 only downlink");
    assert.match(out, "with the tunnel: eth2 VLAN 7 to 10.70.0.1 by GTP-U to 198.18.2.9");
    assert.match(out, "(dropped)");
    assert.match(out, "10.60.0.2:80, 10.60.0.3:80; copied to tap0; at most 10M up, any down");
  }));

test.run();
