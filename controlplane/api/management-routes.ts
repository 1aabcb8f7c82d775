/**
 * What goes on at this site? Sessions, data planes, counters (DESIGN, "External contract").
 *
 * Everything is read from the kernel when it is asked for.
 */
import { counters as table } from "../../dataplane/counters.ts";
import type { Mode, Session } from "../../dataplane/dataplane.ts";
import { Problem } from "../errors.ts";
import { AddressError, formatAddress, parseAddress, parsePrefix } from "../intents/prefix.ts";
import type { ApiContext, Routes } from "./context.ts";
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

function statusBody({ dataplane, modes }: ApiContext) {
  return dataplane
    .status()
    .map((status) => ({ ...status, configuredMode: modes.configured(status.name) ?? status.mode }));
}

const noSuch = (name: string) => new Problem("not-found", `there is no data plane "${name.slice(0, 80)}"`);

export const managementRoutes: Routes = (app, context) => {
  const { dataplane, modes, services } = context;

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
    "/api/v1/dataplanes",
    {
      schema: {
        tags,
        summary: "Wires: mode, adapters and the path that frames take, programs",
        querystring: schemas.nothing,
        response: { 200: schemas.dataplanes, ...schemas.commonProblems },
      },
    },
    () => statusBody(context),
  );

  app.get<{ Params: { name: string } }>(
    "/api/v1/dataplanes/:name",
    {
      schema: {
        tags,
        summary: "One wire",
        params: schemas.dataplaneName,
        querystring: schemas.nothing,
        response: { 200: schemas.dataplane, ...schemas.commonProblems, ...schemas.notFound },
      },
    },
    (request) => {
      const found = statusBody(context).find((status) => status.name === request.params.name);
      if (!found) throw noSuch(request.params.name);
      return found;
    },
  );

  app.put<{ Params: { name: string }; Body: { mode: Mode | "configured" } }>(
    "/api/v1/dataplanes/:name/mode",
    {
      schema: {
        tags,
        summary: "Bypass, observe or offload, at once and kept over restarts",
        params: schemas.dataplaneName,
        body: schemas.modeBody,
        querystring: schemas.nothing,
        response: { 200: schemas.dataplane, ...schemas.commonProblems, ...schemas.notFound, ...schemas.refused },
      },
    },
    async (request) => {
      const { name } = request.params;
      if (modes.configured(name) === undefined) throw noSuch(name);
      await modes.set(name, request.body.mode);
      const now = statusBody(context).find((status) => status.name === name);
      if (!now) throw noSuch(name);
      context.log.info({ dataplane: name, mode: now.mode, request: request.id }, "mode-changed");
      context.events.publish({ type: "mode-changed", time: Date.now(), dataplane: name, mode: now.mode });
      return now;
    },
  );

  const notYet = () => {
    throw new Problem("not-in-release", "hot plug is not in this release: change site.yaml and restart the agent");
  };
  const hotPlug = (summary: string) => ({
    schema: { tags, summary, response: { ...schemas.notInRelease, ...schemas.commonProblems } },
  });
  app.post("/api/v1/dataplanes", hotPlug("Add a wire (not in this release)"), notYet);
  app.delete("/api/v1/dataplanes/:name", hotPlug("Remove a wire (not in this release)"), notYet);

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
