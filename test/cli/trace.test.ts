/** Does `trace` read frames as they are on the wire, and never trip over one? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { frameOf } from "../../controlplane/cli/pcap.ts";
import { traceFrame, traceLines } from "../../controlplane/cli/trace.ts";
import { pcapngHeader, pcapngPacket } from "../../controlplane/sessions/pcapng.ts";
import { decodeFrame, type Stop } from "../../controlplane/trace/frame.ts";
import type { Steering } from "../../dataplane/steering.ts";

const hex = (text: string) => new Uint8Array(Buffer.from(text.replace(/[^0-9a-f]/g, ""), "hex"));

const mac = "020000000002 020000000001";
/** TCP 10.45.0.2:5000 → 203.0.113.80:80, SYN. */
const inner4 = "45000028 00010000 40063450 0a2d0002 cb007150  1388 0050 00000001 00000000 5002ffff 00000000";
/** UDP [2001:db8:45::2]:5000 → [2001:db8:80::1]:53, empty. */
const inner6 =
  "60000000 0008 11 40 20010db8004500000000000000000002 20010db8008000000000000000000001 1388 0035 0008 0000";
const length = (text: string) => hex(text).length;
const word = (value: number) => value.toString(16).padStart(4, "0");

function udp4(payload: string, port = 2152): string {
  const size = length(payload);
  return `4500${word(28 + size)} 00000000 40110000 c6120102 c6120202  ${word(2152)}${word(port)}${word(8 + size)}0000 ${payload}`;
}
const gtpu = (inner: string) => `30ff${word(length(inner))}00001234 ${inner}`;
/** With a PDU Session Container (uplink, QFI 9) behind a sequence number. */
const gtpuPsc = (inner: string) => `36ff${word(length(inner) + 8)}00001234 00070085 01100900 ${inner}`;
const frame = (payload: string, type = "0800") => hex(`${mac} ${type} ${payload}`);

const steering: Steering = {
  rules: [
    {
      id: 1,
      service: 1,
      name: "web",
      priority: 100,
      match: { destination: ["203.0.113.80/32"], protocol: [6], destinationPorts: [[80, 80]] },
      action: "take",
      endpoints: [{ address: "10.60.0.80", port: 8080 }],
      appInitiated: false,
    },
  ],
  protect: [],
};

const tunnel = {
  teid: 0x1234,
  source: "198.18.1.2",
  destination: "198.18.2.2",
  vlans: [] as number[],
  unsound: true as const,
};
const packet4 = {
  source: "10.45.0.2",
  destination: "203.0.113.80",
  protocol: 6,
  sourcePort: 5000,
  destinationPort: 80,
  dscp: 0,
  tcpFlags: "S",
};
const packet6 = {
  source: "2001:db8:45::2",
  destination: "2001:db8:80::1",
  protocol: 17,
  sourcePort: 5000,
  destinationPort: 53,
  dscp: 0,
};
const link = { sourceMac: "02:00:00:00:00:01", destinationMac: "02:00:00:00:00:02", vlans: [] as number[] };

test("plain GTP-U", () => assert.equal(decodeFrame(frame(udp4(gtpu(inner4)))), { link, tunnel, inner: packet4 }));
test("GTP-U with sequence number and PDU Session Container, IPv6 inside", () =>
  assert.equal(decodeFrame(frame(udp4(gtpuPsc(inner6)))), { link, tunnel: { ...tunnel, qfi: 9 }, inner: packet6 }));
test("two VLAN tags", () =>
  assert.equal(decodeFrame(hex(`${mac} 88a8 0064 8100 00c8 0800 ${udp4(gtpu(inner4))}`)), {
    link: { ...link, vlans: [100, 200] },
    tunnel: { ...tunnel, vlans: [100, 200] },
    inner: packet4,
  }));

const stops: [string, Uint8Array, string][] = [
  ["ARP", frame("0001", "0806"), "not IP: Ethernet type 0x0806"],
  ["another port", frame(udp4(gtpu(inner4), 2123)), "not GTP-U: not UDP to port 2152"],
  ["an Echo Request", frame(udp4("320100040000000000000000")), "GTP-U signalling, message type 1"],
  ["version 0", frame(udp4(gtpu(inner4).replace("30ff", "10ff"))), "GTP of another version, or GTP′"],
  [
    "a GTP-U length that lies",
    frame(udp4(gtpu(inner4).replace("30ff0028", "30ff0029"))),
    "GTP-U whose length is too large",
  ],
  [
    "an extension header of no length",
    frame(udp4(gtpuPsc(inner4).replace("01100900", "00100900"))),
    "an extension header with an impossible length",
  ],
  ["no IP inside", frame(udp4(gtpu("00000000"))), "inside the tunnel: neither IPv4 nor IPv6"],
  ["a runt", hex("0200"), "a frame that is cut off"],
];
for (const [sentence, octets, stopped] of stops) {
  test(`stops at ${sentence}`, () => assert.is((decodeFrame(octets) as Stop).stopped, stopped));
}

test("the walk is told whole", () => {
  assert.equal(
    traceLines(traceFrame(steering, { data: frame(udp4(gtpu(inner4))), raw: false, comment: "take_uplink" })),
    [
      "captured: take_uplink",
      "tunnel 0x00001234 198.18.1.2 → 198.18.2.2",
      "packet 10.45.0.2:5000 → 203.0.113.80:80 protocol 6 (flags S)",
      '  ✓ rule 1 "web" priority 100: to 203.0.113.80/32 proto 6 port 80: take → 10.60.0.80:8080',
      'taken by service "web": destination becomes 10.60.0.80 port 8080',
    ],
  );
});

test("a packet that was captured inside", () => {
  const { packet, tunnel, verdict } = traceFrame(steering, { data: hex(inner6), raw: true });
  assert.equal([packet, tunnel, verdict], [packet6, undefined, "pass"]);
});

test("no frame makes it throw: cut anywhere, changed anywhere", () => {
  const good = [
    frame(udp4(gtpu(inner4))),
    frame(udp4(gtpuPsc(inner6))),
    hex(`${mac} 8100 0064 0800 ${udp4(gtpu(inner4))}`),
  ];
  const change = fc.tuple(fc.nat(200), fc.nat(255));
  fc.assert(
    fc.property(fc.constantFrom(...good), fc.nat(200), fc.array(change, { maxLength: 4 }), (from, cut, changes) => {
      const octets = from.slice(0, cut);
      for (const [at, value] of changes) if (at < octets.length) octets[at] = value;
      for (const raw of [false, true]) traceFrame(steering, { data: octets, raw });
    }),
    { numRuns: 20_000 },
  );
});

test("frames of pcap and pcapng are found by number, in either byte order, and damage is said", () => {
  const frames = [hex("01"), hex("0203"), hex("040506")];
  const classic = (little: boolean) => {
    const parts = [Buffer.alloc(24)];
    const put32 = (buffer: Buffer, value: number, at: number) =>
      little ? buffer.writeUInt32LE(value, at) : buffer.writeUInt32BE(value, at);
    put32(parts[0] as Buffer, 0xa1b2c3d4, 0);
    put32(parts[0] as Buffer, 1, 20);
    for (const octets of frames) {
      const head = Buffer.alloc(16);
      put32(head, octets.length, 8);
      put32(head, octets.length, 12);
      parts.push(head, Buffer.from(octets));
    }
    return Buffer.concat(parts);
  };
  const block = (data: Uint8Array) => pcapngPacket({ inner: false, time: 1n, length: data.length, data, comment: "x" });
  const next = Buffer.concat([pcapngHeader(65535), ...frames.map(block)]);
  for (const file of [classic(true), classic(false), next]) {
    for (const [index, octets] of frames.entries()) {
      const found = frameOf(file, index + 1);
      assert.equal(Buffer.from(found.data), Buffer.from(octets));
      assert.is(found.comment, file === next ? "x" : undefined);
    }
    assert.throws(() => frameOf(file, 4), "there is no frame 4: the file has 3");
    assert.throws(() => frameOf(file.subarray(0, file.length - 1), 3), /cut off or damaged|damaged/);
  }
  assert.throws(() => frameOf(Buffer.alloc(100), 1), "not a capture file");
});

test.run();
