/**
 * How is a C struct read and written from TypeScript?
 *
 * Alignment follows C on 64 bit machines, integers are little endian; `be16` and `be32` are in network order in memory and
 * plain numbers here.
 */
export interface Field<T> {
  size: number;
  align: number;
  read(view: DataView, at: number): T;
  write(view: DataView, at: number, value: T): void;
}

export const u8: Field<number> = {
  size: 1,
  align: 1,
  read: (view, at) => view.getUint8(at),
  write: (view, at, value) => view.setUint8(at, value),
};
export const u16: Field<number> = {
  size: 2,
  align: 2,
  read: (view, at) => view.getUint16(at, true),
  write: (view, at, value) => view.setUint16(at, value, true),
};
export const u32: Field<number> = {
  size: 4,
  align: 4,
  read: (view, at) => view.getUint32(at, true),
  write: (view, at, value) => view.setUint32(at, value, true),
};
export const u64: Field<bigint> = {
  size: 8,
  align: 8,
  read: (view, at) => view.getBigUint64(at, true),
  write: (view, at, value) => view.setBigUint64(at, value, true),
};
export const be16: Field<number> = {
  size: 2,
  align: 2,
  read: (view, at) => view.getUint16(at),
  write: (view, at, value) => view.setUint16(at, value),
};
export const be32: Field<number> = {
  size: 4,
  align: 4,
  read: (view, at) => view.getUint32(at),
  write: (view, at, value) => view.setUint32(at, value),
};
/** Octets as they are; `read` copies. */
export const bytes = (size: number, align = 1): Field<Uint8Array> => ({
  size,
  align,
  read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, size).slice(),
  write: (view, at, value) => new Uint8Array(view.buffer, view.byteOffset + at, size).set(value),
});
/** struct address */
export const addr = bytes(16, 8);
export const be64 = bytes(8, 8);

// The value types of a record of fields.
export type Fields = Record<string, Field<never> | Field<number> | Field<bigint> | Field<Uint8Array> | Struct<Fields>>;
type Value<F> = F extends Field<infer T> ? T : never;
export type Values<F extends Fields> = { [K in keyof F]: Value<F[K]> };

export interface Struct<F extends Fields> extends Field<Values<F>> {
  name: string;
  offset: { readonly [K in keyof F]: number };
  fields: F;
  /** Octets of one value; members left out are zero. */
  encode(value: Partial<Values<F>>): Uint8Array;
  decode(octets: Uint8Array): Values<F>;
}

export function struct<F extends Fields>(name: string, fields: F): Struct<F> {
  const offset: Record<string, number> = {};
  let size = 0;
  let align = 1;
  for (const [key, field] of Object.entries(fields)) {
    size = Math.ceil(size / field.align) * field.align;
    offset[key] = size;
    size += field.size;
    align = Math.max(align, field.align);
  }
  size = Math.ceil(size / align) * align;
  const list = Object.entries(fields) as [string, Field<unknown>][];
  const self: Struct<F> = {
    name,
    size,
    align,
    fields,
    offset: offset as { readonly [K in keyof F]: number },
    read(view, at) {
      const value: Record<string, unknown> = {};
      for (const [key, field] of list) value[key] = field.read(view, at + offset[key]!);
      return value as Values<F>;
    },
    write(view, at, value) {
      for (const [key, field] of list) {
        const member = (value as Record<string, unknown>)[key];
        if (member !== undefined) field.write(view, at + offset[key]!, member);
      }
    },
    encode(value) {
      const octets = new Uint8Array(size);
      self.write(new DataView(octets.buffer), 0, value as Values<F>);
      return octets;
    },
    decode: (octets) => self.read(viewOver(octets), 0),
  };
  return self;
}

export const viewOver = (octets: Uint8Array): DataView =>
  new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
