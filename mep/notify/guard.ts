/**
 * To which address may this notification be sent, now?
 *
 *   callbackReference ─parse─▶ host ─resolve, in time─▶ addresses ─could the app reach it?─▶ the address to connect to
 *
 * Asked when a subscription is made, so that a bad one is refused while somebody is there to read why, and again before each
 * delivery, because names change: what was checked is what is connected to, no name is looked up after that.
 */
import { Resolver } from "node:dns/promises";
import { messageOf } from "../../controlplane/errors.ts";
import { type Address, formatAddress, parseAddress } from "../../controlplane/intents/prefix.ts";
import { type Callback, CallbackError } from "./callback.ts";
import type { Place, Reach } from "./reach.ts";

/** Addresses of a name, of both families. @throws Error when there are none, or none came in time */
export type Resolve = (name: string) => Promise<string[]>;

/** A name could not be looked up: that may be different in a moment. */
export class UnresolvedError extends Error {}

const lookupsAtOnce = 32;

/**
 * Asks DNS and nothing else: neither /etc/hosts, which knows the appliance's own names, nor the threads that the rest of the
 * process needs.
 * @param servers `address` or `address:port`; absent: those of the system
 */
export function resolver({ servers, timeoutMs = 2000 }: { servers?: string[]; timeoutMs?: number } = {}): Resolve {
  const dns = new Resolver({ timeout: timeoutMs, tries: 1 });
  if (servers && servers.length > 0) dns.setServers(servers);
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (name) => {
    if (running >= lookupsAtOnce) await new Promise<void>((go) => waiting.push(go));
    running += 1;
    try {
      const both = await Promise.allSettled([dns.resolve4(name), dns.resolve6(name)]);
      const found = both.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
      if (found.length > 0) return found;
      const failure = both.find((one) => one.status === "rejected");
      throw new UnresolvedError(`${name} has no address: ${messageOf(failure?.reason ?? "none was answered")}`);
    } finally {
      running -= 1;
      waiting.shift()?.();
    }
  };
}

export class Guard {
  constructor(
    private readonly reach: Reach,
    private readonly resolve: Resolve,
  ) {}

  /**
   * The first address, as we write it, that the instance may be reached at.
   * @throws CallbackError when there is none, UnresolvedError when the name has none at the moment
   */
  async target(instance: Place | undefined, { host, address, port }: Callback): Promise<string> {
    let refused = "";
    for (const candidate of address ? [address] : await this.#lookup(host)) {
      const why = this.reach(instance, candidate, port);
      if (why === undefined) return formatAddress(candidate);
      refused ||= why;
    }
    // Which address a name has is not told: the platform is nobody's way to ask DNS.
    const what = address ? `the address ${host}` : `an address of ${host}`;
    throw new CallbackError(`leads where notifications are not sent: ${what} ${refused || "cannot be read"}`);
  }

  async #lookup(name: string): Promise<Address[]> {
    const found = await this.resolve(name);
    return found.flatMap((text) => {
      try {
        return [parseAddress(text)];
      } catch {
        return []; // IPv4 in IPv6 clothes
      }
    });
  }
}
