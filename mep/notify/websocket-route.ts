/**
 * How does an app connect for notifications over WebSocket?
 *
 *   GET /mec_notifications/v1/<subscription>, Upgrade: websocket ─▶ who (token) ─▶ is it its own ─▶ 101
 *
 * The request goes through the same server as any other of Mp1, so it is authenticated, counted and refused as they are. An
 * offer to go on in HTTP/2 (`Upgrade: h2c`, which some clients make with every request) is not taken up: it is read as if it
 * had not been made.
 */
import { type Server as HttpServer, type IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { FastifyInstance } from "fastify";
import Type from "typebox";
import { commonProblems, notFound, nothing } from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";
import { security, tooMany, unauthorized } from "../mp1/description.ts";
import type { Authority } from "../parts.ts";
import type { Sockets } from "./sockets.ts";

const root = "/mec_notifications/v1";

/**
 * What the `websocketUri` of a subscription is.
 * @param base `https://host:port` as apps reach Mp1
 */
export const websocketUri = (base: string, id: string): string =>
  `${base.replace(/^http/, "ws")}${root}/${encodeURIComponent(id)}`;

/** The request again, without the offer, for the server to read anew. */
function withoutOffer(request: IncomingMessage, head: Buffer): Buffer {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`];
  const { rawHeaders } = request;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = "", value = ""] = rawHeaders.slice(at, at + 2);
    if (!/^(upgrade|connection|http2-settings)$/i.test(name)) lines.push(`${name}: ${value}`);
  }
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]);
}

/** Before `app.ready()`. */
export function websocketRoute(
  app: FastifyInstance,
  sockets: Sockets,
  authority: Pick<Authority, "authenticate">,
): void {
  const heads = new WeakMap<IncomingMessage, Buffer>();
  const server = app.server as HttpServer;

  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.headers.upgrade?.toLowerCase() !== "websocket") {
      socket.unshift(withoutOffer(request, head));
      server.emit("encrypted" in socket ? "secureConnection" : "connection", socket);
      return;
    }
    socket.on("error", () => socket.destroy());
    heads.set(request, head);
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(request.socket);
    response.on("finish", () => socket.end());
    app.routing(request, response);
  });

  app.get<{ Params: { id: string } }>(
    `${root}/:id`,
    {
      exposeHeadRoute: false,
      schema: {
        tags: ["mec_notifications"],
        summary: "WebSocket of a subscription: one text frame per notification",
        params: Type.Object({
          id: Type.String({ maxLength: 256, description: "of a subscription that has a WebSocket" }),
        }),
        querystring: nothing,
        security: security(),
        response: {
          101: { description: "Switching to WebSocket", type: "null" },
          ...commonProblems,
          ...unauthorized,
          ...tooMany,
          ...notFound,
        },
      },
      onRequest: async (request) => {
        request.identity = await authority.authenticate(request);
      },
    },
    (request, reply) => {
      const subscriber = sockets.admitted(request.params.id);
      const { instance } = request.identity ?? {};
      // Somebody else's is as unknown as one that does not exist.
      if (!subscriber || instance === undefined || subscriber.instance !== instance) {
        throw new Problem("not-found", "there is no subscription of yours with a WebSocket here");
      }
      const head = heads.get(request.raw);
      if (!head) throw new Problem("invalid-request", "this is a WebSocket: ask with Upgrade: websocket");
      sockets.check(subscriber);
      reply.hijack();
      const { socket } = request.raw;
      (reply.raw as ServerResponse).detachSocket(socket);
      sockets.upgrade(subscriber, request.raw, socket, head);
    },
  );
}
