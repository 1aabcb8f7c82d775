/**
 * Life-cycle management over HTTP: GS MEC 010-2 v3.1.1 §7.4 (app_lcm), on the management API.
 *
 * 202 means that the operation is on disk and will be carried out, whatever happens to the agent; its Location tells how it
 * goes. There is no orchestrator above this platform, so nothing is asked of one: the grant interface (GS MEC 010-2 §7.5) has
 * no use here, and what an orchestrator would decide (host, placement) is kept and means nothing.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import Type, { type TSchema } from "typebox";
import type { Routes } from "../../controlplane/api/context.ts";
import * as schemas from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";
import { baseOf } from "../management/links.ts";
import { type Selection, selectAll, selectionQuery } from "../management/selection.ts";
import { subscriptionRoutes } from "../management/subscription-routes.ts";
import type { Subscriptions } from "../management/subscriptions.ts";
import { configurationRequest } from "../model/appd.ts";
import * as model from "../model/lcm.ts";
import { readConfiguration } from "../model/read-appd.ts";
import type { Packages } from "../packages/packages.ts";
import type { AppInstances } from "./instances.ts";
import { type About, instanceNotification, operationNotification } from "./notifications.ts";
import type { InstanceRecord, Operation } from "./record.ts";
import type { Runner } from "./runner.ts";
import { instanceInfo, lcmRoot, operationInfo, operationPath } from "./views.ts";

const tags = ["App life cycle (GS MEC 010-2)"];
const closed = { additionalProperties: false };

interface ById {
  Params: { id: string };
}
type Body = Record<string, unknown>;

const byId = Type.Object({ id: Type.String({ maxLength: 128 }) }, closed);
const conflict = { 409: { description: "Not in this state", content: schemas.conflict[409].content } };

const instanceAttributes = {
  required: ["id", "appDId", "appProvider", "appName", "appSoftVersion", "appDVersion", "appPkgId"].concat([
    "instantiationState",
    "_links",
  ]),
  excluded: ["vimConnectionInfo", "_links/instantiate", "_links/terminate", "_links/operate"],
};
const operationAttributes = {
  required: ["id", "operationState", "stateEnteredTime", "startTime", "lcmOperation", "_links"],
  excluded: ["operationParams"],
};

export interface LifecycleContext {
  instances: AppInstances;
  packages: Packages;
  subscriptions: Subscriptions;
  runner: Pick<Runner, "logs" | "exit">;
}

export const lifecycleRoutes =
  ({ instances, packages, subscriptions, runner }: LifecycleContext): Routes =>
  (app, { events, log, who }) => {
    const about = (instance: InstanceRecord): About => ({
      instance,
      appd: packages.list().find(({ id }) => id === instance.package)?.content?.appd,
    });
    const view = (id: string, request: FastifyRequest) => {
      const instance = instances.require(id);
      const { appd } = packages.onboarded(instance.package).content;
      return instanceInfo(instance, appd, baseOf(request), runner.exit(id));
    };

    instances.on((event, instance) => {
      log.info({ instance: instance.id, appDId: instance.appDId }, `app instance ${event}`);
      events.publish({ type: `app-${event}`, time: Date.now(), instance: instance.id });
      const notify = instanceNotification(event, about(instance as InstanceRecord));
      if (notify) subscriptions.publish("app_lcm", notify);
    });
    instances.onOperation((operation) => {
      const { id, instance, kind, state, error } = operation;
      log.info({ operation: id, instance, kind, state, ...(error && { error: error.detail }) }, "app operation");
      const record = instances.get(instance);
      subscriptions.publish("app_lcm", operationNotification(operation, record && about(record)));
    });

    const path = `${lcmRoot}/app_instances`;
    const described = (summary: string, more: object) => ({
      schema: { tags, summary, querystring: schemas.nothing, ...more },
    });

    app.post<{ Body: model.CreateAppInstanceRequest }>(
      path,
      described("Create an instance of a package", {
        description: "`appInstanceId` (or `id`) chooses its id; otherwise it is a new UUID.",
        body: model.createAppInstanceRequest,
        response: { 201: model.appInstanceInfo, ...schemas.commonProblems, ...schemas.notFound, ...conflict },
      }),
      (request, reply) => {
        const { id } = instances.create(request.body);
        log.info({ instance: id, who: who(request) }, "app instance created");
        const info = view(id, request);
        return reply.code(201).header("location", info._links.self.href).send(info);
      },
    );

    app.get<{ Querystring: Selection }>(
      path,
      described("List instances", {
        querystring: selectionQuery,
        response: { 200: Type.Array(model.appInstanceInfo), ...schemas.commonProblems },
      }),
      (request) =>
        selectAll(
          instances.list().map(({ id }) => view(id, request)),
          request.query,
          instanceAttributes,
        ),
    );

    app.get<ById>(
      `${path}/:id`,
      described("One instance", {
        params: byId,
        response: { 200: model.appInstanceInfo, ...schemas.commonProblems, ...schemas.notFound },
      }),
      (request) => view(request.params.id, request),
    );

    app.delete<ById>(
      `${path}/:id`,
      described("Delete an instance that is not instantiated", {
        params: byId,
        response: { 204: Type.Null(), ...schemas.commonProblems, ...schemas.notFound, ...conflict },
      }),
      async (request, reply) => {
        await instances.remove(request.params.id);
        return reply.code(204).send();
      },
    );

    const accepted = (operation: Operation, request: FastifyRequest, reply: FastifyReply) => {
      log.info({ operation: operation.id, kind: operation.kind, who: who(request) }, "app operation accepted");
      return reply
        .code(202)
        .header("location", `${baseOf(request)}${operationPath(operation.id)}`)
        .send();
    };
    const task = (
      name: string,
      summary: string,
      body: TSchema,
      begin: (id: string, params: Body) => Operation,
      judged = false,
    ) => {
      app.post<ById & { Body: Body | undefined }>(
        `${path}/:id/${name}`,
        {
          ...described(summary, {
            params: byId,
            ...(!judged && { body }),
            response: { 202: Type.Null(), ...schemas.commonProblems, ...schemas.notFound, ...conflict },
          }),
          ...(judged && { config: { documentedBody: body } }),
        },
        (request, reply) => accepted(begin(request.params.id, request.body ?? {}), request, reply),
      );
    };

    task("instantiate", "Begin: configured, and started", model.instantiateAppRequest, (id, params) =>
      instances.instantiate(id, params),
    );
    task("operate", "Start or stop an instance", model.operateAppRequest, (id, params) =>
      instances.operations.begin("OPERATE", id, params),
    );
    task("terminate", "End: the app is told, then nothing is left", model.terminateAppRequest, (id, params) =>
      instances.operations.begin("TERMINATE", id, params),
    );
    task(
      "configure_platform_for_app",
      "Take on what the app asks for, or what the request says instead; an empty object: its AppD",
      configurationRequest,
      (id, params) => {
        const read = readConfiguration(params);
        if (!read.ok) {
          const detail = read.errors.map(({ field, message }) => `${field}: ${message}`).join("; ");
          throw new Problem("invalid-request", detail, { errors: read.errors });
        }
        return instances.operations.begin("CONFIGURE_PLATFORM_FOR_APP", id, params);
      },
      true,
    );

    operationRoutes(app, instances);
    subscriptionRoutes(app, subscriptions, {
      api: "app_lcm",
      tags,
      summary: "Be told of instances and operations",
      body: model.lcmSubscriptionRequest,
      read: ({ subscriptionType, callbackUri, ...filter }) => ({
        subscriptionType: subscriptionType as string,
        callbackUri: callbackUri as string,
        ...(Object.keys(filter).length > 0 && { filter }),
      }),
    });

    app.get<ById & { Querystring: { tail?: number } }>(
      "/api/v1/apps/:id/logs",
      described("What an instance that runs here has printed", {
        tags: ["Management"],
        params: byId,
        querystring: Type.Object({ tail: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })) }, closed),
      }),
      (request) => {
        const instance = instances.require(request.params.id);
        if (instance.external) throw new Problem("conflict", "the app runs on a machine of its own: its log is there");
        return runner.logs(instance.id, request.query.tail ?? 100);
      },
    );
  };

const operationRoutes = (app: Parameters<Routes>[0], instances: AppInstances): void => {
  const path = `${lcmRoot}/app_lcm_op_occs`;
  const described = (summary: string, more: object) => ({
    schema: { tags, summary, querystring: schemas.nothing, ...more },
  });

  app.get<{ Querystring: Selection }>(
    path,
    described("List operation occurrences, oldest first", {
      querystring: selectionQuery,
      response: { 200: Type.Array(model.appLcmOpOcc), ...schemas.commonProblems },
    }),
    (request) =>
      selectAll(
        instances.operationsOf().map((one) => operationInfo(one, baseOf(request))),
        request.query,
        operationAttributes,
      ),
  );

  app.get<ById>(
    `${path}/:id`,
    described("One operation occurrence", {
      params: byId,
      response: { 200: model.appLcmOpOcc, ...schemas.commonProblems, ...schemas.notFound },
    }),
    (request) => operationInfo(instances.operations.get(request.params.id), baseOf(request)),
  );

  app.post<ById & { Body: { cancelMode?: string; CancelMode?: string } }>(
    `${path}/:id/cancel`,
    described("Give up an operation: the instance is as it was before", {
      params: byId,
      body: model.cancelMode,
      response: { 202: Type.Null(), ...schemas.commonProblems, ...schemas.notFound, ...conflict },
    }),
    (request, reply) => {
      const mode = request.body.cancelMode ?? request.body.CancelMode;
      if (mode === undefined) throw new Problem("invalid-request", "cancelMode: is required");
      instances.operations.cancel(request.params.id, mode === "GRACEFUL" ? "GRACEFUL" : "FORCEFUL");
      return reply.code(202).send();
    },
  );

  app.post<ById>(
    `${path}/:id/retry`,
    described("Try an operation again that is FAILED_TEMP", {
      params: byId,
      response: { 202: Type.Null(), ...schemas.commonProblems, ...schemas.notFound, ...conflict },
    }),
    (request, reply) => {
      instances.operations.retry(request.params.id);
      return reply.code(202).send();
    },
  );

  app.post<ById>(
    `${path}/:id/fail`,
    described("Do not try an operation again that is FAILED_TEMP", {
      params: byId,
      response: { 200: model.appLcmOpOcc, ...schemas.commonProblems, ...schemas.notFound, ...conflict },
    }),
    (request) => operationInfo(instances.operations.fail(request.params.id), baseOf(request)),
  );
};
