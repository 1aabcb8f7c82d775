/** One section of a 64-bit little-endian ELF file, by name. */
export function elfSection(file: Buffer, name: string): Uint8Array {
  const table = Number(file.readBigUInt64LE(40));
  const size = file.readUInt16LE(58);
  const count = file.readUInt16LE(60);
  const names = file.readUInt16LE(62);
  const header = (index: number) => {
    const at = table + index * size;
    const offset = Number(file.readBigUInt64LE(at + 24));
    return { name: file.readUInt32LE(at), offset, length: Number(file.readBigUInt64LE(at + 32)) };
  };
  const strings = header(names).offset;
  for (let index = 0; index < count; index++) {
    const section = header(index);
    const at = strings + section.name;
    if (file.toString("latin1", at, file.indexOf(0, at)) === name) {
      return file.subarray(section.offset, section.offset + section.length);
    }
  }
  throw new Error(`no section ${name}`);
}
