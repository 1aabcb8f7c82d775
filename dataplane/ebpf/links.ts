/**
 * What does one side of the wire get to know about the other side's link?
 *
 * On a plain cable both ends see it when it breaks. So a link that is lost on one adapter is shown on the other by taking
 * that one down, until the first is back; switches and routers on either side can then find another way. When this process
 * ends, what it took down comes up again: nobody would be there to do it later.
 *
 * An adapter that disappears and comes again (a driver reset, a moved virtual port) has lost its programs and its place in
 * the bridge: `rewire` is called for its data plane. `remeasure` is called when an MTU has changed.
 */
import { tryIp } from "./command.ts";
import { allLinks, hasCarrier, type Link } from "./netdev.ts";
import type { Plane } from "./planes.ts";

export class LinkKeeper {
  private checking: Promise<void> | undefined;
  private again = false;
  private closed = false;
  private resting = false;

  constructor(
    private readonly planes: ReadonlyMap<string, Plane>,
    private readonly rewire: (plane: Plane) => Promise<void>,
    private readonly remeasure: (plane: Plane) => Promise<void>,
  ) {}

  /** Looks at all links, and once more if something changes meanwhile. */
  check(): Promise<void> {
    if (this.resting || this.checking) {
      this.again = true;
      return this.checking ?? Promise.resolve();
    }
    this.checking = this.look().finally(() => {
      this.checking = undefined;
      this.catchUp();
    });
    return this.checking;
  }

  private catchUp(): void {
    if (!this.again || this.closed || this.resting) return;
    this.again = false;
    void this.check();
  }

  /** Work that changes which data planes there are, or their adapters: nothing is looked at meanwhile. */
  async rest<T>(work: () => Promise<T>): Promise<T> {
    this.resting = true;
    try {
      await this.checking;
      return await work();
    } finally {
      this.resting = false;
      this.again = true;
      this.catchUp();
    }
  }

  /** A data plane goes: nobody would bring up later what was taken down for it. */
  async forget(plane: Plane): Promise<void> {
    if (plane.shownDown !== undefined) await tryIp(`link set dev ${plane.shownDown} up`);
    plane.shownDown = undefined;
  }

  private async look(): Promise<void> {
    if (this.closed) return;
    const links = new Map((await allLinks().catch((): Link[] => [])).map((link) => [link.ifname, link]));
    for (const plane of [...this.planes.values()]) {
      const now = plane.links.map((link) => links.get(link.ifname));
      if (now.every((link) => link !== undefined) && now.some((link, i) => link.ifindex !== plane.links[i]?.ifindex)) {
        // Fails when it is gone again: the next change tells.
        await this.rewire(plane).catch(() => undefined);
        continue;
      }
      if (now.some((link, i) => link && link.mtu !== plane.links[i]?.mtu))
        await this.remeasure(plane).catch(() => undefined);
      for (const [i, port] of plane.ports.entries()) {
        port.link = now[i] !== undefined && hasCarrier(now[i]);
      }
      if (!plane.shared && now[0] && now[1]) await this.show(plane, now[0], now[1]);
    }
  }

  private async show(plane: Plane, access: Link, core: Link): Promise<void> {
    if (plane.shownDown !== undefined) {
      const lost = plane.shownDown === access.ifname ? core : access;
      if (!hasCarrier(lost)) return;
      await tryIp(`link set dev ${plane.shownDown} up`);
      plane.shownDown = undefined;
      return;
    }
    for (const [lost, other] of [
      [access, core],
      [core, access],
    ] as const) {
      // An adapter that an operator has taken down counts as lost, too; one without carrier on both sides shows itself.
      if (!hasCarrier(lost) && hasCarrier(other)) {
        plane.shownDown = other.ifname;
        await tryIp(`link set dev ${other.ifname} down`);
        return;
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.checking;
    for (const plane of this.planes.values()) await this.forget(plane);
  }
}
