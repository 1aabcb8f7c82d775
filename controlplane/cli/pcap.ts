/**
 * Which octets has frame number N of a capture file?
 *
 * Reads both formats of the field, pcap and pcapng, in either byte order; link type Ethernet. Frames count from 1, as
 * tshark and Wireshark count them.
 */
const ethernet = 1;

/** @throws Error when the file is neither, is damaged, or has no such frame */
export function frameOf(file: Uint8Array, wanted: number): Uint8Array {
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

function mustBeEthernet(type: number | undefined): void {
  if (type !== ethernet) throw new Error(`link type ${type} is not Ethernet`);
}

function fromPcap(view: DataView, wanted: number, little: boolean): Uint8Array {
  mustBeEthernet(view.getUint32(20, little) & 0xffff);
  let count = 0;
  for (let at = 24; at < view.byteLength; ) {
    const length = view.getUint32(at + 8, little);
    count += 1;
    if (count === wanted) return octets(view, at + 16, length);
    at += 16 + length;
  }
  throw new Error(`there is no frame ${wanted}: the file has ${count}`);
}

function fromPcapng(view: DataView, wanted: number): Uint8Array {
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
        mustBeEthernet(types[type === 6 ? view.getUint32(at + 8, little) : 0]);
        if (type === 6) return octets(view, at + 28, view.getUint32(at + 20, little));
        return octets(view, at + 12, Math.min(view.getUint32(at + 8, little), total - 16));
      }
    }
    at += total;
  }
  throw new Error(`there is no frame ${wanted}: the file has ${count}`);
}
