/**
 * Does `trace` know what becomes of a packet, and does the real program agree (C7)?
 *
 * A real agent on a real wire.
 */
import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { pcapngHeader, pcapngPacket } from "../../controlplane/sessions/pcapng.ts";
import type { Trace, TraceRequest } from "../../controlplane/trace/explain.ts";
import { inNamespace } from "../ebpf/namespace.ts";
import * as s from "../ebpf/site.ts";
import { offramp, type Site, startSite } from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

const run = promisify(execFile);
let site: Site;
const send = (from: string, frame: string, to: string, contains: string) =>
  run("python3", ["test/ebpf/wire.py", from, frame, to, contains]);
const trace = async (request: TraceRequest): Promise<Trace> => {
  const { status, body } = await site.post("/api/v1/trace", request);
  assert.is(status, 200, JSON.stringify(body));
  return body as unknown as Trace;
};
const to = (destination: string, destinationPort: number, protocol = 17, source = s.UE): TraceRequest => ({
  packet: { source, destination, protocol, sourcePort: 5000, destinationPort },
});
const fate = ({ reason, agrees, program, differences }: Trace) => ({
  reason,
  program: program?.verdict,
  agrees: agrees || differences,
});

test("C7: a UE that nobody knows: its tunnel is made up, its packet taken, and both ways of knowing agree", async () => {
  site = await startSite();
  const one = await trace(to("203.0.113.80", 80));
  assert.equal(fate(one), { reason: "take_uplink", program: "take_uplink", agrees: true });
  assert.match(one.assumed!, "no uplink tunnel");
  assert.is(one.text, 'taken by service "web": destination becomes 10.60.0.10 port 8080');
  assert.equal([one.program!.service, one.program!.rule], ["web", 1]);
  assert.equal(
    [one.program!.packet!.source, one.program!.packet!.destination, one.program!.packet!.destinationPort],
    [s.UE, "10.60.0.10", 8080],
  );
});

test("C7: the reason why no rule is met is named, as are protected prefixes", async () => {
  const other = await trace(to("203.0.113.80", 81));
  assert.equal(fate(other), { reason: "pass_no_rule", program: "pass_no_rule", agrees: true });
  assert.equal(
    other.steps.map(({ rule, met, because }) => `${rule.name} ${met} ${because}`),
    ["web false destination port is not 80"],
  );
  const guarded = await trace(to("192.0.2.7", 53));
  assert.equal(fate(guarded), { reason: "drop_protected", program: "drop_protected", agrees: true });
  assert.equal(fate(await trace(to("192.0.2.7", 2123))), {
    reason: "drop_gtp_in_gtp",
    program: "drop_gtp_in_gtp",
    agrees: true,
  });
});

test("C7: from the core, and from an app, with and without a flow", async () => {
  const down: TraceRequest = { way: "downlink", packet: { source: "203.0.113.99", destination: s.UE, protocol: 17 } };
  assert.equal(fate(await trace(down)), { reason: "pass_downlink", program: "pass_downlink", agrees: true });
  const reply: TraceRequest = {
    way: "apps",
    packet: { source: "10.60.0.10", destination: s.UE, protocol: 17, sourcePort: 8080, destinationPort: 5000 },
  };
  assert.equal(fate(await trace(reply)), { reason: "drop_no_flow", program: "drop_no_flow", agrees: true });
  await send("enb0", s.other("u"), "sgw0", s.marked("u"));
  await send("sgw0", s.fromCore("d"), "enb0", s.marked("d"));
  await send("enb0", s.request("r"), "app0", s.marked("r"));
  const one = await trace(reply);
  assert.equal(fate(one), { reason: "reply_downlink", program: "reply_downlink", agrees: true });
  assert.equal(one.program!.tunnel, { teid: 0x22, source: s.SGW, destination: s.ENB, vlans: [] });
  assert.is(one.program!.packet!.source, "203.0.113.80");
  const again = await trace(to("203.0.113.80", 80));
  assert.equal([fate(again).agrees, again.tunnel!.teid, again.assumed], [true, 0x11, undefined]);
  assert.match(again.text, 'its flow is known, by rule 1 "web"');
});

test("C7: tunnels that are not the UE's own", async () => {
  const claim = await trace({ ...to("203.0.113.80", 80), tunnel: { teid: 0x99 } });
  assert.equal(fate(claim), { reason: "pass_unproven", program: "pass_unproven", agrees: true });
  const stolen = await trace({
    ...to("203.0.113.80", 80, 17, "10.45.0.77"),
    tunnel: { teid: 0x11, source: s.ENB, destination: s.SGW },
  });
  assert.equal(fate(stolen), { reason: "pass_not_own_source", program: "pass_not_own_source", agrees: true });
  const moved = await trace({ ...to("203.0.113.80", 80), tunnel: { source: "198.18.1.99" } });
  assert.equal(fate(moved).agrees, true);
});

test("C7: modes, and TCP that runs already", async () => {
  await site.post("/service", { name: "all", serviceIP: "203.0.113.90", applicationIP: "10.60.0.10" });
  const tcp = (tcpFlags?: string): TraceRequest => {
    const { packet } = to("203.0.113.90", 443, 6);
    return { packet: { ...packet!, ...(tcpFlags !== undefined && { tcpFlags }) } };
  };
  assert.equal(fate(await trace(tcp())), { reason: "take_uplink", program: "take_uplink", agrees: true });
  assert.equal(fate(await trace(tcp("PA"))), {
    reason: "pass_mid_connection",
    program: "pass_mid_connection",
    agrees: true,
  });
  await site.dataplane.setMode("s1", "observe");
  assert.equal(fate(await trace(tcp())), { reason: "pass_observe", program: "pass_observe", agrees: true });
  await site.dataplane.setMode("s1", "bypass");
  assert.equal(fate(await trace(tcp())), { reason: "pass_bypass", program: "pass_bypass", agrees: true });
  await site.dataplane.setMode("s1", "offload");
});

test("C7: a frame of a capture, whichever side it is from, over the command line", async () => {
  const file = `/tmp/ofr-${process.pid}-why.pcapng`;
  const frames = [
    s.request("captured"),
    s.fromCore("captured"),
    s.answer("captured"),
    `${s.MAC.slice(0, 24)}0806${"00".repeat(46)}`,
  ];
  const packets = frames.map((frame) => {
    const data = Uint8Array.from(Buffer.from(frame, "hex"));
    return pcapngPacket({ inner: false, time: 1n, length: data.length, data, comment: "as it came" });
  });
  writeFileSync(file, Buffer.concat([pcapngHeader(65535), ...packets]));
  try {
    const outcome = async (frame: number) => {
      const { code, out, err } = await offramp(site.url, ["trace", "--pcap", file, "--frame", `${frame}`]);
      assert.is(code, 0, err + out);
      return out;
    };
    const taken = await outcome(1);
    assert.match(taken, "captured: as it came\ntunnel 0x00000011 198.18.1.10 → 198.18.2.20\n");
    assert.match(taken, 'program: take_uplink (taken out of its tunnel), service "web" rule 1\n');
    assert.match(taken, /\nagrees\n$/);
    assert.match(await outcome(2), "from the core on s1\n");
    assert.match(await outcome(3), "from an app\n");
    assert.match(await outcome(4), "passes untouched: not IP: Ethernet type 0x0806\nprogram: pass_not_gtpu");
  } finally {
    rmSync(file);
  }
});

test("bad requests are refused, with the field", async () => {
  const refuse = async (body: unknown) => {
    const { status, body: problem } = await site.post("/api/v1/trace", body);
    return `${status} ${JSON.stringify((problem.errors as { field: string }[] | undefined)?.map(({ field }) => field))}`;
  };
  assert.is(await refuse({}), '400 ["frame"]');
  assert.is(await refuse({ ...to("1.2.3.4", 1), frame: "00" }), '400 ["frame"]');
  assert.is(await refuse(to("nonsense", 1)), '400 ["packet.destination"]');
  assert.is(await refuse(to("2001:db8::1", 1)), '400 ["packet.destination"]');
  assert.match(await refuse({ frame: "0" }), /^400/);
  assert.match(await refuse({ ...to("1.2.3.4", 1), surprise: 1 }), /^400/);
  assert.match(await refuse({ ...to("1.2.3.4", 1), dataplane: "nobody" }), /^404/);
});

test("it ends", async () => {
  await site.agent.stop();
  await site.dataplane.down({ unwire: true });
});

test.run();
