/**
 * What does a capture look like in a file?
 *
 * pcapng (draft-ietf-opsawg-pcapng): one section, two interfaces with nanosecond resolution, one enhanced packet block
 * per packet with a comment that says what the data plane did with it. Little endian, so that every block is readable
 * by any tool; all lengths in octets.
 *
 *   interface 0 "outer"  link type 1    Ethernet frames as on the wire
 *   interface 1 "inner"  link type 101  IP packets out of their tunnel, or before they are put into it
 */

const LINKTYPE_ETHERNET = 1;
const LINKTYPE_RAW = 101;
const OPT_COMMENT = 1;
const OPT_IF_NAME = 2;
const OPT_SHB_USERAPPL = 4;
const OPT_IF_TSRESOL = 9;

export interface PcapngPacket {
  inner: boolean;
  /** Nanoseconds since the epoch. */
  time: bigint;
  /** Octets on the wire; `data` may be shorter. */
  length: number;
  data: Uint8Array;
  comment: string;
}

/** What a file begins with. */
export function pcapngHeader(snap: number): Uint8Array {
  const section = Buffer.alloc(16);
  section.writeUInt32LE(0x1a2b3c4d, 0);
  section.writeUInt16LE(1, 4);
  section.writeBigInt64LE(-1n, 8);
  return Buffer.concat([
    block(0x0a0d0d0a, [section, options([[OPT_SHB_USERAPPL, Buffer.from("offramp")]])]),
    description(LINKTYPE_ETHERNET, snap, "outer"),
    description(LINKTYPE_RAW, snap, "inner"),
  ]);
}

export function pcapngPacket(packet: PcapngPacket): Uint8Array {
  const head = Buffer.alloc(20);
  head.writeUInt32LE(packet.inner ? 1 : 0, 0);
  head.writeUInt32LE(Number((packet.time >> 32n) & 0xffffffffn), 4);
  head.writeUInt32LE(Number(packet.time & 0xffffffffn), 8);
  head.writeUInt32LE(packet.data.length, 12);
  head.writeUInt32LE(Math.max(packet.length, packet.data.length), 16);
  return block(6, [head, padded(packet.data), options([[OPT_COMMENT, Buffer.from(packet.comment)]])]);
}

function description(linktype: number, snap: number, name: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(linktype, 0);
  head.writeUInt32LE(snap, 4);
  return block(1, [
    head,
    options([
      [OPT_IF_NAME, Buffer.from(name)],
      [OPT_IF_TSRESOL, Buffer.from([9])],
    ]),
  ]);
}

function block(type: number, parts: Uint8Array[]): Buffer {
  const length = 12 + parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(length, 0);
  return Buffer.concat([head, ...parts, tail]);
}

function options(list: [code: number, value: Buffer][]): Buffer {
  const parts = list.flatMap(([code, value]) => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(code, 0);
    head.writeUInt16LE(value.length, 2);
    return [head, padded(value)];
  });
  return Buffer.concat([...parts, Buffer.alloc(4)]);
}

const padded = (octets: Uint8Array): Buffer => Buffer.concat([octets, Buffer.alloc(-octets.length & 3)]);
