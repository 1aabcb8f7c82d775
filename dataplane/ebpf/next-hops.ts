/**
 * How is each endpoint reached, at the moment?
 *
 * Index 0 of `next_hops` leads through the appliance's own routing, which always works. Each endpoint gets an index of its
 * own; while the kernel knows an endpoint's MAC address on the apps' adapter, its entry leads straight there, which saves
 * the kernel's way through the stack. Entries are kept current by netlink; indices are given again only when none is left,
 * because running flows remember them.
 */

import { addressOctets, macOctets, masked, prefixOf } from "../address.ts";
import { DataplaneError } from "../dataplane.ts";
import type { NextHopIndex } from "./apply.ts";
import { ipJson, tryIp } from "./command.ts";
import { PORT_APPS } from "./consts.ts";
import type { Kernel } from "./kernel.ts";
import { nextHop } from "./layout.ts";

export interface Hop {
  port: number;
  /** Id of the tag that is pushed, 0 none. */
  vlan?: number;
  destination: Uint8Array;
  source: Uint8Array;
}

/** The adapter that endpoints may be reached through directly. */
export interface DirectAdapter {
  name: string;
  mac: string;
  /** Prefixes that are on it. */
  prefixes: string[];
}

interface Neighbour {
  dst: string;
  lladdr?: string;
  state: string[];
}

const KEEP_ALIVE_MS = 5000;
const certain = new Set(["REACHABLE", "DELAY", "PROBE", "PERMANENT", "NOARP"]);
const usable = new Set(["REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT", "NOARP"]);

export class NextHops implements NextHopIndex {
  private readonly indices = new Map<string, number>();
  private wanted = new Set<string>();
  /** Places whose way is given, not found. */
  private readonly fixed = new Map<string, Hop>();
  private readonly direct = new Set<string>();
  /** Endpoints that were looked at: few, named by many rules. */
  private readonly onLink = new Map<string, boolean>();
  private refreshing: Promise<void> | undefined;
  private asked = 0;
  private closed = false;
  /** Longer packets may come than the apps' adapter takes: the kernel's way fragments them, or says so. */
  private tooLong = false;

  constructor(
    private readonly kernel: Kernel,
    private readonly through: Hop,
    private readonly adapter: DirectAdapter | undefined,
  ) {}

  /** @throws DataplaneError when all places are taken by endpoints in use. */
  indexOf(endpoint: string): number {
    // Outputs have names that are no addresses.
    const known = this.indices.get(endpoint);
    if (known !== undefined) return known;
    if (!this.adapter || !this.isOnLink(endpoint)) return 0;
    return this.take(endpoint, this.through);
  }

  private take(name: string, hop: Hop, before?: (index: number) => void): number {
    const map = this.kernel.map("next_hops");
    let index = this.indices.size + 1;
    if (index >= map.maxEntries) {
      const [free] = [...this.indices].filter(([other]) => !this.wanted.has(other) && !this.fixed.has(other));
      if (!free) throw new DataplaneError(`more than ${map.maxEntries - 1} endpoints`, "next_hops");
      this.indices.delete(free[0]);
      this.direct.delete(free[0]);
      index = free[1];
    }
    before?.(index);
    this.indices.set(name, index);
    map.update(index, nextHop.encode(hop));
    return index;
  }

  /**
   * A way that is given: this name leads there from now on. `before` is told the place, before anything leads there.
   * @throws DataplaneError when all places are taken
   */
  place(name: string, hop: Hop, before?: (index: number) => void): void {
    const index = this.indices.get(name);
    if (index === undefined) {
      this.take(name, hop, before);
    } else {
      before?.(index);
      this.kernel.map("next_hops").update(index, nextHop.encode(hop));
    }
    this.fixed.set(name, hop);
  }

  /** Index of what has been placed. */
  placeOf(name: string): number {
    return this.fixed.has(name) ? this.indices.get(name)! : 0;
  }

  /** Nothing new is sent there; its place is given again when none is left. */
  release(name: string): void {
    this.fixed.delete(name);
  }

  keep(endpoints: Set<string>): void {
    const isNew = [...endpoints].some((one) => !this.wanted.has(one));
    this.wanted = endpoints;
    if (!isNew) return;
    this.asked = 0;
    void this.keepAlive();
  }

  private isOnLink(endpoint: string): boolean {
    let known = this.onLink.get(endpoint);
    if (known === undefined) {
      const octets = addressOctets(endpoint);
      known = (this.adapter?.prefixes ?? []).some((text) => {
        const { octets: network, length } = prefixOf(text);
        return masked(octets, length).every((octet, i) => octet === network[i]);
      });
      if (this.onLink.size >= 65536) this.onLink.clear();
      this.onLink.set(endpoint, known);
    }
    return known;
  }

  /** Looks up all neighbours and writes what has changed. */
  refresh(): Promise<void> {
    this.refreshing ??= this.look()
      .catch(() => undefined)
      .finally(() => {
        this.refreshing = undefined;
      });
    return this.refreshing;
  }

  private async neighbours(): Promise<Map<string, Neighbour>> {
    const list = await ipJson<Neighbour[]>(`neigh show dev ${this.adapter?.name ?? "lo"}`);
    return new Map(list.map((neighbour) => [neighbour.dst, neighbour]));
  }

  private async look(): Promise<void> {
    const { adapter } = this;
    if (!adapter || this.indices.size === 0) return;
    const known = await this.neighbours();
    if (this.closed) return;
    for (const [endpoint, index] of this.indices) {
      if (endpoint.startsWith("output ")) continue;
      const neighbour = known.get(endpoint);
      const isUsable = !this.tooLong && neighbour?.state.some((state) => usable.has(state));
      const mac = isUsable ? neighbour?.lladdr : undefined;
      const hop = mac ? { port: PORT_APPS, destination: macOctets(mac), source: macOctets(adapter.mac) } : this.through;
      if (mac) this.direct.add(endpoint);
      else this.direct.delete(endpoint);
      this.kernel.map("next_hops").update(index, nextHop.encode(hop));
    }
  }

  /**
   * Frames that go straight there do not pass the kernel's neighbour table, which would forget or never check the entry:
   * every few seconds it is asked to resolve what it does not know for certain. Never what an operator has fixed: that
   * would be forgotten by asking.
   */
  async keepAlive(): Promise<void> {
    const now = Date.now();
    if (!this.adapter || now - this.asked < KEEP_ALIVE_MS) return;
    this.asked = now;
    try {
      const known = await this.neighbours();
      for (const endpoint of this.wanted) {
        if (this.closed) return;
        if (!this.indices.has(endpoint) || known.get(endpoint)?.state.some((state) => certain.has(state))) continue;
        await tryIp(`neigh replace ${endpoint} dev ${this.adapter.name} use`);
      }
      await this.refresh();
    } catch {
      // The adapter is gone: netlink tells when it is back.
    }
  }

  /** The longest packets that the data planes can bring have changed. */
  async setTooLong(tooLong: boolean): Promise<void> {
    if (this.tooLong === tooLong) return;
    this.tooLong = tooLong;
    await this.refreshing;
    await this.refresh();
  }

  /** Endpoints that are reached straight, for status. */
  straight(): string[] {
    return [...this.direct];
  }

  /** What is in the map stays: nobody keeps it current until the next start, so all entries go through routing again. */
  close(): void {
    if (!this.closed) {
      for (const [name, index] of this.indices) {
        if (!name.startsWith("output ")) this.kernel.map("next_hops").update(index, nextHop.encode(this.through));
      }
    }
    this.closed = true;
  }
}
