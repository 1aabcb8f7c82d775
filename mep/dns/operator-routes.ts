/**
 * DNS rules of the operator over HTTP: `/api/v1/dns-rules`.
 *
 * 2xx means that phones are answered so from now on and after every restart.
 */
import Type from "typebox";
import type { Routes } from "../../controlplane/api/context.ts";
import * as schemas from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";
import { operatorRule } from "./operator-rule.ts";
import type { OperatorRules } from "./operator-rules.ts";

interface ByName {
  Params: { name: string };
}

const path = "/api/v1/dns-rules";
const tags = ["Management"];
const byName = Type.Object(
  { name: Type.String({ maxLength: 256, description: "name of the rule" }) },
  { additionalProperties: false },
);
const changed = {
  200: operatorRule,
  ...schemas.commonProblems,
  ...schemas.notFound,
  ...schemas.conflict,
  ...schemas.refused,
};
/** Judged by operator-rule.ts, which can say more than a schema. */
const openBody = { config: { documentedBody: operatorRule } };
const form = `{"name": "shop", "domain": "shop.example.com", "addresses": ["10.60.0.10"], "ttl": 60}`;

export const operatorRuleRoutes =
  (rules: OperatorRules): Routes =>
  (app) => {
    app.get(
      path,
      {
        schema: {
          tags,
          summary: "DNS rules of the operator",
          querystring: schemas.nothing,
          response: { 200: Type.Array(operatorRule), ...schemas.commonProblems },
        },
      },
      () => rules.list(),
    );

    app.post(
      path,
      {
        ...openBody,
        schema: {
          tags,
          summary: "Have a name answered at this site",
          description: `Body: ${form}. Goes before rules of apps for the same name.`,
          querystring: schemas.nothing,
          response: { 201: operatorRule, ...schemas.commonProblems, ...schemas.conflict, ...schemas.refused },
        },
      },
      async (request, reply) => {
        const rule = await rules.add(request.body);
        reply.code(201).header("location", `${path}/${encodeURIComponent(rule.name)}`);
        return rule;
      },
    );

    app.get<ByName>(
      `${path}/:name`,
      {
        schema: {
          tags,
          summary: "One DNS rule of the operator",
          params: byName,
          querystring: schemas.nothing,
          response: { 200: operatorRule, ...schemas.commonProblems, ...schemas.notFound },
        },
      },
      ({ params: { name } }) => {
        const rule = rules.get(name);
        if (!rule) throw new Problem("not-found", `there is no DNS rule "${name.slice(0, 80)}" of the operator`);
        return rule;
      },
    );

    app.put<ByName>(
      `${path}/:name`,
      {
        ...openBody,
        schema: {
          tags,
          summary: "Change a DNS rule of the operator",
          params: byName,
          querystring: schemas.nothing,
          response: changed,
        },
      },
      (request) => {
        const { name } = request.params;
        request.audited.before = JSON.stringify(rules.get(name));
        return rules.replace(name, request.body);
      },
    );

    app.delete<ByName>(
      `${path}/:name`,
      {
        schema: {
          tags,
          summary: "Remove a DNS rule of the operator: rules of apps for the name, if any, are answered again",
          params: byName,
          querystring: schemas.nothing,
          response: changed,
        },
      },
      (request) => {
        const { name } = request.params;
        request.audited.before = JSON.stringify(rules.get(name));
        return rules.remove(name);
      },
    );
  };
