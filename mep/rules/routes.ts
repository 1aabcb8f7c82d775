/**
 * What do people see of the rules of apps, on the management API?
 *
 * Each rule as it is, with how often it was met; to change them is the app's own (Mp1), or a new configuration's.
 */
import Type from "typebox";
import type { Routes } from "../../controlplane/api/context.ts";
import * as schemas from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";
import { type DnsRule, dnsRule, type TrafficRule, trafficRule } from "../model/rules.ts";
import type { RuleCounters, Rules } from "./rules.ts";

const direction = Type.Object({ packets: Type.Integer({ minimum: 0 }), bytes: Type.Integer({ minimum: 0 }) });

export const ruleCounters = Type.Object(
  { uplink: direction, downlink: direction },
  {
    title: "TrafficRuleCounters",
    description: "what the rule has met since the data plane was started; inner packets",
  },
);

/** Rules of one instance, as `offramp app rules` shows them. */
export interface RulesView {
  traffic: { rule: TrafficRule; counters: RuleCounters }[];
  dns: DnsRule[];
}

const view = Type.Object(
  {
    traffic: Type.Array(Type.Object({ rule: trafficRule, counters: ruleCounters })),
    dns: Type.Array(dnsRule),
  },
  { title: "AppRules" },
);

export const managementRuleRoutes =
  (rules: Rules): Routes =>
  (app) => {
    app.get<{ Params: { id: string } }>(
      "/api/v1/apps/:id/rules",
      {
        schema: {
          tags: ["Management"],
          summary: "Traffic and DNS rules of an app instance, with how often each was met",
          params: Type.Object({ id: Type.String({ maxLength: 128 }) }, { additionalProperties: false }),
          querystring: schemas.nothing,
          response: { 200: view, ...schemas.commonProblems, ...schemas.notFound },
        },
      },
      ({ params: { id } }): RulesView => {
        if (!rules.has(id)) throw new Problem("not-found", `no app instance "${id.slice(0, 80)}" is configured`);
        return {
          traffic: rules.trafficRules(id).map((rule) => ({ rule, counters: rules.counters(id, rule.trafficRuleId)! })),
          dns: rules.dnsRules(id),
        };
      },
    );
  };
