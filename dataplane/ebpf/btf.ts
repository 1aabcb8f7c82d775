/**
 * Which structs and variables does a BPF object have, and at which offsets?
 *
 * Reads raw BTF (Documentation/bpf/btf.rst of the kernel: a header, type records, strings). Used to find the place of a
 * `const volatile` in .rodata before a load, and to compare structs in C with their codecs in `layout.ts`.
 */

const KIND = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  typedef: 8,
  volatile: 9,
  const: 10,
} as const;
const RESTRICT = 11;
const FUNCTION_PROTO = 13;
const VARIABLE = 14;
const DATA_SECTION = 15;
const DECL_TAG = 17;
const TYPE_TAG = 18;
const ENUM64 = 19;

interface BtfType {
  name: string;
  kind: number;
  /** Size in octets, or the type that this one refers to. */
  sizeOrType: number;
  members: { name: string; type: number; bitOffset: number; size: number }[];
  array?: { type: number; count: number };
}

export interface BtfMember {
  name: string;
  offset: number;
  size: number;
}

export class Btf {
  private readonly types: BtfType[] = [{ name: "void", kind: 0, sizeOrType: 0, members: [] }];

  constructor(raw: Uint8Array) {
    const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
    if (view.getUint16(0, true) !== 0xeb9f) throw new Error("BTF: bad magic, or not little endian");
    const header = view.getUint32(4, true);
    const typeStart = header + view.getUint32(8, true);
    const typeEnd = typeStart + view.getUint32(12, true);
    const strings = header + view.getUint32(16, true);
    const text = (offset: number): string => {
      let end = strings + offset;
      while (raw[end]) end++;
      return Buffer.from(raw.buffer, raw.byteOffset + strings + offset, end - strings - offset).toString("latin1");
    };
    let at = typeStart;
    const u32 = (): number => {
      at += 4;
      return view.getUint32(at - 4, true);
    };
    while (at < typeEnd) {
      const name = text(u32());
      const info = u32();
      const kind = (info >>> 24) & 0x1f;
      const count = info & 0xffff;
      const type: BtfType = { name, kind, sizeOrType: u32(), members: [] };
      switch (kind) {
        case KIND.int:
        case VARIABLE:
        case DECL_TAG:
          at += 4;
          break;
        case KIND.array: {
          const element = u32();
          u32();
          type.array = { type: element, count: u32() };
          break;
        }
        case KIND.struct:
        case KIND.union:
          for (let i = 0; i < count; i++) {
            const member = { name: text(u32()), type: u32(), bitOffset: 0, size: 0 };
            const offset = u32();
            member.bitOffset = info >>> 31 ? offset & 0xffffff : offset;
            type.members.push(member);
          }
          break;
        case DATA_SECTION:
          for (let i = 0; i < count; i++) {
            const variable = u32();
            type.members.push({ name: "", type: variable, bitOffset: u32() * 8, size: u32() });
          }
          break;
        case KIND.enum:
        case FUNCTION_PROTO:
          at += count * 8;
          break;
        case ENUM64:
          at += count * 12;
          break;
      }
      this.types.push(type);
    }
  }

  /** Octets; 0 for what has none. */
  private sizeOf(id: number): number {
    const type = this.types[id];
    if (!type) return 0;
    switch (type.kind) {
      case KIND.pointer:
        return 8;
      case KIND.array:
        return type.array ? type.array.count * this.sizeOf(type.array.type) : 0;
      case KIND.typedef:
      case KIND.volatile:
      case KIND.const:
      case RESTRICT:
      case VARIABLE:
      case TYPE_TAG:
        return this.sizeOf(type.sizeOrType);
      default:
        return type.sizeOrType;
    }
  }

  /** Names of all structs. */
  structs(): string[] {
    return this.types.filter((type) => type.kind === KIND.struct && type.name).map((type) => type.name);
  }

  /** Members of a struct in order, and its size; undefined when the object does not use it. */
  struct(name: string): { size: number; members: BtfMember[] } | undefined {
    const type = this.types.find((candidate) => candidate.kind === KIND.struct && candidate.name === name);
    if (!type) return undefined;
    const members = type.members.map((member) => ({
      name: member.name,
      offset: member.bitOffset / 8,
      size: this.sizeOf(member.type),
    }));
    return { size: type.sizeOrType, members };
  }

  /** Variables of a data section (`.rodata`, `.bss`). */
  section(name: string): BtfMember[] {
    const type = this.types.find((candidate) => candidate.kind === DATA_SECTION && candidate.name === name);
    return (type?.members ?? []).map((member) => ({
      name: this.types[member.type]?.name ?? "",
      offset: member.bitOffset / 8,
      size: member.size,
    }));
  }
}
