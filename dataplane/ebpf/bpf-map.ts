/**
 * How are the kernel's maps read and written?
 *
 * `BpfMap` is a map by its file descriptor, whoever made it. Keys and values are octets; `layout.ts` knows what they mean.
 * Lookups are copies. Arrays with BPF_F_MMAPABLE can be seen as memory (`memory()`): what the programs write appears there.
 */
import {
  BpfError,
  type Bytes,
  bpf,
  bpfCreateOptions,
  checked,
  errno,
  errnos,
  libc,
  type Pointer,
  viewOf,
} from "./libbpf.ts";

export const MapType = {
  hash: 1,
  array: 2,
  perCpuHash: 5,
  perCpuArray: 6,
  lruHash: 9,
  lpmTrie: 11,
  arrayOfMaps: 12,
  devmap: 14,
  queue: 22,
  ringbuf: 27,
} as const;

export const MapFlag = { noPrealloc: 1, innerMap: 0x1000, mmapable: 0x400 } as const;
export const UpdateFlag = { any: 0, noExist: 1, exist: 2 } as const;

const PAGE = 4096;
const possibleCpus = bpf.possibleCpus();

export interface Batch {
  keys: Uint8Array;
  values: Uint8Array;
  count: number;
}

export class BpfMap {
  readonly name: string;
  readonly id: number;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  private mapped: { at: Pointer; size: number; buffer: ArrayBuffer } | undefined;
  private readonly key: Uint8Array;

  /** `fd` is the caller's to close, by `close()` or otherwise. */
  constructor(
    readonly fd: number,
    name?: string,
  ) {
    const info = new Uint8Array(128);
    checked(bpf.infoByFd(fd, info, new Uint32Array([info.length])), "reading", `map ${name ?? fd}`);
    const view = new DataView(info.buffer);
    this.type = view.getUint32(0, true);
    this.id = view.getUint32(4, true);
    this.keySize = view.getUint32(8, true);
    this.valueSize = view.getUint32(12, true);
    this.maxEntries = view.getUint32(16, true);
    this.flags = view.getUint32(20, true);
    const end = info.indexOf(0, 24);
    this.name = name ?? Buffer.from(info.subarray(24, Math.min(end, 40))).toString("latin1");
    this.key = new Uint8Array(Math.max(this.keySize, 4));
  }

  static create(
    type: number,
    name: string,
    size: { key: number; value: number; entries: number },
    options: { map_flags?: number; inner_map_fd?: number } = {},
  ): BpfMap {
    const fd = bpf.mapCreate(type, name.slice(0, 15), size.key, size.value, size.entries, bpfCreateOptions(options));
    return new BpfMap(checked(fd, "creating", `map ${name}`), name);
  }

  static byId(id: number): BpfMap {
    return new BpfMap(checked(bpf.mapFdById(id), "opening", `map id ${id}`));
  }

  close(): void {
    this.unmap();
    libc.close(this.fd);
  }

  private refuse(doing: string, result: number): never {
    throw new BpfError(doing, `map ${this.name}`, result === -1 ? errno() : -result);
  }

  /** Key of an array's element. The same buffer each time. */
  private indexed(key: number | Uint8Array): Bytes {
    if (typeof key !== "number") return key;
    new DataView(this.key.buffer).setUint32(0, key, true);
    return this.key;
  }

  /** A copy of the value (of a per-CPU map: all CPUs' values, each rounded up to 8 octets); undefined when absent. */
  lookup(key: number | Uint8Array): Uint8Array | undefined {
    const perCpu = this.type === MapType.perCpuArray || this.type === MapType.perCpuHash;
    const value = new Uint8Array(perCpu ? possibleCpus * roundUp(this.valueSize, 8) : this.valueSize);
    const result = bpf.mapLookup(this.fd, this.indexed(key), value);
    if (result === 0) return value;
    if (-result === errnos.ENOENT) return undefined;
    this.refuse("looking up in", result);
  }

  /** Writes the value over `value`. False when there is none. Not for per-CPU maps. */
  lookupInto(key: Uint8Array, value: Uint8Array): boolean {
    const result = bpf.mapLookup(this.fd, key, value);
    if (result === 0) return true;
    if (-result === errnos.ENOENT) return false;
    this.refuse("looking up in", result);
  }

  update(key: number | Uint8Array, value: Uint8Array, flags = 0): void {
    const result = bpf.mapUpdate(this.fd, this.indexed(key), value, flags);
    if (result < 0) this.refuse("updating", result);
  }

  /** False when there was none. */
  delete(key: number | Uint8Array): boolean {
    const result = bpf.mapDelete(this.fd, this.indexed(key));
    if (result === 0) return true;
    if (-result === errnos.ENOENT) return false;
    this.refuse("deleting from", result);
  }

  /** Queues: appends. False when full. */
  push(value: Uint8Array): boolean {
    const result = bpf.mapUpdate(this.fd, null, value, 0);
    if (result === 0) return true;
    if (-result === 7 /* E2BIG */) return false;
    this.refuse("pushing to", result);
  }

  /** Queues: takes the first; undefined when empty. */
  pop(): Uint8Array | undefined {
    const value = new Uint8Array(this.valueSize);
    const result = bpf.mapLookupAndDelete(this.fd, null, value);
    if (result === 0) return value;
    if (-result === errnos.ENOENT) return undefined;
    this.refuse("popping from", result);
  }

  /** All keys. Keys that come or go meanwhile may be missed or met twice. */
  *keys(): Generator<Uint8Array> {
    let key: Uint8Array | null = null;
    for (;;) {
      const next: Uint8Array = new Uint8Array(this.keySize);
      const result = bpf.mapNextKey(this.fd, key, next);
      if (-result === errnos.ENOENT) return;
      if (result < 0) this.refuse("walking", result);
      yield next;
      key = next;
    }
  }

  /**
   * All entries, `size` or so at a time; the buffers are used again for the next batch. Entries that come or go meanwhile
   * may be missed; none is met twice unless the map changes.
   */
  *batches(size = 1024): Generator<Batch> {
    let room = Math.max(1, Math.min(size, this.maxEntries));
    let keys = new Uint8Array(room * this.keySize);
    let values = new Uint8Array(room * this.valueSize);
    let at = new Uint8Array(Math.max(4, this.keySize));
    let next = new Uint8Array(Math.max(4, this.keySize));
    let first = true;
    for (;;) {
      const count = new Uint32Array([room]);
      const result = bpf.mapLookupBatch(this.fd, first ? null : at, next, keys, values, count, null);
      if (-result === errnos.ENOSPC) {
        // One bucket holds more than fits: a larger batch from the same place.
        room *= 2;
        keys = new Uint8Array(room * this.keySize);
        values = new Uint8Array(room * this.valueSize);
        continue;
      }
      const last = -result === errnos.ENOENT;
      if (result < 0 && !last) {
        if (-result === errnos.EINTR) continue;
        this.refuse("reading", result);
      }
      if (count[0]) yield { keys, values, count: count[0] };
      if (last) return;
      [at, next] = [next, at];
      first = false;
    }
  }

  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): void {
    if (count === 0) return;
    const result = bpf.mapUpdateBatch(this.fd, keys, values, new Uint32Array([count]), {
      sz: 24,
      elem_flags: 0,
      flags: 0,
    });
    if (result < 0) this.refuse("updating", result);
  }

  /** Ignores keys that are not there. */
  deleteBatch(keys: Uint8Array, count: number): void {
    for (let done = 0; done < count; ) {
      const n = new Uint32Array([count - done]);
      const part = keys.subarray(done * this.keySize);
      const result = bpf.mapDeleteBatch(this.fd, part, n, { sz: 24, elem_flags: 0, flags: 0 });
      if (result === 0) return;
      if (-result !== errnos.ENOENT) this.refuse("deleting from", result);
      done += (n[0] ?? 0) + 1;
    }
  }

  /** Octets from one element to the next in `memory()`. */
  get stride(): number {
    return roundUp(this.valueSize, 8);
  }

  /** The array itself, shared with the programs. */
  memory(): ArrayBuffer {
    if (!this.mapped) {
      const size = roundUp(this.maxEntries * this.stride, PAGE);
      const at = mapMemory(this.fd, size, 0, true, this.name);
      this.mapped = { at, size, buffer: viewOf(at, size) };
    }
    return this.mapped.buffer;
  }

  /** The buffer that `memory()` gave must not be used afterwards. */
  unmap(): void {
    if (this.mapped) libc.munmap(this.mapped.at, this.mapped.size);
    this.mapped = undefined;
  }
}

export const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;

/** @throws BpfError */
export function mapMemory(fd: number, size: number, offset: number, write: boolean, name: string): Pointer {
  const at = libc.mmap(null, size, write ? 3 : 1, 1 /* MAP_SHARED */, fd, offset);
  if (at === null || BigInt.asUintN(64, BigInt(at as bigint)) === 0xffff_ffff_ffff_ffffn) {
    throw new BpfError("mapping", `map ${name}`, errno());
  }
  return at;
}
