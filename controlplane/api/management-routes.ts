/**
 * What goes on at this site? Sessions and counters (DESIGN, "External contract").
 *
 * Everything is read from the kernel when it is asked for.
 */
import { counters as table } from "../../dataplane/counters.ts";
import type { Session } from "../../dataplane/dataplane.ts";
import { Problem } from "../errors.ts";
import { AddressError, formatAddress, parseAddress, parsePrefix } from "../intents/prefix.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const tags = ["Management"];
const kindOf = new Map(table.map((counter) => [counter.name, counter.kind]));

export const formatTeid = (teid: number): string => `0x${(teid >>> 0).toString(16).padStart(8, "0")}`;

const invalid = (field: string, message: string) =>
  new Problem("invalid-request", `${field}: ${message}`, { errors: [{ field, message }] });

/** @throws Problem */
export function parseTeid(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const teid = Number(text);
  if (!Number.isInteger(teid) || teid > 0xffff_ffff) throw invalid("querystring.teid", "must be 0..0xffffffff");
  return teid;
}

/** A UE as the data plane writes it; a prefix (an IPv6 session is a /64) stands for itself. @throws Problem */
export function parseUe(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    if (!text.includes("/")) return formatAddress(parseAddress(text));
    return formatAddress(parsePrefix(text));
  } catch (error) {
    if (error instanceof AddressError) throw invalid("querystring.ue", error.message);
    throw error;
  }
}

const sessionBody = (session: Session) => ({
  ...session,
  bearers: session.bearers.map((bearer) => ({ ...bearer, teid: formatTeid(bearer.teid) })),
});

export const managementRoutes: Routes = (app, context) => {
  const { dataplane, services } = context;

  app.get<{ Querystring: { ue?: string; teid?: string; dataplane?: string; offset?: number; limit?: number } }>(
    "/api/v1/sessions",
    {
      schema: {
        tags,
        summary: "UE addresses and their bearers",
        querystring: schemas.sessionsQuery,
        response: { 200: schemas.sessions, ...schemas.commonProblems },
      },
    },
    (request) => {
      const { offset = 0, limit = 100, ...filter } = request.query;
      const query = { ue: parseUe(filter.ue), teid: parseTeid(filter.teid), dataplane: filter.dataplane };
      const found = dataplane.sessions({ ...query, offset, limit });
      return { total: found.total, offset, limit, sessions: found.sessions.map(sessionBody) };
    },
  );

  app.get(
    "/api/v1/counters",
    {
      schema: {
        tags,
        summary: "Packets and octets by what happened to them, and by service",
        querystring: schemas.nothing,
        response: { 200: schemas.counters, ...schemas.commonProblems },
      },
    },
    () => ({
      counters: dataplane.counters().map((sample) => ({
        dataplane: sample.dataplane,
        name: sample.name,
        kind: kindOf.get(sample.name) ?? "note",
        packets: Number(sample.packets),
        bytes: Number(sample.bytes),
      })),
      services: dataplane.serviceCounters().flatMap(({ service: index, direction, packets, bytes }) => {
        const service = services.nameOf(index);
        return service === undefined ? [] : [{ service, direction, packets: Number(packets), bytes: Number(bytes) }];
      }),
    }),
  );
};
