/**
 * How do programs get into the kernel and onto an adapter?
 *
 * `BpfObject.load` opens a compiled object, sets sizes and constants, puts in maps that are there already, and loads it.
 * Attaching is by netlink (no BPF link): an attached program and all maps it uses stay when this process ends, and are
 * found again by asking the adapter for its program and the program for its maps (`xdpQuery`, `programInfo`).
 */
import { BpfMap } from "./bpf-map.ts";
import { Btf } from "./btf.ts";
import {
  addressOf,
  BpfError,
  bpf,
  checked,
  errno,
  libc,
  type Pointer,
  type TestRunOptions,
  testRunOptionsSize,
  viewOf,
  withLog,
} from "./libbpf.ts";

export interface LoadOptions {
  /** Entries by map name, instead of those in the source. */
  maxEntries?: Record<string, number>;
  /** `const volatile` variables by name. @throws when the object has no such variable. */
  constants?: Record<string, number>;
  /** Maps that are there already, by name. */
  reuse?: ReadonlyMap<string, BpfMap>;
  /** Template of an array-of-maps' inner map, by the outer map's name. */
  inner?: Record<string, BpfMap>;
  /** Only these programs; absent: all. */
  programs?: string[];
}

export interface ProgramInfo {
  id: number;
  name: string;
  /** Hash of the instructions, hexadecimal. */
  tag: string;
  mapIds: number[];
  btfId: number;
  verifiedInstructions: number;
}

export class Program {
  constructor(
    readonly name: string,
    readonly fd: number,
  ) {}

  get info(): ProgramInfo {
    return programInfo(this.fd);
  }

  /** One run over `data` (or `repeat` runs), without any adapter. */
  testRun(data: Uint8Array, options: { context?: Uint8Array; repeat?: number; room?: number } = {}): TestRun {
    const out = new Uint8Array(options.room ?? data.length + 512);
    const context = options.context ?? null;
    const contextOut = context ? new Uint8Array(context.length) : null;
    const run: TestRunOptions = {
      ...emptyRun,
      data_in: data,
      data_out: out,
      data_size_in: data.length,
      data_size_out: out.length,
      ctx_in: context,
      ctx_out: contextOut,
      ctx_size_in: context?.length ?? 0,
      ctx_size_out: context?.length ?? 0,
      repeat: options.repeat ?? 1,
    };
    const { data_size_out, retval, duration } = this.run(run);
    return { verdict: retval, data: out.slice(0, data_size_out), nanoseconds: duration, context: contextOut };
  }

  /** Sends `data` `repeat` times as if it had come in at the adapter `ifindex`: redirects are carried out. */
  sendThrough(data: Uint8Array, ifindex: number, repeat = 1): void {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    const context = new Uint32Array([0, data.length, 0, ifindex, 0, 0]);
    const bytes = new Uint8Array(context.buffer);
    this.run({
      ...emptyRun,
      data_in: data,
      data_size_in: data.length,
      ctx_in: bytes,
      ctx_size_in: bytes.length,
      repeat,
      flags: 2 /* BPF_F_TEST_XDP_LIVE_FRAMES */,
    });
  }

  private run(options: TestRunOptions): TestRunOptions {
    checked(bpf.testRun(this.fd, options), "running", `program ${this.name}`);
    return options;
  }
}

export interface TestRun {
  /** XDP_ABORTED 0, XDP_DROP 1, XDP_PASS 2, XDP_TX 3, XDP_REDIRECT 4. */
  verdict: number;
  data: Uint8Array;
  nanoseconds: number;
  context: Uint8Array | null;
}

const emptyRun: TestRunOptions = {
  sz: testRunOptionsSize,
  data_in: null,
  data_out: null,
  data_size_in: 0,
  data_size_out: 0,
  ctx_in: null,
  ctx_out: null,
  ctx_size_in: 0,
  ctx_size_out: 0,
  retval: 0,
  repeat: 1,
  duration: 0,
  flags: 0,
  cpu: 0,
  batch_size: 0,
};

export class BpfObject {
  private constructor(
    private pointer: Pointer | undefined,
    readonly maps: ReadonlyMap<string, BpfMap>,
    readonly programs: ReadonlyMap<string, Program>,
    readonly btf: Btf,
  ) {}

  /** @throws BpfError with the verifier's log. */
  static load(path: string, options: LoadOptions = {}): BpfObject {
    return withLog((log) => {
      const object = bpf.objectOpenFile(path, null);
      if (!object) throw new BpfError("opening", path, errno(), log());
      try {
        return BpfObject.finish(object, path, options, log);
      } catch (error) {
        bpf.objectClose(object);
        throw error;
      }
    });
  }

  private static finish(object: Pointer, path: string, options: LoadOptions, log: () => string): BpfObject {
    const btf = new Btf(rawBtf(object, path));
    const handles = new Map<string, Pointer>();
    for (let map = bpf.objectNextMap(object, null); map; map = bpf.objectNextMap(object, map)) {
      const name = bpf.mapName(map);
      handles.set(name, map);
      const entries = options.maxEntries?.[name];
      if (entries !== undefined) checked(bpf.mapSetMaxEntries(map, entries), "sizing", `map ${name}`);
      const inner = options.inner?.[name];
      const reused = options.reuse?.get(name);
      if (inner && !reused) checked(bpf.mapSetInnerMapFd(map, inner.fd), "setting the inner map of", `map ${name}`);
      if (reused) checked(bpf.mapReuseFd(map, reused.fd), "using again", `map ${name}`);
      if (name.endsWith(".rodata") && options.constants) setConstants(map, btf, options.constants);
    }
    for (let program = bpf.objectNextProgram(object, null); program; program = bpf.objectNextProgram(object, program)) {
      if (options.programs) bpf.programSetAutoload(program, options.programs.includes(bpf.programName(program)));
    }
    checked(bpf.objectLoad(object), "loading", path, log());
    const maps = new Map<string, BpfMap>();
    for (const [name, map] of handles) {
      const fd = bpf.mapFd(map);
      if (fd >= 0) maps.set(name, new BpfMap(fd, name));
    }
    const programs = new Map<string, Program>();
    for (let program = bpf.objectNextProgram(object, null); program; program = bpf.objectNextProgram(object, program)) {
      const fd = bpf.programFd(program);
      if (fd >= 0) programs.set(bpf.programName(program), new Program(bpf.programName(program), fd));
    }
    return new BpfObject(object, maps, programs, btf);
  }

  map(name: string): BpfMap {
    const map = this.maps.get(name);
    if (!map) throw new BpfError("finding", `map ${name}`, 2);
    return map;
  }

  program(name: string): Program {
    const program = this.programs.get(name);
    if (!program) throw new BpfError("finding", `program ${name}`, 2);
    return program;
  }

  /** What is attached stays. Maps and programs of this object must not be used afterwards. */
  close(): void {
    for (const map of this.maps.values()) map.unmap();
    if (this.pointer) bpf.objectClose(this.pointer);
    this.pointer = undefined;
  }
}

function rawBtf(object: Pointer, path: string): Uint8Array {
  const btf = bpf.objectBtf(object);
  if (!btf) throw new BpfError("reading BTF of", path, 2);
  const size = new Uint32Array(1);
  const raw = bpf.btfRawData(btf, size);
  return new Uint8Array(viewOf(raw, size[0] ?? 0)).slice();
}

function setConstants(map: Pointer, btf: Btf, constants: Record<string, number>): void {
  const size = new BigUint64Array(1);
  const at = bpf.mapInitialValue(map, size);
  const view = new DataView(viewOf(at, Number(size[0])));
  const variables = btf.section(".rodata");
  for (const [name, value] of Object.entries(constants)) {
    const variable = variables.find((candidate) => candidate.name === name);
    if (variable?.size !== 4) throw new BpfError("finding 32-bit", `constant ${name}`, 2);
    view.setUint32(variable.offset, value, true);
  }
}

export function programInfo(fd: number): ProgramInfo {
  const ids = new Uint8Array(4 * 256);
  const info = new Uint8Array(232);
  const view = new DataView(info.buffer);
  view.setUint32(52, ids.length / 4, true);
  view.setBigUint64(56, addressOf(ids), true);
  checked(bpf.infoByFd(fd, info, new Uint32Array([info.length])), "reading", "program");
  const count = Math.min(view.getUint32(52, true), ids.length / 4);
  return {
    id: view.getUint32(4, true),
    tag: Buffer.from(info.subarray(8, 16)).toString("hex"),
    name: Buffer.from(info.subarray(64, 80)).toString("latin1").replace(/\0.*$/s, ""),
    mapIds: Array.from(new Uint32Array(ids.buffer, 0, count)),
    btfId: view.getUint32(128, true),
    verifiedInstructions: view.getUint32(216, true),
  };
}

/** The program with this id; close its `fd` with `closeProgram`. */
export function programById(id: number): Program {
  const fd = checked(bpf.programFdById(id), "opening", `program id ${id}`);
  return new Program(programInfo(fd).name, fd);
}

/** The types that a loaded program was compiled with. */
export function btfById(id: number): Btf {
  const fd = checked(bpf.btfFdById(id), "opening", `BTF id ${id}`);
  try {
    // struct bpf_btf_info: u64 address, u32 size, u32 id, then name and flags
    const info = new Uint8Array(32);
    const view = new DataView(info.buffer);
    checked(bpf.infoByFd(fd, info, new Uint32Array([info.length])), "reading", `BTF id ${id}`);
    const raw = new Uint8Array(view.getUint32(8, true));
    info.fill(0);
    view.setBigUint64(0, addressOf(raw), true);
    view.setUint32(8, raw.length, true);
    checked(bpf.infoByFd(fd, info, new Uint32Array([info.length])), "reading", `BTF id ${id}`);
    return new Btf(raw);
  } finally {
    libc.close(fd);
  }
}

export const closeProgram = (program: Program): void => void libc.close(program.fd);

/** `drv`: in the driver; `skb`: generic, after the kernel has built its own buffer. */
export type XdpMode = "native" | "generic";
const flagOf: Record<XdpMode, number> = { native: 4, generic: 2 };

/** Attaches, or replaces `old`. @throws BpfError EBUSY when something else is there, EOPNOTSUPP when the driver cannot. */
export function xdpAttach(ifindex: number, program: Program, mode: XdpMode, old?: Program): void {
  // Without `old` nothing may be attached yet: XDP_FLAGS_UPDATE_IF_NOEXIST.
  const flags = flagOf[mode] | (old ? 0 : 1);
  withLog((log) => {
    const result = bpf.xdpAttach(ifindex, program.fd, flags, { sz: 16, old_prog_fd: old?.fd ?? 0, pad: 0 });
    checked(result, `attaching ${program.name} (${mode}) to`, `interface ${ifindex}`, log());
  });
}

/** Takes whatever is attached in that mode away. */
export function xdpDetach(ifindex: number, mode: XdpMode): void {
  checked(bpf.xdpAttach(ifindex, -1, flagOf[mode], null), "detaching from", `interface ${ifindex}`);
}

/** The program on an adapter, undefined when there is none. */
export function xdpQuery(ifindex: number): { id: number; mode: XdpMode } | undefined {
  const query = {
    sz: 32,
    prog_id: 0,
    drv_prog_id: 0,
    hw_prog_id: 0,
    skb_prog_id: 0,
    attach_mode: 0,
    pad: [0, 0, 0, 0, 0, 0, 0],
  };
  checked(bpf.xdpQuery(ifindex, 0, query), "asking", `interface ${ifindex}`);
  if (query.drv_prog_id || (query.prog_id && query.attach_mode === 1)) return { id: query.prog_id, mode: "native" };
  if (query.skb_prog_id || query.prog_id) return { id: query.prog_id, mode: "generic" };
  return undefined;
}
