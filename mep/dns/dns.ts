/**
 * What is the name service of the platform, put together from site.yaml?
 *
 *   mep.dns ─▶ Unbound on the appliance's own addresses toward the apps ◀─ queries that the data plane takes ◀─ UEs
 *                                                                       ◀─ apps, for names of others too (`upstream`)
 *
 * UEs reach it by the names that have rules, and by nothing else: the appliance's own addresses are protected, port 53 too.
 */
import { join } from "node:path";
import type { SiteConfig } from "../../controlplane/config/site.ts";
import type { Host } from "../../controlplane/extension.ts";
import { formatAddress, formatPrefix, parseInterfaceAddress, parsePrefix } from "../../controlplane/intents/prefix.ts";
import type { Names } from "../../dataplane/steering.ts";
import type { DnsSettings } from "./config.ts";
import { type DnsActivation, DnsRules } from "./dns-rules.ts";
import { DnsServer, endLeft } from "./unbound.ts";

export const dnsDirectory = (stateDir: string): string => join(stateDir, "dns");

/** Of both families at the same port, where the appliance has an address of each toward the apps. */
export function dnsSettings({ stateDir, backend: { apps }, mep }: SiteConfig): {
  settings: DnsSettings;
  target: Pick<Names, "server" | "server6">;
} {
  if (!mep?.dns || !apps) throw new Error("site.yaml has no mep.dns, or no apps");
  const { port, upstream } = mep.dns;
  const own = [apps.address, ...(apps.address6 === undefined ? [] : [apps.address6])].map(parseInterfaceAddress);
  const [server, server6] = own.map(({ address }) => ({ address: formatAddress(address), port }));
  const networks = [mep.apps?.tof, mep.apps?.platform].filter((text) => text !== undefined).map(parsePrefix);
  return {
    settings: {
      directory: dnsDirectory(stateDir),
      listen: [server!, ...(server6 ? [server6] : [])],
      upstream,
      apps: [...own.map(({ network }) => network), ...networks].map(formatPrefix),
    },
    target: { server: server!, ...(server6 && { server6 }) },
  };
}

const firstPauseMs = 1000;
const longestPauseMs = 30_000;

export class NameService {
  readonly #server: DnsServer;
  readonly #rules: DnsRules;
  readonly #log: Host["log"];
  #timer: NodeJS.Timeout | undefined;
  #starting: Promise<void> = Promise.resolve();
  #stopped = false;

  /** Constructing has no effects. */
  constructor({ config, services, log }: Pick<Host, "config" | "services" | "log">) {
    this.#log = log;
    const { settings, target } = dnsSettings(config);
    const changed = (up: boolean): void => {
      const done = up ? this.#rules.resume() : this.#rules.pause();
      done.catch((error: unknown) => log.error({ err: error }, "the data plane could not be told of the name server"));
    };
    this.#server = new DnsServer({ ...settings, log, changed });
    this.#rules = new DnsRules({ server: this.#server, services, target });
  }

  /** It answers. */
  get up(): boolean {
    return this.#server.up;
  }

  /** Whoever keeps DNS rules says here which are active. */
  get activation(): DnsActivation {
    return this.#rules;
  }

  /**
   * Returns when it answers, or cannot be brought to: then it is tried again and again, and no query is taken meanwhile. Phones lose
   * nothing by that, and the appliance has more to do than this.
   */
  async start(): Promise<void> {
    try {
      await this.#server.start();
    } catch (error) {
      this.#failed(error, firstPauseMs);
    }
  }

  #failed(error: unknown, pause: number): void {
    if (this.#stopped) return;
    this.#log.error({ err: error }, "DNS rules stand aside: phones' queries go to the resolvers that they ask");
    this.#timer = setTimeout(() => {
      this.#starting = this.#again(Math.min(longestPauseMs, pause * 2));
    }, pause);
  }

  async #again(pause: number): Promise<void> {
    try {
      if (!this.#server.up) await this.#server.start();
      if (!this.#stopped) await this.#rules.resume();
    } catch (error) {
      this.#failed(error, pause);
    }
  }

  /** No query is taken any more; then the name server ends. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (!this.#server.up) await this.#server.stop();
    await this.#starting;
    try {
      await this.#rules.pause();
    } finally {
      await this.#server.stop();
    }
  }
}

/** Ends a name server that an agent has left when it was killed. */
export const endLeftNameService = ({ stateDir }: Pick<SiteConfig, "stateDir">): Promise<void> =>
  endLeft(dnsDirectory(stateDir));
