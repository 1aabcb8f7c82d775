/**
 * Which steering does a TrafficRule mean (GS MEC 011 §7.1.2.2)?
 *
 *   TrafficRule ──filter × family (× direction)──▶ intents of one group, below all services
 *
 * Pure: the same rule gives the same intents. FLOW is what the data plane does anyway: matched on the uplink, the downlink goes
 * with it. PACKET is two rules, one for each direction, each by itself.
 *
 *   DROP                                 dropped
 *   PASSTHROUGH                          stays on its way; rules below do not see it
 *   FORWARD_DECAPSULATED  IP             destination translated to the address, replies translated back: that is what lets
 *                                        an app answer that knows nothing of this; FLOW only
 *                         MAC, GRE       out of the tunnel, untranslated, to that MAC address or into that tunnel
 *                         GTP-U          as FORWARD_ENCAPSULATED
 *   FORWARD_ENCAPSULATED  MAC, IP        the whole frame with its tunnel to that MAC address or next hop
 *                         GTP-U, GRE     its tunnel leads to that end point now, or is put into that tunnel
 *   DUPLICATE_…                          stays on its way; copies, without or with the tunnel, likewise: the first interface
 *                                        gets those of the uplink, the second (or the only one) those of the downlink
 */
import type { FieldError, Intent } from "../../controlplane/intents/model.ts";
import type { Copy, Direction, Match, Mirror, Outlet } from "../../dataplane/steering.ts";
import type { DestinationInterface, TrafficRuleDescriptor } from "../model/rules.ts";
import { downlinkOf, readFilter } from "./filter.ts";

/** What a site says that rules depend on. */
export interface RuleSite {
  /** The apps' adapter; absent: there is none. */
  adapter?: string | undefined;
  /** Some data plane is on N3. */
  qfi: boolean;
}

/** Whose rule it is. */
export interface RuleOwner {
  instance: string;
  /** Toward the traffic offloading function; what an interface of type IP without address means. */
  addresses: readonly string[];
}

export interface Compiled {
  /** In the order of the filters. Empty while there are errors. */
  intents: Intent[];
  errors: FieldError[];
}

/** MEC 0 is right below the services, which begin at 0. */
export const steeringPriority = (priority: number): number => -1 - priority;

/** As monitor, trace and verify tell it. */
export const nameOfRule = (instance: string, ruleId: string): string => `app:${instance}/${ruleId}`;

type Outcome = Pick<Intent, "action" | "endpoints" | "output" | "mirror">;

const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4);
/** IPv4 first. */
const ofFamily = (addresses: readonly string[], family?: 4 | 6): string | undefined =>
  addresses.find((one) => familyOf(one) === (family ?? 4)) ??
  (family === undefined ? addresses.find((one) => familyOf(one) === 6) : undefined);

class RuleCompiler {
  readonly errors: FieldError[] = [];

  constructor(
    readonly rule: TrafficRuleDescriptor,
    readonly owner: RuleOwner,
    readonly site: RuleSite,
  ) {}

  fail(field: string, message: string): undefined {
    this.errors.push({ field, message });
    return undefined;
  }

  /** Where packets leave by an interface that does not translate them. */
  outlet(
    { interfaceType, tunnelInfo, srcMacAddress, dstMacAddress, dstIpAddress }: DestinationInterface,
    field: string,
  ): Outlet {
    const { adapter } = this.site;
    if (adapter === undefined && interfaceType !== "TUNNEL") {
      this.fail(field, "leads to the apps' network, and this site has none: add apps to site.yaml");
    }
    if (interfaceType === "MAC") {
      return {
        port: adapter ?? "",
        mac: dstMacAddress ?? "",
        ...(srcMacAddress !== undefined && { sourceMac: srcMacAddress }),
      };
    }
    if (interfaceType === "IP") return { address: dstIpAddress ?? this.own(field, undefined) ?? "" };
    const { tunnelType, tunnelDstAddress = "", tunnelSrcAddress } = tunnelInfo ?? { tunnelType: "GRE" };
    if (tunnelSrcAddress !== undefined && familyOf(tunnelSrcAddress) !== familyOf(tunnelDstAddress)) {
      this.fail(`${field}.tunnelInfo.tunnelSrcAddress`, "must be of the same family as tunnelDstAddress");
    }
    return {
      tunnel: {
        type: tunnelType === "GRE" ? "gre" : "gtp-u",
        ...(tunnelSrcAddress !== undefined && { source: tunnelSrcAddress }),
        destination: tunnelDstAddress,
      },
    };
  }

  own(field: string, family: 4 | 6 | undefined): string | undefined {
    const found = ofFamily(this.owner.addresses, family);
    if (found !== undefined) return found;
    return this.fail(
      `${field}.dstIpAddress`,
      `is required: the instance has no ${family === undefined ? "" : `IPv${family} `}address of its own`,
    );
  }

  copy(one: DestinationInterface, field: string): Copy {
    const form = this.rule.action === "DUPLICATE_DECAPSULATED" ? "decapsulated" : "as-is";
    return { ...this.outlet(one, field), form };
  }

  mirror(direction: Direction | undefined): Mirror {
    const [first, second = first] = (this.rule.dstInterface ?? []).map((one, index) =>
      this.copy(one, `dstInterface.${index}`),
    );
    if (!first || !second) return {};
    if (direction === "uplink") return { uplink: first };
    if (direction === "downlink") return { downlink: second };
    return (this.rule.dstInterface ?? []).length === 1 ? first : { uplink: first, downlink: second };
  }

  /** Addresses that packets are translated to, by family; undefined: they are not translated. */
  translation(): string[] | undefined {
    const { action, dstInterface: [only] = [], filterType } = this.rule;
    if (action !== "FORWARD_DECAPSULATED" || only?.interfaceType !== "IP") return undefined;
    if (filterType === "PACKET") {
      this.fail(
        "filterType",
        "must be FLOW with FORWARD_DECAPSULATED to an IP address: what is translated one way has to be translated back",
      );
    }
    if (only.dstIpAddress !== undefined) return [only.dstIpAddress];
    const own = ([4, 6] as const).flatMap((family) => ofFamily(this.owner.addresses, family) ?? []);
    if (own.length === 0) this.own("dstInterface.0", undefined);
    return own;
  }

  outcome(direction: Direction | undefined, address: string | undefined): Outcome {
    const { action, dstInterface: [first] = [] } = this.rule;
    switch (action) {
      case "DROP":
        return { action: "drop" };
      case "PASSTHROUGH":
        return { action: "pass" };
      case "DUPLICATE_DECAPSULATED":
      case "DUPLICATE_ENCAPSULATED":
        return { action: "pass", mirror: this.mirror(direction) };
      case "FORWARD_DECAPSULATED":
        if (address !== undefined) return { action: "take", endpoints: [{ address }] };
        if (!first) break;
        return {
          action: first.tunnelInfo?.tunnelType === "GTP_U" && first.interfaceType === "TUNNEL" ? "forward" : "route",
          output: this.outlet(first, "dstInterface.0"),
        };
      case "FORWARD_ENCAPSULATED":
        if (first) return { action: "forward", output: this.outlet(first, "dstInterface.0") };
    }
    this.fail("dstInterface", `is required with ${action}`);
    return { action: "pass" };
  }

  /** Translated packets need a protocol whose addresses can be translated. */
  refuseUntranslatable(matches: readonly Match[], field: string): void {
    const other = matches.flatMap(({ protocol = [] }) => protocol).find((one) => ![1, 6, 17, 58].includes(one));
    if (other === undefined) return;
    this.fail(
      `${field}.protocol`,
      `${other} cannot be translated to an IP address: only icmp, tcp, udp and icmpv6 can`,
    );
  }

  pieces(): (Outcome & { match: Match })[] {
    const { rule, site } = this;
    const targets = this.translation();
    const directions: (Direction | undefined)[] = rule.filterType === "PACKET" ? ["uplink", "downlink"] : [undefined];
    const outcomes = new Map<string, Outcome>();
    for (const direction of directions) {
      for (const target of targets ?? [undefined])
        outcomes.set(`${direction} ${target}`, this.outcome(direction, target));
    }
    return rule.trafficFilter.flatMap((filter, index) => {
      const field = `trafficFilter.${index}`;
      const reads = (targets ?? [undefined]).map((target) => ({
        target,
        ...readFilter(filter, { field, qfi: site.qfi, family: target === undefined ? undefined : familyOf(target) }),
      }));
      // With own addresses of both families it is enough that a filter is about one of them.
      const good = reads.filter(({ errors }) => errors.length === 0);
      if (good.length === 0) this.errors.push(...(reads[0]?.errors ?? []));
      if (targets)
        this.refuseUntranslatable(
          good.flatMap(({ matches }) => matches),
          field,
        );
      return good.flatMap(({ matches, target }) =>
        matches.flatMap((match) =>
          directions.map((direction) => ({
            match: direction ? { direction, ...(direction === "uplink" ? match : downlinkOf(match)) } : match,
            ...(outcomes.get(`${direction} ${target}`) as Outcome),
          })),
        ),
      );
    });
  }
}

/** Fields of errors are those of the rule: `trafficFilter.0.tag`. */
export function compileRule(rule: TrafficRuleDescriptor, owner: RuleOwner, site: RuleSite): Compiled {
  const compiler = new RuleCompiler(rule, owner, site);
  const pieces = compiler.pieces();
  const errors = [...new Map(compiler.errors.map((one) => [`${one.field} ${one.message}`, one])).values()];
  if (errors.length > 0) return { intents: [], errors };
  const group = nameOfRule(owner.instance, rule.trafficRuleId);
  // Several filters may say the same; which of them is met makes no difference.
  const distinct = [...new Map(pieces.map((piece) => [JSON.stringify(piece), piece])).values()];
  const intents = distinct.map(
    (piece, index): Intent => ({
      name: index === 0 ? group : `${group}#${index + 1}`,
      priority: steeringPriority(rule.priority),
      ...piece,
      appInitiated: false,
      group,
    }),
  );
  return { intents, errors };
}
