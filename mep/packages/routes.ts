/**
 * Package management over HTTP: GS MEC 010-2 v3.1.1 §7.3 (app_pkgm), on the management API.
 *
 * v2's `/app_packages/{appPkgId}` and v3's `/onboarded_app_packages/{appDId}` are the same resources, and either id is
 * taken under either name. The content is judged while the request waits: 202 means onboarded, anything else that nothing of
 * it is kept.
 */
import type { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import Type from "typebox";
import type { Routes, Server } from "../../controlplane/api/context.ts";
import * as schemas from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";
import { baseOf } from "../management/links.ts";
import { type Selection, select, selectAll, selectionQuery } from "../management/selection.ts";
import { subscriptionRoutes } from "../management/subscription-routes.ts";
import type { Subscriptions } from "../management/subscriptions.ts";
import { appD } from "../model/appd.ts";
import * as model from "../model/pkgm.ts";
import type { Packages } from "./packages.ts";
import { packageInfo, packageNotification, pkgmRoot } from "./views.ts";

const tags = ["App packages (GS MEC 010-2)"];
const closed = { additionalProperties: false };

const infoAttributes = {
  required: ["id", "appDId", "appName", "appSoftwareVersion", "appDVersion", "checksum", "softwareImages"].concat([
    "onboardingState",
    "operationalState",
    "usageState",
    "mecInfo",
    "_links",
  ]),
  excluded: ["additionalArtifacts", "userDefinedData"],
};
const appdAttributes = {
  required: ["appDId", "appName", "appProvider", "appSoftVersion", "appDVersion", "mecVersion", "appDescription"],
};

interface ById {
  Params: { id: string };
}

const byId = Type.Object({ id: Type.String({ maxLength: 128, description: "appPkgId or appDId" }) }, closed);

/** The one range that is asked for, or all. @throws Problem range-not-satisfiable */
function rangeOf(request: FastifyRequest, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const [first, last] = [match[1] ?? "", match[2] ?? ""];
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (start >= size || start > end) throw new Problem("range-not-satisfiable", `the content has ${size} bytes`);
  return { start, end };
}

function sendStream(reply: FastifyReply, stream: Readable, type: string, size: number): FastifyReply {
  return reply.header("content-type", type).header("content-length", size).send(stream);
}

/** A body that is only read by its route, as it comes. */
function takeStreams(app: Server): void {
  for (const type of ["application/zip", "application/octet-stream"]) {
    if (!app.hasContentTypeParser(type))
      app.addContentTypeParser(type, (_request, payload, done) => done(null, payload));
  }
}

/** Of either version. */
function readSubscription({ subscriptionType, subsctiptionType, callbackUri, appPkgFilter }: Record<string, unknown>) {
  const given = (subscriptionType ?? subsctiptionType) as string | undefined;
  if (given === undefined) {
    const errors = [{ field: "subscriptionType", message: "is required" }];
    throw new Problem("invalid-request", "subscriptionType: is required", { errors });
  }
  return {
    subscriptionType: model.oldSubscriptionTypes[given] ?? given,
    callbackUri: callbackUri as string,
    ...(appPkgFilter !== undefined && { filter: appPkgFilter }),
  };
}

export const packageRoutes =
  (packages: Packages, subscriptions: Subscriptions): Routes =>
  (app, { events, log, who }) => {
    takeStreams(app);
    const view = (name: string, request: FastifyRequest) => {
      const one = packages.get(name);
      return packageInfo(one, packages.inUse(one.id), baseOf(request));
    };
    packages.on((event, one) => {
      log.info({ package: one.id, appDId: one.content?.appd.appDId }, `package ${event}`);
      events.publish({ type: `package-${event}`, time: Date.now(), package: one.id });
      subscriptions.publish("app_pkgm", packageNotification(event, one, packages.inUse(one.id)));
    });

    for (const [collection, hide] of [
      ["app_packages", false],
      ["onboarded_app_packages", true],
    ] as const) {
      const path = `${pkgmRoot}/${collection}`;
      const described = (summary: string, more: object) => ({ schema: { tags, summary, ...more, hide } });

      app.post<{ Body: model.CreateAppPkg }>(
        path,
        described("Create a package, without content yet", {
          body: model.createAppPkg,
          querystring: schemas.nothing,
          response: { 201: model.appPkgInfo, ...schemas.commonProblems },
        }),
        (request, reply) => {
          const one = packages.create(request.body);
          log.info({ package: one.id, who: who(request) }, "package created");
          const info = view(one.id, request);
          return reply.code(201).header("location", info._links.self.href).send(info);
        },
      );

      app.get<{ Querystring: Selection }>(
        path,
        described("List packages", {
          querystring: selectionQuery,
          response: { 200: Type.Array(model.appPkgInfo), ...schemas.commonProblems },
        }),
        (request) =>
          selectAll(
            packages.list().map(({ id }) => view(id, request)),
            request.query,
            infoAttributes,
          ),
      );

      app.get<ById>(
        `${path}/:id`,
        described("One package", {
          params: byId,
          querystring: schemas.nothing,
          response: { 200: model.appPkgInfo, ...schemas.commonProblems, ...schemas.notFound },
        }),
        (request) => view(request.params.id, request),
      );

      app.patch<ById & { Body: Record<string, "ENABLED" | "DISABLED"> }>(
        `${path}/:id`,
        described("Enable or disable a package", {
          params: byId,
          querystring: schemas.nothing,
          body: model.appPkgInfoModifications,
          response: { 200: model.appPkgInfoModifications, ...schemas.commonProblems, ...schemas.notFound },
        }),
        (request) => {
          const [state] = Object.values(request.body);
          const one = packages.setState(request.params.id, state ?? "DISABLED");
          return { operationalState: one.operationalState };
        },
      );

      app.delete<ById>(
        `${path}/:id`,
        described("Delete a package that is disabled and of which there are no instances", {
          params: byId,
          querystring: schemas.nothing,
          response: { 204: Type.Null(), ...schemas.commonProblems, ...schemas.notFound },
        }),
        (request, reply) => {
          packages.remove(request.params.id);
          return reply.code(204).send();
        },
      );

      app.get<ById & { Querystring: Selection }>(
        `${path}/:id/appd`,
        described("The AppD of a package", {
          params: byId,
          querystring: selectionQuery,
          response: { 200: appD, ...schemas.commonProblems, ...schemas.notFound },
        }),
        (request) => select(packages.onboarded(request.params.id).content.document, request.query, appdAttributes),
      );

      app.get<ById>(
        `${path}/:id/package_content`,
        described("The zip of a package, or with Range a part of it", { params: byId, querystring: schemas.nothing }),
        (request, reply) => {
          const one = packages.onboarded(request.params.id);
          const { size, sha256 } = one.content;
          const range = rangeOf(request, size);
          reply.header("accept-ranges", "bytes").header("etag", `"${sha256}"`);
          if (!range) return sendStream(reply, packages.read(one), "application/zip", size);
          reply.code(206).header("content-range", `bytes ${range.start}-${range.end}/${size}`);
          return sendStream(reply, packages.read(one, range), "application/zip", range.end - range.start + 1);
        },
      );

      app.put<ById>(
        `${path}/:id/package_content`,
        {
          ...described("Upload the zip of a package: 202 when it has been found good and is onboarded", {
            params: byId,
            querystring: schemas.nothing,
            consumes: ["application/zip"],
          }),
          config: { longUpload: true },
        },
        async (request, reply) => {
          const { body } = request;
          if (typeof (body as Readable | undefined)?.pipe !== "function") {
            throw new Problem("media-type", "send the package as application/zip");
          }
          await packages.upload(request.params.id, body as Readable);
          return reply.code(202).send();
        },
      );

      app.get<{ Params: { id: string; "*": string } }>(
        `${path}/:id/artifacts/*`,
        described("One file of a package", { querystring: schemas.nothing }),
        async (request, reply) => {
          const { stream, size } = await packages.file(packages.onboarded(request.params.id), request.params["*"]);
          return sendStream(reply, stream, "application/octet-stream", size);
        },
      );
    }

    subscriptionRoutes(app, subscriptions, {
      api: "app_pkgm",
      tags,
      summary: "Be told of packages that are onboarded, enabled, disabled or deleted",
      body: model.appPkgSubscription,
      read: readSubscription,
    });
  };
