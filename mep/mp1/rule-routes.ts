/**
 * Traffic rules and DNS rules over Mp1 (GS MEC 011 §7.2.7 to §7.2.10).
 *
 * An app reads its rules and changes them; only management makes and removes them. 200 is answered to a PUT when the data
 * plane, resp. the name server, has the change and the store holds it. Counters of a rule are an extension of ours.
 */
import type { FastifyReply } from "fastify";
import Type, { type TSchema } from "typebox";
import { Problem } from "../../controlplane/errors.ts";
import { Reader } from "../../controlplane/intents/reader.ts";
import { readDnsRule, readTrafficRule } from "../model/read-rules.ts";
import { type DnsRule, dnsRule, type TrafficRule, trafficRule } from "../model/rules.ts";
import { refuseErrors } from "../rules/judge.ts";
import { ruleCounters } from "../rules/routes.ts";
import type { Rules } from "../rules/rules.ts";
import { checkIfMatch, etagOf } from "./etag.ts";
import type { Mp1Request, Mp1Server } from "./server.ts";

const api = "mec_app_support";
const read = "mec_app_support";
const write = "mec_app_support:rules";
const application = "/applications/:appInstanceId";

/** With the ETag of exactly the text that is sent. */
function answer<T extends object>(reply: FastifyReply, body: T): T {
  reply.header("etag", etagOf(JSON.stringify(body)));
  return body;
}

const absent = (what: string, id: string) => new Problem("not-found", `there is no ${what} "${id.slice(0, 80)}"`);

/** One of the two kinds of rules. */
interface Kind<T extends object> {
  path: string;
  /** In words. */
  what: string;
  schema: TSchema;
  list(instance: string): T[];
  get(instance: string, id: string): T | undefined;
  put(instance: string, id: string, read: (current: T) => T): Promise<T>;
  read(reader: Reader, body: unknown, id: string): T | undefined;
}

function routesOf<T extends object>(server: Pick<Mp1Server, "route">, kind: Kind<T>): void {
  const { path, what, schema } = kind;
  const one = `${application}/${path}/:ruleId`;
  const found = ({ appInstanceId = "", ruleId = "" }: Record<string, string>): T => {
    const rule = kind.get(appInstanceId, ruleId);
    if (!rule) throw absent(what, ruleId);
    return rule;
  };
  server.route({
    api,
    method: "GET",
    path: `${application}/${path}`,
    scope: read,
    summary: `All ${what}s of the instance`,
    tagged: true,
    answers: { 200: Type.Array(schema) },
    handler: ({ params }: Mp1Request, reply) => answer(reply, kind.list(params.appInstanceId ?? "")),
  });
  server.route({
    api,
    method: "GET",
    path: one,
    scope: read,
    summary: `One ${what}`,
    tagged: true,
    answers: { 200: schema },
    handler: ({ params }, reply) => answer(reply, found(params)),
  });
  server.route({
    api,
    method: "PUT",
    path: one,
    scope: write,
    summary: `Change a ${what}: its state or other attributes, within what the package was granted`,
    problems: [412],
    tagged: true,
    documentedBody: schema,
    answers: { 200: schema },
    handler: async (request, reply) => {
      const { appInstanceId = "", ruleId = "" } = request.params;
      found(request.params);
      const reader = new Reader();
      const wanted = kind.read(reader, request.body, ruleId);
      refuseErrors(reader.errors);
      const rule = await kind.put(appInstanceId, ruleId, (current) => {
        checkIfMatch(request, etagOf(JSON.stringify(current)));
        return wanted as T;
      });
      return answer(reply, rule);
    },
  });
}

export function ruleRoutes(server: Pick<Mp1Server, "route">, rules: Rules): void {
  routesOf<TrafficRule>(server, {
    path: "traffic_rules",
    what: "traffic rule",
    schema: trafficRule,
    list: (instance) => rules.trafficRules(instance),
    get: (instance, id) => rules.trafficRule(instance, id),
    put: (instance, id, change) => rules.putTraffic(instance, id, change),
    read: readTrafficRule,
  });
  routesOf<DnsRule>(server, {
    path: "dns_rules",
    what: "DNS rule",
    schema: dnsRule,
    list: (instance) => rules.dnsRules(instance),
    get: (instance, id) => rules.dnsRule(instance, id),
    put: (instance, id, change) => rules.putDns(instance, id, change),
    read: readDnsRule,
  });
  server.route({
    api,
    method: "GET",
    path: `${application}/traffic_rules/:ruleId/counters`,
    scope: read,
    summary: "How often a traffic rule was met",
    answers: { 200: ruleCounters },
    handler: ({ params: { appInstanceId = "", ruleId = "" } }) => {
      const found = rules.counters(appInstanceId, ruleId);
      if (!found) throw absent("traffic rule", ruleId);
      return found;
    },
  });
}
