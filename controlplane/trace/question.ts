/**
 * Which name does a DNS message ask for, as the programs read it (bpf/names.h, docs/packet-path.md "Names")?
 */

/** Lower case; undefined where it is not a standard query with one plain question of the class IN. `view`: behind UDP. */
export function readQuestion(view: DataView): string | undefined {
  if (view.byteLength < 17 || view.getUint8(2) & 0xf8) return undefined;
  if (view.getUint32(4) !== 1 << 16 || view.getUint16(8) !== 0) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (;;) {
    if (at >= view.byteLength || at - 12 > 254) return undefined;
    const length = view.getUint8(at);
    if (length === 0) break;
    if (length > 63 || at + 1 + length > view.byteLength) return undefined;
    labels.push(Buffer.from(view.buffer, view.byteOffset + at + 1, length).toString("latin1"));
    at += length + 1;
  }
  if (at + 5 > view.byteLength || view.getUint16(at + 3) !== 1) return undefined;
  return labels.join(".").replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
