/**
 * Which verdicts are given at this moment? As lines of JSON (application/x-ndjson), as long as the reader stays.
 *
 * A reader that does not keep up loses lines, and is told how many.
 */
import type { ServerResponse } from "node:http";
import Type from "typebox";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import { Problem } from "../errors.ts";
import { type MonitorLine, type Running, startMonitor } from "../sessions/monitor.ts";
import type { Routes } from "./context.ts";
import { parseUe } from "./management-routes.ts";
import * as schemas from "./schemas.ts";

/** Octets that may wait for the reader. */
const backlog = 1 << 20;

const query = Type.Object(
  {
    verdict: Type.Optional(
      Type.String({ maxLength: 1000, description: "names or kinds with commas between: drop, slow, pass_no_rule" }),
    ),
    service: Type.Optional(Type.String({ maxLength: 256, description: "only this service's packets" })),
    ue: Type.Optional(Type.String({ maxLength: 64 })),
    each: Type.Optional(Type.Boolean({ description: "a line for each packet; else sums, once a second" })),
    lines: Type.Optional(Type.Integer({ minimum: 1, maximum: 1e9, description: "end after so many" })),
    seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400, description: "end after so long" })),
  },
  { additionalProperties: false },
);

interface Query {
  verdict?: string;
  service?: string;
  ue?: string;
  each?: boolean;
  lines?: number;
  seconds?: number;
}

const invalid = (field: string, message: string) =>
  new Problem("invalid-request", `${field}: ${message}`, { errors: [{ field: `querystring.${field}`, message }] });

export const monitorRoutes: Routes = (app, { dataplane, services }) => {
  const open = new Set<ServerResponse>();
  app.addHook("preClose", (done) => {
    for (const response of open) {
      response.end();
      setTimeout(() => response.destroy(), 1000).unref();
    }
    done();
  });

  /** Names by rule, made when a rule is met that is not in it. */
  let rules = new Map<number, string>();
  const nameOf = (service: number, rule: number): string | undefined => {
    const name = services.nameOf(service);
    if (name !== undefined) return name;
    if (!rules.has(rule)) rules = new Map(services.steering().rules.map((one) => [one.id, one.name]));
    return rules.get(rule);
  };

  app.get<{ Querystring: Query }>(
    "/api/v1/monitor",
    {
      exposeHeadRoute: false,
      // While it watches, the caches may stand aside: it is felt.
      config: { role: "operator" },
      schema: {
        tags: ["Management"],
        summary: "Verdicts as they are given: how often, why, and of which packets; one JSON object a line",
        querystring: query,
        produces: ["application/x-ndjson"],
        response: {
          ...schemas.commonProblems,
          ...schemas.notFound,
          ...schemas.conflict,
          ...schemas.notInRelease,
        },
      },
    },
    (request, reply) => {
      if (!dataplane.monitor) throw new Problem("not-in-release", "this data plane cannot be monitored");
      const { verdict, service, each, lines, seconds } = request.query;
      const index = service === undefined ? undefined : services.numbered().find((one) => one.intent.name === service);
      if (service !== undefined && !index) throw new Problem("not-found", `there is no service "${service}"`);
      const response = reply.raw as ServerResponse;
      let written = 0;
      let running: Running | undefined;
      const write = (line: MonitorLine): boolean => {
        if (written === lines) return true;
        if (response.writableLength > backlog) return false;
        response.write(`${JSON.stringify(line)}\n`);
        if (line.type !== "lost" && ++written === lines) setImmediate(() => response.end());
        return true;
      };
      try {
        running = startMonitor(
          dataplane.monitor.bind(dataplane),
          {
            verdicts: (verdict ?? "").split(",").filter(Boolean),
            each,
            ue: parseUe(request.query.ue),
            service: index?.index,
          },
          nameOf,
          write,
        );
      } catch (error) {
        if (error instanceof RangeError) throw invalid("verdict", error.message);
        if (error instanceof DataplaneError) throw new Problem("busy", error.message, { object: error.object });
        throw error;
      }
      const { stop } = running;
      reply.hijack();
      response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
      response.flushHeaders();
      open.add(response);
      const end = () => {
        stop();
        response.end();
      };
      const timer = seconds === undefined ? undefined : setTimeout(end, seconds * 1000);
      response.on("error", () => response.destroy());
      response.on("close", () => {
        clearTimeout(timer);
        open.delete(response);
        stop();
      });
    },
  );
};
