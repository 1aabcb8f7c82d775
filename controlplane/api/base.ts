/**
 * What do all HTTP servers of ours have in common?
 *
 *   socket ─limits, timeouts─▶ check (who) ─▶ media type, 64 KiB, JSON ─▶ schema ─▶ route ─▶ JSON
 *      └──────────────┴──────────────┴───────────────┴─────────────┴──▶ problem document (RFC 9457)
 *
 * The management API (server.ts) and Mp1 are such servers. Constructed without effects; who makes one lets it listen.
 */
import type { Server as HttpServer } from "node:http";
import type { Socket } from "node:net";
import swagger, { type FastifyDynamicSwaggerOptions as SwaggerOptions } from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import fastify, {
  type FastifyContextConfig,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchema,
  type FastifyServerOptions,
  type RouteOptions,
} from "fastify";
import type { Logger } from "pino";
import type { TSchema } from "typebox";
import { Problem } from "../errors.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { type AuditHooks, auditHooks } from "./audit-hooks.ts";
import type { Server } from "./context.ts";
import { rawProblem, sendProblem, toProblem } from "./problems.ts";
import * as schemas from "./schemas.ts";
import { validators } from "./validation.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Schema of a body that the route judges itself; for /openapi.json. */
    documentedBody?: TSchema;
    /** Its body may be large: it has an hour, as long as something comes every half minute. */
    longUpload?: boolean;
  }
}

export interface TlsSecrets {
  cert: string | Buffer;
  key: string | Buffer;
  clientCa?: string | Buffer;
}

export interface BaseOptions {
  /** Absent: plain HTTP. */
  tls?: TlsSecrets;
  /** With `tls.clientCa`: whoever has no certificate of that authority is refused by TLS (default), or only not known. */
  certificates?: "required" | "optional";
  /** Says no by throwing a Problem, before anything of the request is read. */
  check(request: FastifyRequest): void | Promise<void>;
  /** Changes and refusals are written there. */
  audit: AuditHooks;
  /** The role that a route needs, for /openapi.json; undefined: everybody may. */
  roleOf?(route: { url: string; method: string | string[]; config?: FastifyContextConfig }): string | undefined;
  metrics: Pick<Metrics, "requests">;
  log: Logger;
  /** Of /openapi.json. */
  title: string;
  description: string;
  version: string;
  /** Of bodies, all of them JSON; default: application/json. */
  mediaTypes?: string[];
  /** How requests are authorised, for /openapi.json; default: by a bearer token. */
  openapi?: OpenApiParts;
}

export interface OpenApiParts {
  /** OpenAPI 3.1 §4.8.27; routes name them in `security` of their schema. */
  securitySchemes: Record<string, SecurityScheme>;
  tags: { name: string; description: string }[];
}

type SecurityScheme = NonNullable<NonNullable<SwaggerOptions["openapi"]>["components"]>["securitySchemes"] extends
  | Record<string, infer Scheme>
  | undefined
  ? Scheme
  : never;

const bearer: SecurityScheme = { type: "http", scheme: "bearer" };

const bodyLimit = 64 * 1024;
const connections = 512;

function rejectSocket(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
  const late = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  socket.end(late ? rawProblem("timeout", "send requests faster") : rawProblem("invalid-request", "this is not HTTP"));
}

/** Milliseconds that requests which are being answered have left when the server stops. */
const farewell = 5_000;

/**
 * Nobody keeps the server from closing. Node closes connections that have had an answer; one on which nothing has come yet,
 * as clients open them in advance, or half a request, counts as busy until its time is up, half a minute.
 */
function setUpClosing(app: Server, server: HttpServer): void {
  const open = new Set<Socket>();
  const answering = new Set<Socket>();
  const watch = (socket: Socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  };
  server.on("connection", watch);
  server.on("secureConnection", watch);
  server.on("request", ({ socket }, response) => {
    answering.add(socket);
    response.once("close", () => answering.delete(socket));
  });
  app.addHook("preClose", (done) => {
    const secure = [...open].some((socket) => "encrypted" in socket);
    for (const socket of open) {
      const carriesTls = secure && !("encrypted" in socket) && socket.bytesRead > 0;
      if (!answering.has(socket) && !carriesTls) socket.destroy();
    }
    const rest = setTimeout(() => {
      for (const socket of open) socket.destroy();
    }, farewell);
    server.once("close", () => clearTimeout(rest));
    done();
  });
}

/** Milliseconds that a request has until all of it is there. */
const patience = 15_000;
const longPatience = 3_600_000;
const longSilence = 30_000;

/** Node has one time limit for all requests of a server; here uploads have one of their own. */
function setUpPatience(app: Server): void {
  app.addHook("onRequest", (request, _reply, done) => {
    const { raw } = request;
    if (request.routeOptions.config?.longUpload) {
      raw.setTimeout(longSilence, () => raw.destroy());
    } else if (raw.headers["content-length"] !== undefined || raw.headers["transfer-encoding"] !== undefined) {
      const late = Object.assign(new Error("request timeout"), { code: "ERR_HTTP_REQUEST_TIMEOUT" });
      const timer = setTimeout(() => {
        // A request that a test has injected has no socket.
        if (!raw.complete && "destroy" in raw.socket) rejectSocket(late, raw.socket);
      }, patience);
      timer.unref();
      raw.once("close", () => clearTimeout(timer));
    }
    done();
  });
}

/** The paths of routes as expressions, so that a path that exists with another method is told from one that does not. */
class RouteTable {
  readonly #routes: { pattern: RegExp; method: string }[] = [];

  add(url: string, methods: string | string[]): void {
    const escaped = url.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/:[A-Za-z]+/g, "[^/]+");
    const pattern = new RegExp(`^${escaped.replace(/\*/g, ".*")}/?$`);
    for (const method of [methods].flat()) this.#routes.push({ pattern, method });
  }

  methods(path: string): string[] {
    const found = this.#routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
    return [...new Set(found)].sort();
  }
}

function setUpParsers(app: Server, mediaTypes: string[]): void {
  app.removeAllContentTypeParsers();
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser(mediaTypes, { parseAs: "buffer" }, (request, body, done) => {
    // Clients name a media type also where they send no body.
    if (body.length === 0 && request.method === "DELETE") return done(null, undefined);
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(body as Buffer);
    } catch {
      return done(new Problem("invalid-body", "the body is not UTF-8"), undefined);
    }
    void parse(request, text, done);
  });
}

function setUpErrors(app: Server, { metrics, log }: Pick<BaseOptions, "metrics" | "log">, routes: RouteTable): void {
  app.setErrorHandler((error, request, reply) => {
    const problem = toProblem(error);
    if (problem.status >= 500 && problem.cause !== undefined) {
      log.error({ err: problem.cause, request: request.id, method: request.method }, problem.detail);
    }
    return sendProblem(problem, request, reply);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = (request.raw.url ?? "/").split("?", 1)[0] ?? "/";
    const methods = routes.methods(path);
    // A wildcard route that did not find its file answers by this handler as well.
    if (methods.length === 0 || methods.includes(request.method))
      return sendProblem(new Problem("not-found", "there is nothing here"), request, reply);
    reply.header("allow", methods.join(", "));
    const problem = new Problem("method-not-allowed", `this path answers to ${methods.join(", ")}`);
    return sendProblem(problem, request, reply);
  });
  app.addHook("onResponse", (request, reply, done) => {
    const route = request.routeOptions.url ?? "none";
    metrics.requests.inc({ method: request.method, route, status: String(reply.statusCode) });
    done();
  });
}

/** What /openapi.json says of the role that a route needs: as text, and as OpenAPI 3.1 §4.8.30 has roles of a bearer. */
function roleNote(route: RouteOptions, schema: FastifySchema | undefined, { roleOf }: BaseOptions): FastifySchema {
  if (!roleOf) return {};
  const role = roleOf(route);
  if (role === undefined) return { security: [] };
  const said = (schema as { description?: string } | undefined)?.description;
  return { security: [{ bearer: [role] }], description: [said, `Role: ${role}.`].filter(Boolean).join(" ") };
}

/** A server without routes of its own but /docs and /openapi.json. */
export async function createBase(options: BaseOptions): Promise<Server> {
  const { tls, certificates = "required", check } = options;
  const settings = {
    bodyLimit,
    requestTimeout: longPatience,
    keepAliveTimeout: 30_000,
    forceCloseConnections: "idle",
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    logger: false,
    return503OnClosing: true,
    routerOptions: { maxParamLength: 1024, ignoreTrailingSlash: true },
    schemaController: { compilersFactory: validators() },
    clientErrorHandler: rejectSocket,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      void sendProblem(toProblem(error), request, reply);
    },
    ...(tls && {
      https: {
        cert: tls.cert,
        key: tls.key,
        minVersion: "TLSv1.2",
        ...(tls.clientCa && {
          ca: tls.clientCa,
          requestCert: true,
          rejectUnauthorized: certificates === "required",
        }),
      },
    }),
  } as FastifyServerOptions;
  const app = fastify(settings) as unknown as Server;

  const server = app.server as HttpServer;
  server.headersTimeout = 10_000;
  server.maxConnections = connections;
  setUpClosing(app, server);

  const routes = new RouteTable();
  auditHooks(app, options.audit);
  setUpPatience(app);
  app.addHook("onRequest", async (request) => {
    await check(request);
  });
  app.addHook("onRoute", (route) => {
    routes.add(route.url, route.method);
  });
  // Answers are JSON as the routes made them; their schemas are for readers.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  setUpParsers(app, options.mediaTypes ?? ["application/json"]);
  setUpErrors(app, options, routes);

  await app.register(swagger, {
    transform: ({ schema, url, route }) => {
      const body = route.config?.documentedBody;
      return { schema: { ...schema, ...(body && { body }), ...roleNote(route, schema, options) }, url };
    },
    openapi: {
      openapi: "3.1.0",
      info: {
        title: options.title,
        description: options.description,
        version: options.version,
      },
      ...(options.openapi
        ? { components: { securitySchemes: options.openapi.securitySchemes }, tags: options.openapi.tags }
        : { components: { securitySchemes: { bearer } }, security: [{ bearer: [] }] }),
    },
  });
  // Without the bar in which descriptions of others could be opened.
  const css = [{ filename: "page.css", content: ".swagger-ui .topbar { display: none }" }];
  await app.register(swaggerUi, { routePrefix: "/docs", theme: { title: `Offramp: ${options.title}`, css } });
  const hidden = { schema: { hide: true, querystring: schemas.nothing } };
  app.get("/openapi.json", hidden, () => app.swagger());
  return app;
}
