/**
 * How long does an app wait until its traffic rule is active in the kernel?
 *
 * Section `mp1-rules`. `bin/offramp run` with a MEC platform, three times beside each other: empty but for the apps that ask;
 * with 1 000 apps, 10 000 services and a rule of each app in force; and with ten rules of each. They take turns within each
 * round. Mp1 is the appliance's own, with tokens that are verified, audit log and store on disk. Alone: one app changes its rule, one request
 * after the other, and a packet of a UE proves each answer. Together: 32 apps at once, each its own rule.
 */
import { availableParallelism } from "node:os";
import type { TrafficRule } from "../../mep/model/rules.ts";
import { Rpc } from "../lab/rpc.ts";
import { type Failed, type Figure, figure, quantile, ratios, type Section } from "./figures.ts";
import { type Load, octetsOf } from "./http-load.ts";
import type { Effort } from "./inside.ts";
import { fillState } from "./mep-state.ts";
import { appName, apps, servicesOfEach } from "./mp1-population.ts";
import { APP, beside, Rig } from "./rig.ts";

const host = "10.60.0.1";
const port = 8091;
const base = `http://${host}:${port}`;
const askers = 32;
/** Of the rule that is put: each time another address of it, so that no flow is there yet. */
const granted = "203.0.112.0/20";
const addresses = 4000;

const web = (id: string, dstAddress: string, state: TrafficRule["state"]): TrafficRule => ({
  trafficRuleId: id,
  filterType: "FLOW",
  priority: 10,
  trafficFilter: [{ dstAddress: [dstAddress], protocol: ["17"] }],
  action: "FORWARD_DECAPSULATED",
  dstInterface: [{ interfaceType: "IP", dstIpAddress: APP }],
  state,
});

/** Rules of app `n`: single addresses and ports, as most apps have them. */
const standing = (n: number, count: number): TrafficRule[] =>
  Array.from({ length: count }, (_, i): TrafficRule => {
    const number = n * count + i;
    const rule = web(`r${i}`, `100.${64 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`, "ACTIVE");
    return {
      ...rule,
      trafficFilter: [{ ...rule.trafficFilter[0], protocol: ["6"], dstPort: [String(1024 + (n % 5000))] }],
    };
  });

/** Apps that ask have one rule more. */
const turning = (n: number): TrafficRule[] =>
  n === 0 ? [web("turn", granted, "INACTIVE")] : n <= askers ? [web("turn", `192.0.2.${n}`, "INACTIVE")] : [];

export interface Scale {
  what: string;
  apps: number;
  servicesOfEach: number;
  rulesOfEach: number;
}

const scales: Scale[] = [
  { what: "empty platform", apps: askers + 1, servicesOfEach: 0, rulesOfEach: 0 },
  { what: "1 000 apps, 10 000 services, 1 000 rules", apps, servicesOfEach, rulesOfEach: 1 },
  { what: "1 000 apps, 10 000 services, 10 000 rules", apps, servicesOfEach, rulesOfEach: 10 },
];

interface Put {
  octets: string;
  status: number;
}

/** A platform that runs. */
class Site {
  private turn = 0;

  private constructor(
    private readonly rig: Rig,
    private readonly loader: Rpc,
    private readonly tokens: ReadonlyMap<string, string>,
  ) {}

  static async open(scale: Scale): Promise<Site> {
    let tokens = new Map<string, string>();
    const rate = 1_000_000;
    const rig = await Rig.open({
      mep: { mp1: { listen: `${host}:${port}`, insecure: true, rates: { app: rate, address: rate, token: rate } } },
      fill: async (stateDir) => {
        tokens = await fillState(stateDir, {
          ...{ base, apps: scale.apps, servicesOfEach: scale.servicesOfEach, address: APP, tokens: askers + 1 },
          rulesOf: (n) => [...turning(n), ...standing(n, scale.rulesOfEach)],
        });
      },
      ...(availableParallelism() > 1 && { core: 0 }),
    });
    try {
      const loader = new Rpc(rig.machines.start("tof", "loader", [...beside("loader"), host, String(port)]));
      await rig.learn();
      return new Site(rig, loader, tokens);
    } catch (error) {
      await rig.close();
      throw error;
    }
  }

  private put(n: number, rule: TrafficRule): Put {
    const path = `/mec_app_support/v1/applications/${appName(n)}/traffic_rules/${rule.trafficRuleId}`;
    const authorization = `Bearer ${this.tokens.get(appName(n))}`;
    return { octets: octetsOf("PUT", path, { authorization }, rule).toString("latin1"), status: 200 };
  }

  private send(requests: readonly Put[], connections: number): Promise<Load> {
    return this.loader.call<Load>("send", { requests, connections }, 60_000);
  }

  /** Milliseconds until the rule is in force, of each time. @throws Error when a packet says otherwise */
  async alone(times: number): Promise<number[]> {
    const latencies: number[] = [];
    for (let i = 0; i < times; i += 1) {
      this.turn += 1;
      const number = 1 + (this.turn % addresses);
      const address = `203.0.${112 + (number >> 8)}.${number & 255}`;
      const from = this.rig.uplink(address);
      await this.expect(from, "core", "before the rule");
      const load = await this.send([this.put(0, web("turn", address, "ACTIVE"))], 1);
      latencies.push(...load.latencies);
      await this.expect(from, "app", "after 200");
    }
    return latencies;
  }

  private async expect(from: Parameters<Rig["next"]>[0], sink: string, when: string): Promise<void> {
    const at = await this.rig.next(from);
    if (at !== sink) throw new Error(`${when} the next packet came out at ${at ?? "no end"}, not at ${sink}`);
  }

  /** Each of the askers changes the state of its rule so many times. */
  together(times: number): Promise<Load> {
    const states = ["ACTIVE", "INACTIVE"] as const;
    const requests = states.flatMap((state) =>
      Array.from({ length: (times * askers) >> 1 }, (_, i) => i).map((i) => {
        const n = 1 + (i % askers);
        return this.put(n, web("turn", `192.0.2.${n}`, state));
      }),
    );
    return this.send(requests, askers);
  }

  close(): Promise<void> {
    return this.rig.close();
  }
}

interface Measured {
  p50: number[];
  p99: number[];
  rates: number[];
  waits: number[];
}

interface Sizes {
  rounds: number;
  /** PUTs of a round: of the one app, and of each of those that ask at once (an even number). */
  alone: number;
  together: number;
}

const sizesOf = (quick: boolean): Sizes =>
  quick ? { rounds: 3, alone: 10, together: 4 } : { rounds: 11, alone: 30, together: 10 };

export async function mp1Rules(
  { quick, say }: Effort,
  chosen: readonly Scale[] = scales,
  { rounds, alone, together }: Sizes = sizesOf(quick),
): Promise<Section> {
  const sites: Site[] = [];
  const measured = chosen.map((): Measured => ({ p50: [], p99: [], rates: [], waits: [] }));
  const rows: (Figure | Failed)[] = [];
  try {
    for (const scale of chosen) {
      say(scale.what);
      sites.push(await Site.open(scale));
    }
    // The first round finds everything cold.
    for (let round = -1; round < rounds; round += 1) {
      say(`round ${round + 1}`);
      for (const [i, site] of sites.entries()) {
        const latencies = await site.alone(alone);
        const load = await site.together(together);
        if (round < 0) continue;
        const own = measured[i] as Measured;
        own.p50.push(quantile(latencies, 0.5));
        own.p99.push(quantile(latencies, 0.99));
        own.rates.push(load.rate);
        own.waits.push(quantile(load.latencies, 0.99));
      }
    }
    const first = measured[0] as Measured;
    for (const [i, { what }] of chosen.entries()) {
      const own = measured[i] as Measured;
      const row = (which: keyof Measured, text: string, unit: string): Figure =>
        figure(`${what}: ${text}`, unit, own[which], {
          digits: 1,
          ...(i > 0 && { ratios: ratios(own[which], first[which]) }),
        });
      rows.push(
        row("p50", "PUT until active, p50", "ms"),
        row("p99", "PUT until active, p99", "ms"),
        row("rates", `${askers} apps at once`, "requests/s"),
        row("waits", `${askers} apps at once, p99`, "ms"),
      );
    }
  } catch (error) {
    rows.push({ what: "all", failed: (error as Error).message });
  } finally {
    for (const site of sites) await site.close();
  }
  return {
    name: "mp1-rules",
    title: "A traffic rule over Mp1: from PUT to 200, active in the kernel; ratio to the empty platform",
    rows,
  };
}
