/**
 * Is what was cut whole again, and is nothing whole that should not be?
 *
 * Random packets, random cuts, any order of arrival; tshark as a second opinion on our fragments.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fragmentIpv4 } from "../../controlplane/sessions/fragment.ts";
import { checksum, concat, put16, u16 } from "../../controlplane/sessions/octets.ts";
import { pcapngHeader, pcapngPacket } from "../../controlplane/sessions/pcapng.ts";
import { Reassembler, reassemblyLimits } from "../../controlplane/sessions/reassembly.ts";

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex");

interface Shape {
  tags: number[];
  options: number[];
  payload: Uint8Array;
  id: number;
}

/** An IPv4 packet in an Ethernet frame; fields of fragmentation clear. */
function ipv4({ tags, options, payload, id }: Shape, flags = 0): Uint8Array {
  const link = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
  for (const tag of tags) link.push(0x81, 0x00, tag >> 8, tag & 0xff);
  link.push(8, 0);
  const header = Uint8Array.from([
    0x40 | (5 + options.length / 4),
    0x28,
    0,
    0,
    id >> 8,
    id & 0xff,
    flags >> 8,
    0,
    61,
    17,
    0,
    0,
    ...[198, 18, 1, 2, 198, 18, 2, 1],
    ...options,
  ]);
  put16(header, 2, header.length + payload.length);
  put16(header, 10, checksum(header, 0, header.length));
  return concat([Uint8Array.from(link), header, payload]);
}

/** Whole options: no operation, router alert (copied), record route (not copied), padded with "end". */
const optionList = fc
  .array(fc.constantFrom([1], [0x94, 4, 0, 0], [7, 7, 4, 0, 0, 0, 0]), { maxLength: 5 })
  .map((list) => {
    const flat = list.flat();
    while (flat.length % 4 !== 0) flat.push(0);
    return flat;
  });

const shape = fc.record({
  tags: fc.constantFrom<number[]>([], [7], [7, 0x2fff]),
  options: optionList,
  payload: fc.uint8Array({ minLength: 1, maxLength: 4000, size: "max" }),
  id: fc.nat(0xffff),
});

/** All frames into one reassembler; the outcome of each. */
function feed(frames: Uint8Array[], reassembler = new Reassembler()): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (const frame of frames) {
    const outcome = reassembler.accept(frame, "s1", 0, true);
    if (outcome.result === "complete") out.push(outcome.frame);
  }
  return out;
}

const orders = fc.array(fc.nat(1000), { maxLength: 40, size: "max" });

const shuffled = <T>(items: T[], order: number[]): T[] =>
  items
    .map((item, i) => ({ item, key: order[i % Math.max(1, order.length)] ?? 0, i }))
    .sort((a, b) => a.key - b.key || a.i - b.i)
    .map(({ item }) => item);

test("DESIGN 18: a reply cut for its tunnel fits, and is the same again after reassembly in any order, twice cut as well", () => {
  fc.assert(
    fc.property(shape, fc.integer({ min: 96, max: 1500 }), orders, (what, mtu, order) => {
      const whole = ipv4(what);
      const pieces = fragmentIpv4(whole, mtu) as Uint8Array[];
      const twice = pieces.flatMap((piece) => fragmentIpv4(piece, 88) as Uint8Array[]);
      for (const [frames, limit] of [
        [pieces, mtu],
        [twice, 88],
      ] as [Uint8Array[], number][]) {
        const at = 14 + what.tags.length * 4;
        for (const frame of frames) {
          const header = ((frame[at] as number) & 15) * 4;
          assert.ok(frame.length - at <= limit);
          assert.is(u16(frame, at + 2), frame.length - at);
          assert.is(checksum(frame, at, at + header), 0);
        }
        if (frames.length === 1) {
          assert.is(hex(frames[0] as Uint8Array), hex(whole));
          continue;
        }
        const joined = feed(shuffled(frames, order));
        assert.equal(joined.map(hex), [hex(whole)]);
      }
    }),
    { numRuns: 400 },
  );
});

test("RFC 791: options with the copied flag are in every fragment, the others in the first only", () => {
  const routerAlert = [0x94, 4, 0, 0];
  const recordRoute = [7, 7, 4, 0, 0, 0, 0];
  const whole = ipv4({ tags: [], options: [...recordRoute, 1, ...routerAlert], payload: new Uint8Array(200), id: 5 });
  const pieces = fragmentIpv4(whole, 100) as Uint8Array[];
  const headers = pieces.map((piece) => hex(piece.subarray(34, 14 + ((piece[14] as number) & 15) * 4)));
  assert.equal(headers, ["07070400000000" + "01" + "94040000", "94040000", "94040000"]);
  assert.equal(
    pieces.map((piece) => u16(piece, 20)),
    [0x2000, 0x2000 | 8, 17],
  );
});

test("what must not or cannot be fragmented is refused, what fits stays as it is without its padding", () => {
  const small = ipv4({ tags: [], options: [], payload: new Uint8Array(10), id: 1 });
  const padded = concat([small, new Uint8Array(16)]);
  assert.equal((fragmentIpv4(padded, 1400) as Uint8Array[]).map(hex), [hex(small)]);
  const dont = ipv4({ tags: [], options: [], payload: new Uint8Array(2000), id: 1 }, 0x4000);
  assert.is(fragmentIpv4(dont, 1400), undefined);
  const large = ipv4({ tags: [], options: [], payload: new Uint8Array(2000), id: 1 });
  assert.is(fragmentIpv4(large, 27), undefined);
  assert.is(fragmentIpv4(large.subarray(0, 100), 1400), undefined);
  assert.is(fragmentIpv4(new Uint8Array(10), 1400), undefined);
  const v6 = large.slice();
  v6.set([0x86, 0xdd], 12);
  assert.is(fragmentIpv4(v6, 1400), undefined);
});

test("DESIGN 18: tshark puts our fragments together to the same packet", () => {
  const folder = mkdtempSync(join(tmpdir(), "ofr-frag-"));
  try {
    const payload = Uint8Array.from({ length: 3008 }, (_, i) => i & 0xff);
    payload.set([8, 0, 0, 0, 0x12, 0x34, 0, 1]);
    put16(payload, 2, checksum(payload, 0, payload.length));
    const whole = ipv4({ tags: [12], options: [], payload, id: 77 });
    whole[18 + 9] = 1;
    const pieces = fragmentIpv4(whole, 1464) as Uint8Array[];
    const file = join(folder, "fragments.pcapng");
    const blocks = pieces.map((data, i) =>
      pcapngPacket({ inner: false, time: BigInt(i), length: data.length, data, comment: "" }),
    );
    writeFileSync(file, Buffer.concat([pcapngHeader(65535), ...blocks]));
    const fields = ["-e", "icmp.checksum.status", "-e", "ip.checksum.status", "-e", "data.data"];
    const args = ["-r", file, "-o", "ip.check_checksum:TRUE", "-T", "fields", ...fields];
    const lines = execFileSync("tshark", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).split("\n");
    const last = (lines[pieces.length - 1] ?? "").split("\t");
    assert.is(pieces.length, 3);
    assert.equal(last, ["1", "1", hex(payload.subarray(8))]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Cuts an IPv6 packet: `extensions` are the octets between IPv6 header and fragment header. */
function ipv6Fragments(
  payload: Uint8Array,
  cuts: number[],
  options: number,
): { whole: Uint8Array; pieces: Uint8Array[] } {
  const link = Uint8Array.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 9, 0x86, 0xdd]);
  const fixed = new Uint8Array(40);
  fixed[0] = 0x6b;
  fixed[1] = 0x80;
  fixed[7] = 64;
  fixed.set([0x20, 1, 0xd, 0xb8], 8);
  fixed.set([0x20, 1, 0xd, 0xb8, 1], 24);
  const extension = (next: number): Uint8Array => {
    const out = new Uint8Array(options * 8);
    if (options > 0) out.set([next, options - 1, 1, options * 8 - 4]);
    return out;
  };
  const build = (next: number, rest: Uint8Array): Uint8Array => {
    const head = fixed.slice();
    put16(head, 4, options * 8 + rest.length);
    head[6] = options > 0 ? 60 : next;
    return concat([link, head, extension(next), rest]);
  };
  const edges = [...new Set([0, ...cuts.map((cut) => (cut * 8) % payload.length), payload.length])];
  edges.sort((a, b) => a - b);
  const pieces = edges.slice(1).map((to, i) => {
    const from = edges[i] as number;
    const header = Uint8Array.from([17, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef]);
    put16(header, 2, from | (to === payload.length ? 0 : 1));
    return build(44, concat([header, payload.subarray(from, to)]));
  });
  return { whole: build(17, payload), pieces };
}

test("DESIGN 18: outer IPv6 fragments become the packet without its fragment header, in any order, duplicates or not", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 3000, size: "max" }),
      fc.array(fc.nat(400), { minLength: 1, maxLength: 8, size: "max" }),
      fc.nat(3),
      orders,
      fc.boolean(),
      (payload, cuts, options, order, doubled) => {
        const rounded = payload.map((octet) => octet);
        const edgesOk = cuts.map((cut) => cut % Math.max(1, Math.floor(rounded.length / 8)));
        const { whole, pieces } = ipv6Fragments(rounded, edgesOk, options);
        const frames = shuffled(doubled && pieces.length > 1 ? [...pieces, pieces[0] as Uint8Array] : pieces, order);
        // A duplicate that comes after the packet is whole begins another, which is given up in time.
        assert.equal(feed(frames).map(hex).slice(0, 1), [hex(whole)]);
      },
    ),
    { numRuns: 400 },
  );
});

/** Cuts at multiples of 8, without looking at sizes. */
function cut(whole: Uint8Array, at: number, edges: [from: number, to: number][]): Uint8Array[] {
  const length = whole.length - at - 20;
  return edges.map(([from, to]) => {
    const piece = concat([whole.subarray(0, at + 20), whole.subarray(at + 20 + from, at + 20 + to)]);
    put16(piece, at + 2, 20 + to - from);
    put16(piece, at + 6, (to === length ? 0 : 0x2000) | (from / 8));
    put16(piece, at + 10, 0);
    put16(piece, at + 10, checksum(piece, at, at + 20));
    return piece;
  });
}

const sample = ipv4({ tags: [], options: [], payload: Uint8Array.from({ length: 100 }, (_, i) => i), id: 9 });

test("RFC 5722: an overlap discards the whole packet, and what of it still comes", () => {
  for (const edges of [
    [
      [0, 40],
      [32, 100],
    ],
    [
      [0, 40],
      [8, 16],
      [40, 100],
    ],
    [
      [32, 100],
      [0, 40],
    ],
  ] as [number, number][][]) {
    const reassembler = new Reassembler();
    assert.equal(
      feed(
        [
          ...cut(sample, 14, edges),
          ...cut(sample, 14, [
            [0, 40],
            [40, 100],
          ]),
        ],
        reassembler,
      ),
      [],
    );
    const reasons = reassembler.discarded().map(({ reason, fragments }) => `${reason} ${fragments.length}`);
    assert.is(reasons[0], `overlap 2`);
    assert.ok(reasons.slice(1).every((line) => line === "overlap 1"));
    reassembler.expire(reassemblyLimits.timeoutMs);
    assert.is(reassembler.size, 0);
    assert.is(
      feed(
        cut(sample, 14, [
          [0, 40],
          [40, 100],
        ]),
        reassembler,
      ).length,
      1,
      "forgotten with its time",
    );
  }
});

test("HOSTILE: fragments that cannot belong to one packet are discarded by name", () => {
  const odd = cut(sample, 14, [[0, 44]]);
  const beyond = [
    ...cut(sample, 14, [[40, 100]]),
    ...cut(ipv4({ tags: [], options: [], payload: new Uint8Array(200), id: 9 }), 14, [[104, 112]]),
  ];
  const twoEnds = [
    ...cut(sample, 14, [[40, 100]]),
    ...cut(ipv4({ tags: [], options: [], payload: new Uint8Array(120), id: 9 }), 14, [[104, 120]]),
  ];
  const past = cut(sample, 14, [[40, 100]]);
  put16(past[0] as Uint8Array, 20, 0x1fff);
  const empty = cut(sample, 14, [[40, 40]]);
  for (const [name, frames] of Object.entries({ odd, beyond, twoEnds, past, empty })) {
    const reassembler = new Reassembler();
    assert.equal(feed(frames, reassembler), [], name);
    assert.equal(
      reassembler.discarded().map(({ reason }) => reason),
      ["malformed"],
      name,
    );
  }
  const short = (cut(sample, 14, [[0, 40]])[0] as Uint8Array).subarray(0, 50);
  const reassembler = new Reassembler();
  assert.equal(feed([short, sample, new Uint8Array(3)], reassembler), []);
  assert.is(reassembler.discarded().length, 3);
});

test("RFC 791: whether it may be fragmented again stays as it was", () => {
  const pieces = cut(sample, 14, [
    [0, 40],
    [40, 100],
  ]);
  for (const piece of pieces) {
    piece[20] = (piece[20] as number) | 0x40;
    put16(piece, 24, 0);
    put16(piece, 24, checksum(piece, 14, 34));
  }
  const [whole] = feed(pieces) as [Uint8Array];
  assert.is(u16(whole, 20), 0x4000);
  assert.is(checksum(whole, 14, 34), 0);
});

test("one fragment that a rule may take decides for all of its packet", () => {
  const [first, last] = cut(sample, 14, [
    [0, 40],
    [48, 100],
  ]) as [Uint8Array, Uint8Array];
  for (const [taken, ...order] of [
    [false, false, false],
    [true, false, true],
    [true, true, false],
  ]) {
    const reassembler = new Reassembler();
    reassembler.accept(first, "s1", 0, order[0] as boolean);
    reassembler.accept(last, "s1", 0, order[1] as boolean);
    reassembler.expire(2000);
    assert.equal(reassembler.discarded(), [{ reason: "timeout", link: "s1", taken, fragments: [first, last] }]);
  }
});

test("fragments of other links, tags, addresses, protocols and identifications never meet", () => {
  const [first, last] = cut(sample, 14, [
    [0, 40],
    [40, 100],
  ]) as [Uint8Array, Uint8Array];
  const other = (at: number, value: number): Uint8Array => {
    const frame = last.slice();
    frame[at] = value;
    return frame;
  };
  const reassembler = new Reassembler();
  const strangers = [other(14 + 5, 1), other(14 + 9, 6), other(14 + 15, 9), other(14 + 19, 9)];
  const tagged = concat([last.subarray(0, 12), Uint8Array.from([0x81, 0, 0, 3]), last.subarray(12)]);
  assert.equal(feed([first, ...strangers, tagged], reassembler), []);
  assert.is(reassembler.accept(last, "s2", 0, true).result, "waiting");
  assert.equal(feed([last], reassembler).map(hex), [hex(sample)]);
});

test("A9: memory is bounded in packets, octets and time, and what goes is named", () => {
  const reassembler = new Reassembler({ packets: 10, octets: 2000, timeoutMs: 2000 });
  const first = (id: number, octets: number): Uint8Array => {
    const whole = ipv4({ tags: [], options: [], payload: new Uint8Array(octets + 8), id });
    return cut(whole, 14, [[0, octets]])[0] as Uint8Array;
  };
  for (let id = 0; id < 12; id++) reassembler.accept(first(id, 8), "s1", id, id % 2 === 0);
  assert.is(reassembler.size, 10);
  assert.equal(
    reassembler.discarded().map(({ reason, taken, fragments }) => [reason, taken, fragments.length]),
    [
      ["full", true, 1],
      ["full", false, 1],
    ],
  );
  reassembler.accept(first(100, 1800), "s1", 100, false);
  assert.ok(reassembler.size < 10);
  reassembler.discarded();
  assert.is(reassembler.next(), 2000 + 9);
  reassembler.expire(5000);
  assert.is(reassembler.size, 0);
  assert.ok(reassembler.discarded().every(({ reason }) => reason === "timeout"));
});

test("RFC 6946: an IPv6 fragment that is the whole packet needs no other", () => {
  const { whole, pieces } = ipv6Fragments(new Uint8Array(64), [], 1);
  const waiting = ipv6Fragments(new Uint8Array(64), [2], 1).pieces[0] as Uint8Array;
  assert.equal(feed([waiting, ...pieces]).map(hex), [hex(whole)]);
});

test.run();
