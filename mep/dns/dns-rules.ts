/**
 * How do the DNS rules that are active reach phones, all of them or none (B2)?
 *
 *   added     name server answers ─▶ data plane takes queries
 *   removed   data plane takes no more queries ─▶ name server forgets
 *
 * In this order, so that no query is ever brought to a name server that does not know the name. Who is to be asked on Mp1 which
 * rules there are is not known here: whoever keeps rules hands over the whole set that is active.
 */
import { Problem } from "../../controlplane/errors.ts";
import type { Services } from "../../controlplane/intents/services.ts";
import type { Names } from "../../dataplane/steering.ts";
import type { DnsActivation, DnsRecord } from "../parts.ts";
import type { DnsServer } from "./unbound.ts";

export type { DnsActivation, DnsRecord } from "../parts.ts";

export interface DnsRulesOptions {
  server: Pick<DnsServer, "set" | "names" | "up">;
  services: Pick<Services, "setNames">;
  /** Where the data plane brings queries. */
  target: Pick<Names, "server" | "server6">;
}

export class DnsRules implements DnsActivation {
  readonly #options: DnsRulesOptions;
  /** Not known before the first time: an earlier run may have left some in force. */
  #active: readonly DnsRecord[] | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: DnsRulesOptions) {
    this.#options = options;
  }

  begin(active: readonly DnsRecord[]): Promise<void> {
    return this.#serialise(() => (this.#options.server.up ? this.#apply(active) : this.#standAside(active)));
  }

  /** While the name server is not up, rules can be made inactive, since nobody is asked anyway; no more than that. */
  apply(active: readonly DnsRecord[]): Promise<void> {
    return this.#serialise(() => {
      const before = new Set(this.#active?.map((one) => JSON.stringify(one)));
      const fewer = active.every((one) => before.has(JSON.stringify(one)));
      return !this.#options.server.up && fewer ? this.#standAside(active) : this.#apply(active);
    });
  }

  /** No query is taken as long as the name server is not there; what is active stays known. */
  pause(): Promise<void> {
    return this.#serialise(() => this.#take([]));
  }

  /** The name server is there again. No query is taken before it has exactly what is active by now. */
  resume(): Promise<void> {
    return this.#serialise(async () => {
      const active = this.#active ?? [];
      await this.#options.server.set(active);
      await this.#take(active);
    });
  }

  /** No query is taken; what is active is known for when the name server is there. */
  async #standAside(active: readonly DnsRecord[]): Promise<void> {
    await this.#take([]);
    this.#active = active;
  }

  #serialise(work: () => Promise<void>): Promise<void> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  #take(records: readonly DnsRecord[]): Promise<void> {
    const names = [...new Set(records.map(({ name }) => name))].sort();
    return this.#options.services.setNames({ names, ...this.#options.target });
  }

  async #apply(active: readonly DnsRecord[]): Promise<void> {
    const { server } = this.#options;
    const before = this.#active;
    const wanted = new Set(active.map(({ name }) => name));
    await server.set(active, { keep: true });
    try {
      await this.#take(active);
      if (server.names.length > wanted.size) await server.set(active);
    } catch (error) {
      // In the order of adding: what was answered before is answered again before it is asked for.
      if (before) {
        await server.set(before).catch(() => undefined);
        await this.#take(before).catch(() => undefined);
      }
      throw error;
    }
    this.#active = active;
  }
}

/** Where site.yaml has no `mep.dns`: nothing can be active. */
export const noNameService: DnsActivation = {
  missing: true,
  begin: async () => undefined,
  async apply(active) {
    if (active.length === 0) return;
    throw new Problem(
      "forbidden",
      "this site has no name server: add mep.dns to site.yaml, or leave the rule INACTIVE",
    );
  },
};
