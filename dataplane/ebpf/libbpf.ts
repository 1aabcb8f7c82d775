/**
 * How does TypeScript speak to the kernel's BPF?
 *
 * The one file that declares functions of libbpf.so.1 (1.1, Debian 12) and of libc for FFI, and turns their errors into
 * `BpfError`s with the errno's name and what libbpf had to say (for a program that is refused: the verifier's log). What
 * is built on it: `bpf-map.ts` (maps), `bpf-object.ts` (objects, programs, attaching), `ring.ts` (ring buffers),
 * `netdev-ioctl.ts` (TAP, netlink sockets).
 *
 * libbpf 1.x returns negative errno values; functions that return pointers return NULL and set errno.
 */
import koffi from "koffi";
import { DataplaneError } from "../dataplane.ts";

const libbpf = koffi.load("libbpf.so.1");
const libcLibrary = koffi.load("libc.so.6");

/** An opaque C pointer as koffi hands it out. */
export type Pointer = unknown;
/** What a `void *` parameter takes. */
export type Bytes = Uint8Array | null;

// Layouts of the option structs, <bpf/bpf.h> and <bpf/libbpf.h>. `sz` is what libbpf checks versions by.
const testRunOptions = koffi.struct("bpf_test_run_opts", {
  sz: "size_t",
  data_in: "void *",
  data_out: "void *",
  data_size_in: "uint32_t",
  data_size_out: "uint32_t",
  ctx_in: "void *",
  ctx_out: "void *",
  ctx_size_in: "uint32_t",
  ctx_size_out: "uint32_t",
  retval: "uint32_t",
  repeat: "int",
  duration: "uint32_t",
  flags: "uint32_t",
  cpu: "uint32_t",
  batch_size: "uint32_t",
});
koffi.struct("bpf_xdp_attach_opts", { sz: "size_t", old_prog_fd: "int", pad: "int" });
koffi.struct("bpf_xdp_query_opts", {
  sz: "size_t",
  prog_id: "uint32_t",
  drv_prog_id: "uint32_t",
  hw_prog_id: "uint32_t",
  skb_prog_id: "uint32_t",
  attach_mode: "uint8_t",
  pad: koffi.array("uint8_t", 7),
});
const createOptions = koffi.struct("bpf_map_create_opts", {
  sz: "size_t",
  btf_fd: "uint32_t",
  btf_key_type_id: "uint32_t",
  btf_value_type_id: "uint32_t",
  btf_vmlinux_value_type_id: "uint32_t",
  inner_map_fd: "uint32_t",
  map_flags: "uint32_t",
  map_extra: "uint64_t",
  numa_node: "uint32_t",
  map_ifindex: "uint32_t",
});
koffi.struct("bpf_map_batch_opts", { sz: "size_t", elem_flags: "uint64_t", flags: "uint64_t" });
const printer = koffi.proto("int libbpf_print(int level, const char *format, void *args)");

export interface TestRunOptions {
  sz: number | bigint;
  data_in: Bytes;
  data_out: Bytes;
  data_size_in: number;
  data_size_out: number;
  ctx_in: Bytes;
  ctx_out: Bytes;
  ctx_size_in: number;
  ctx_size_out: number;
  retval: number;
  repeat: number;
  duration: number;
  flags: number;
  cpu: number;
  batch_size: number;
}
export const testRunOptionsSize = koffi.sizeof(testRunOptions);
const createOptionsSize = koffi.sizeof(createOptions);

const f = <T>(definition: string): T => libbpf.func(definition) as unknown as T;
const c = <T>(definition: string): T => libcLibrary.func(definition) as unknown as T;

type FdCall = (fd: number, ...bytes: Bytes[]) => number;

export const bpf = {
  objectOpenFile: f<(path: string, options: Bytes) => Pointer>(
    "void *bpf_object__open_file(const char *path, const void *opts)",
  ),
  objectLoad: f<(object: Pointer) => number>("int bpf_object__load(void *obj)"),
  objectClose: f<(object: Pointer) => void>("void bpf_object__close(void *obj)"),
  objectNextMap: f<(object: Pointer, map: Pointer) => Pointer>(
    "void *bpf_object__next_map(const void *obj, const void *map)",
  ),
  objectNextProgram: f<(object: Pointer, program: Pointer) => Pointer>(
    "void *bpf_object__next_program(const void *obj, void *prog)",
  ),
  objectBtf: f<(object: Pointer) => Pointer>("void *bpf_object__btf(const void *obj)"),
  btfRawData: f<(btf: Pointer, size: Uint32Array) => Pointer>("void *btf__raw_data(const void *btf, uint32_t *size)"),
  mapName: f<(map: Pointer) => string>("const char *bpf_map__name(const void *map)"),
  mapFd: f<(map: Pointer) => number>("int bpf_map__fd(const void *map)"),
  mapSetMaxEntries: f<(map: Pointer, entries: number) => number>(
    "int bpf_map__set_max_entries(void *map, uint32_t max_entries)",
  ),
  mapReuseFd: f<(map: Pointer, fd: number) => number>("int bpf_map__reuse_fd(void *map, int fd)"),
  mapSetInnerMapFd: f<(map: Pointer, fd: number) => number>("int bpf_map__set_inner_map_fd(void *map, int fd)"),
  mapInitialValue: f<(map: Pointer, size: BigUint64Array) => Pointer>(
    "void *bpf_map__initial_value(void *map, size_t *psize)",
  ),
  programName: f<(program: Pointer) => string>("const char *bpf_program__name(const void *prog)"),
  programFd: f<(program: Pointer) => number>("int bpf_program__fd(const void *prog)"),
  programSetAutoload: f<(program: Pointer, on: boolean) => number>(
    "int bpf_program__set_autoload(void *prog, bool on)",
  ),
  mapCreate: f<
    (
      type: number,
      name: string,
      key: number,
      value: number,
      entries: number,
      options: Record<string, unknown>,
    ) => number
  >(
    "int bpf_map_create(int type, const char *name, uint32_t key_size, uint32_t value_size, uint32_t max_entries, const bpf_map_create_opts *opts)",
  ),
  mapLookup: f<FdCall>("int bpf_map_lookup_elem(int fd, const void *key, void *value)"),
  mapLookupAndDelete: f<FdCall>("int bpf_map_lookup_and_delete_elem(int fd, const void *key, void *value)"),
  mapUpdate: f<(fd: number, key: Bytes, value: Bytes, flags: number) => number>(
    "int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)",
  ),
  mapDelete: f<FdCall>("int bpf_map_delete_elem(int fd, const void *key)"),
  mapNextKey: f<FdCall>("int bpf_map_get_next_key(int fd, const void *key, void *next)"),
  mapLookupBatch: f<
    (fd: number, at: Bytes, next: Bytes, keys: Bytes, values: Bytes, count: Uint32Array, options: Bytes) => number
  >(
    "int bpf_map_lookup_batch(int fd, void *in_batch, void *out_batch, void *keys, void *values, uint32_t *count, const void *opts)",
  ),
  mapUpdateBatch: f<(fd: number, keys: Bytes, values: Bytes, count: Uint32Array, options: object) => number>(
    "int bpf_map_update_batch(int fd, const void *keys, const void *values, uint32_t *count, const bpf_map_batch_opts *opts)",
  ),
  mapDeleteBatch: f<(fd: number, keys: Bytes, count: Uint32Array, options: object) => number>(
    "int bpf_map_delete_batch(int fd, const void *keys, uint32_t *count, const bpf_map_batch_opts *opts)",
  ),
  xdpAttach: f<(ifindex: number, fd: number, flags: number, options: object | null) => number>(
    "int bpf_xdp_attach(int ifindex, int prog_fd, uint32_t flags, const bpf_xdp_attach_opts *opts)",
  ),
  xdpQuery: f<(ifindex: number, flags: number, options: Record<string, unknown>) => number>(
    "int bpf_xdp_query(int ifindex, int flags, _Inout_ bpf_xdp_query_opts *opts)",
  ),
  testRun: f<(fd: number, options: TestRunOptions) => number>(
    "int bpf_prog_test_run_opts(int prog_fd, _Inout_ bpf_test_run_opts *opts)",
  ),
  programFdById: f<(id: number) => number>("int bpf_prog_get_fd_by_id(uint32_t id)"),
  mapFdById: f<(id: number) => number>("int bpf_map_get_fd_by_id(uint32_t id)"),
  btfFdById: f<(id: number) => number>("int bpf_btf_get_fd_by_id(uint32_t id)"),
  infoByFd: f<(fd: number, info: Bytes, length: Uint32Array) => number>(
    "int bpf_obj_get_info_by_fd(int fd, void *info, _Inout_ uint32_t *info_len)",
  ),
  possibleCpus: f<() => number>("int libbpf_num_possible_cpus()"),
};

export const libc = {
  close: c<(fd: number) => number>("int close(int fd)"),
  open: c<(path: string, flags: number) => number>("int open(const char *path, int flags)"),
  read: c<(fd: number, bytes: Bytes, size: number) => number>("long read(int fd, void *buf, size_t count)"),
  write: c<(fd: number, bytes: Bytes, size: number) => number>("long write(int fd, const void *buf, size_t count)"),
  ioctl: c<(fd: number, request: number, argument: Bytes) => number>(
    "int ioctl(int fd, unsigned long request, void *arg)",
  ),
  socket: c<(family: number, type: number, protocol: number) => number>(
    "int socket(int domain, int type, int protocol)",
  ),
  bind: c<(fd: number, address: Bytes, size: number) => number>("int bind(int fd, const void *addr, uint32_t len)"),
  mmap: c<(at: null, size: number, protection: number, flags: number, fd: number, offset: number) => Pointer>(
    "void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)",
  ),
  munmap: c<(at: Pointer, size: number) => number>("int munmap(void *addr, size_t length)"),
};

const vsnprintf = c<(to: Buffer, size: number, format: string, args: Pointer) => number>(
  "int vsnprintf(void *str, size_t size, const char *format, void *ap)",
);

const names = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
export const errnos = koffi.os.errno as Record<"EAGAIN" | "EBUSY" | "EEXIST" | "EINTR" | "ENOENT" | "ENOSPC", number>;
export const errno = (): number => koffi.errno();
/** `EPERM` for 1, `errno 9999` for one without a name. */
export const errnoName = (value: number): string => names.get(Math.abs(value)) ?? `errno ${Math.abs(value)}`;

/** The end of a verifier's log says why; its beginning is long. */
const lastLines = (log: string): string => log.split("\n").slice(-40).join("\n");

/** The kernel or libbpf refused; `code` is the errno (positive), `log()` all of what libbpf printed about it. */
export class BpfError extends DataplaneError {
  readonly log: () => string;

  constructor(
    doing: string,
    object: string,
    readonly code: number,
    log = "",
  ) {
    super(`${doing} ${object}: ${errnoName(code)}${log ? `\n${lastLines(log)}` : ""}`, object);
    this.log = () => log;
  }
}

/** @throws BpfError where `result` is negative; otherwise returns it. */
export function checked(result: number, doing: string, object: string, log = ""): number {
  if (result < 0) throw new BpfError(doing, object, result === -1 ? errno() || 1 : -result, log);
  return result;
}

/** Keeps what libbpf prints. Warnings alone: with level 1 (info) and 2 (debug) it is talkative. */
let printed: string[] | undefined;
const setPrint = f<(callback: bigint) => bigint>("void *libbpf_set_print(void *callback)");
const line = Buffer.alloc(1 << 20);
setPrint(
  koffi.register((level: number, format: string, args: Pointer): number => {
    if (level === 0 && printed) {
      const size = vsnprintf(line, line.length, format, args);
      printed.push(line.toString("utf8", 0, Math.min(size, line.length - 1)));
    }
    return 0;
  }, koffi.pointer(printer)),
);

/** Runs `work` and hands it what libbpf printed so far, for errors. */
export function withLog<T>(work: (log: () => string) => T): T {
  printed = [];
  const mine = printed;
  try {
    return work(() => mine.join("").trim());
  } finally {
    printed = undefined;
  }
}

/** The bytes that `pointer` leads to, not a copy: at most one such view of the same memory may exist at a time. */
export const viewOf = (pointer: Pointer, size: number): ArrayBuffer => koffi.view(pointer, size);

/** Address of memory that JavaScript owns; the caller keeps `bytes` alive while the kernel uses it. */
export const addressOf = (bytes: Uint8Array): bigint => koffi.address(bytes);

export interface Poll {
  close(): void;
}

/** Calls `ready` from the event loop whenever `fd` can be read. Keeps the process alive until it is closed. */
export function pollReadable(fd: number, ready: () => void): Poll {
  const handle = koffi.node.poll(fd, { readable: true, disconnect: true }, () => ready());
  return {
    close: () => {
      handle.stop();
      handle.close();
    },
  };
}

export const bpfCreateOptions = (options: Record<string, number>): Record<string, unknown> => ({
  sz: createOptionsSize,
  btf_fd: 0,
  btf_key_type_id: 0,
  btf_value_type_id: 0,
  btf_vmlinux_value_type_id: 0,
  inner_map_fd: 0,
  map_flags: 0,
  map_extra: 0,
  numa_node: 0,
  map_ifindex: 0,
  ...options,
});
