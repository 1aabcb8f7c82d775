/**
 * Which octets has frame number N of a capture file?
 *
 * Reads both formats of the field, pcap and pcapng, in either byte order. Frames count from 1, as tshark and Wireshark
 * count them. Of a capture of our own the comment comes along: it says what the data plane did with the packet.
 */
export interface CapturedFrame {
  data: Uint8Array;
  /** True for IP packets without a link layer (link type 101): what was inside a tunnel. */
  raw: boolean;
  comment?: string;
}

/** @throws Error when the file is neither, is damaged, or has no such frame */
export function frameOf(file: Uint8Array, wanted: number): CapturedFrame {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.byteLength < 24) throw new Error("not a capture file: too short");
  const magic = view.getUint32(0, true);
  try {
    if (magic === 0x0a0d0d0a) return fromPcapng(view, wanted);
    if ([0xa1b2c3d4, 0xa1b23c4d].includes(magic)) return fromPcap(view, wanted, true);
    if ([0xa1b2c3d4, 0xa1b23c4d].includes(view.getUint32(0, false))) return fromPcap(view, wanted, false);
  } catch (error) {
    if (error instanceof RangeError) throw new Error("the capture file is cut off or damaged", { cause: error });
    throw error;
  }
  throw new Error("not a capture file: neither pcap nor pcapng");
}

function octets(view: DataView, offset: number, length: number): Uint8Array {
  if (offset + length > view.byteLength) throw new RangeError("beyond the end");
  return new Uint8Array(view.buffer, view.byteOffset + offset, length);
}

function isRaw(linkType: number | undefined): boolean {
  if (linkType !== 1 && linkType !== 101) throw new Error(`link type ${linkType} is neither Ethernet nor raw IP`);
  return linkType === 101;
}

/** The first comment among the options (code 1) from `at` to `end`. */
function commentOf(view: DataView, from: number, end: number, little: boolean): string | undefined {
  for (let at = from; at + 4 <= end; ) {
    const [code, length] = [view.getUint16(at, little), view.getUint16(at + 2, little)];
    if (code === 0) return undefined;
    if (code === 1) return Buffer.from(octets(view, at + 4, Math.min(length, end - at - 4))).toString("utf8");
    at += 4 + length + (-length & 3);
  }
  return undefined;
}

function fromPcap(view: DataView, wanted: number, little: boolean): CapturedFrame {
  const raw = isRaw(view.getUint32(20, little) & 0xffff);
  let count = 0;
  for (let at = 24; at < view.byteLength; ) {
    const length = view.getUint32(at + 8, little);
    count += 1;
    if (count === wanted) return { data: octets(view, at + 16, length), raw };
    at += 16 + length;
  }
  throw new Error(`there is no frame ${wanted}: the file has ${count}`);
}

function fromPcapng(view: DataView, wanted: number): CapturedFrame {
  let little = true;
  let count = 0;
  let types: number[] = [];
  for (let at = 0; at < view.byteLength; ) {
    if (view.getUint32(at, true) === 0x0a0d0d0a) {
      little = view.getUint32(at + 8, true) === 0x1a2b3c4d;
      types = [];
    }
    const type = view.getUint32(at, little);
    const total = view.getUint32(at + 4, little);
    if (total < 12 || total % 4 !== 0) throw new Error("the capture file is damaged");
    if (at + total > view.byteLength) throw new RangeError("beyond the end");
    if (type === 1) types.push(view.getUint16(at + 8, little));
    if (type === 6 || type === 3) {
      count += 1;
      if (count === wanted) {
        const raw = isRaw(types[type === 6 ? view.getUint32(at + 8, little) : 0]);
        if (type === 3) {
          return { data: octets(view, at + 12, Math.min(view.getUint32(at + 8, little), total - 16)), raw };
        }
        const length = view.getUint32(at + 20, little);
        const comment = commentOf(view, at + 28 + length + (-length & 3), at + total - 4, little);
        return { data: octets(view, at + 28, length), raw, ...(comment !== undefined && { comment }) };
      }
    }
    at += total;
  }
  throw new Error(`there is no frame ${wanted}: the file has ${count}`);
}
