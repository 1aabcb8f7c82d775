/**
 * How do chains and treatments get into force beside the rules?
 *
 *   begin    functions and treatments that are new or changed enter; what running packets need stays
 *   finish   what nobody needs any more leaves, once the new rules are in force
 *
 * A begin that fails, or rules that are refused after it, are taken back by what `begin` returns.
 */
import { DataplaneError, type VxlanConfig } from "../dataplane.ts";
import type { Steering } from "../steering.ts";
import type { BpfMap } from "./bpf-map.ts";
import { type RenderedChains, renderChains, renderVtep } from "./chains.ts";
import type { Kernel } from "./kernel.ts";
import { treatment as treatmentCodec, viewOver } from "./layout.ts";

const same = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && a.length === b.length && a.every((octet, i) => octet === b[i]);
const keyOf = (vni: number): Uint8Array => new Uint8Array(Uint32Array.of(vni).buffer);
const NONE = new Uint8Array(treatmentCodec.size);

export interface Begun {
  functions: Set<string>;
  finish(): void;
  takeBack(): void;
}

export class Treatments {
  readonly #kernel: Kernel;
  readonly #vxlan: VxlanConfig | undefined;
  /** What is in the maps. */
  #hops = new Map<number, Uint8Array>();
  #treatments = new Map<number, Uint8Array>();

  /** Reads what an earlier run left. `mtu`: of the apps adapter. */
  constructor(kernel: Kernel, vxlan: VxlanConfig | undefined, mtu: number) {
    this.#kernel = kernel;
    this.#vxlan = vxlan;
    if (vxlan) kernel.map("vtep").update(0, renderVtep(vxlan, mtu));
    const hops = kernel.map("hops");
    for (const key of [...hops.keys()]) {
      const value = hops.lookup(key);
      if (value) this.#hops.set(viewOver(key).getUint32(0, true), value);
    }
    const treatments = kernel.map("treatments");
    for (let service = 0; service < treatments.maxEntries; service++) {
      const value = treatments.lookup(service);
      if (value && !same(NONE, value)) this.#treatments.set(service, value);
    }
  }

  /** @throws DataplaneError and nothing has changed. `nextHop`: index of a function's entry in `next_hops`. */
  begin(steering: Steering, nextHop: (address: string) => number, mirror?: Parameters<typeof renderChains>[3]): Begun {
    let rendered: RenderedChains;
    try {
      rendered = renderChains(steering, this.#vxlan, nextHop, mirror);
    } catch (error) {
      if (error instanceof DataplaneError) throw error;
      throw new DataplaneError((error as Error).message, "chains");
    }
    const { hops, treatments, functions } = rendered;
    const undo: (() => void)[] = [];
    const takeBack = (): void => {
      for (const step of undo.splice(0).reverse()) step();
    };
    try {
      const hopMap = this.#kernel.map("hops");
      for (const [vni, value] of hops) {
        const old = this.#hops.get(vni);
        if (same(old, value)) continue;
        hopMap.update(keyOf(vni), value);
        undo.push(() => this.#put(hopMap, this.#hops, vni, old, keyOf(vni)));
        this.#hops.set(vni, value);
      }
      const treatmentMap = this.#kernel.map("treatments");
      for (const [service, value] of treatments) {
        const old = this.#treatments.get(service);
        if (same(old, value)) continue;
        treatmentMap.update(service, value);
        undo.push(() => {
          treatmentMap.update(service, old ?? NONE);
          if (old) this.#treatments.set(service, old);
          else this.#treatments.delete(service);
        });
        this.#treatments.set(service, value);
      }
    } catch (error) {
      takeBack();
      throw new DataplaneError(`chains: ${(error as Error).message}`, "chains");
    }
    return { functions, takeBack, finish: () => this.#finish(rendered) };
  }

  #put(map: BpfMap, known: Map<number, Uint8Array>, vni: number, old: Uint8Array | undefined, key: Uint8Array): void {
    if (old) {
      map.update(key, old);
      known.set(vni, old);
    } else {
      map.delete(key);
      known.delete(vni);
    }
  }

  #finish({ hops, treatments }: RenderedChains): void {
    for (const service of this.#treatments.keys()) {
      if (treatments.has(service)) continue;
      this.#kernel.map("treatments").update(service, NONE);
      this.#treatments.delete(service);
    }
    for (const vni of this.#hops.keys()) {
      if (hops.has(vni)) continue;
      this.#kernel.map("hops").delete(keyOf(vni));
      this.#hops.delete(vni);
    }
  }
}
