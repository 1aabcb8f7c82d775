/**
 * Which data planes are there, and how are they added, removed and set while others carry traffic (A13)?
 *
 * What is there is read from the kernel when it is asked for; changes go through `Dataplanes`.
 */
import type { Mode } from "../../dataplane/dataplane.ts";
import { Problem } from "../errors.ts";
import type { ApiContext, Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const tags = ["Management"];

const noSuch = (name: string) => new Problem("not-found", `there is no data plane "${name.slice(0, 80)}"`);

const statusBodies = ({ dataplane, dataplanes }: ApiContext) =>
  dataplane.status().map((status) => ({
    ...status,
    configuredMode: dataplanes.configured(status.name) ?? status.mode,
    origin: dataplanes.origin(status.name),
  }));

function statusBody(context: ApiContext, name: string) {
  const found = statusBodies(context).find((status) => status.name === name);
  if (!found) throw noSuch(name);
  return found;
}

export const dataplaneRoutes: Routes = (app, context) => {
  const { dataplanes, events, log } = context;
  const tell = (type: string, body: Record<string, unknown>, request: string) => {
    log.info({ ...body, request }, type);
    events.publish({ type, time: Date.now(), ...body });
  };

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
    () => statusBodies(context),
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
    (request) => statusBody(context, request.params.name),
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
      await dataplanes.set(name, request.body.mode);
      const now = statusBody(context, name);
      tell("mode-changed", { dataplane: name, mode: now.mode }, request.id);
      return now;
    },
  );

  app.post(
    "/api/v1/dataplanes",
    {
      config: { role: "admin", documentedBody: schemas.dataplaneSection },
      schema: {
        tags,
        summary: "Add a wire while the others carry traffic: an entry of site.yaml's dataplanes; kept over restarts",
        querystring: schemas.nothing,
        response: { 201: schemas.dataplane, ...schemas.commonProblems, ...schemas.overlap, ...schemas.refused },
      },
    },
    async (request, reply) => {
      const name = await dataplanes.add(request.body);
      tell("dataplane-added", { dataplane: name }, request.id);
      reply.code(201).header("location", `/api/v1/dataplanes/${encodeURIComponent(name)}`);
      return statusBody(context, name);
    },
  );

  app.delete<{ Params: { name: string }; Querystring: { unwire?: "true" | "false" } }>(
    "/api/v1/dataplanes/:name",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Remove a wire: its sessions end, the bridge carries it on; kept over restarts",
        params: schemas.dataplaneName,
        querystring: schemas.removeDataplaneQuery,
        response: { 200: schemas.dataplane, ...schemas.commonProblems, ...schemas.notFound, ...schemas.refused },
      },
    },
    async (request) => {
      const { name } = request.params;
      const last = statusBody(context, name);
      const unwire = request.query.unwire === "true";
      await dataplanes.remove(name, { unwire });
      tell("dataplane-removed", { dataplane: name, unwired: unwire }, request.id);
      return last;
    },
  );

  app.post(
    "/api/v1/reload",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Read site.yaml again and make it true, all or nothing",
        querystring: schemas.nothing,
        response: { 200: schemas.reloaded, ...schemas.commonProblems, ...schemas.needsRestart, ...schemas.refused },
      },
    },
    () => context.reload(),
  );
};
