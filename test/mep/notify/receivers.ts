/**
 * How does a test get something to notify?
 *
 * Real HTTP servers on loopback, each with a behaviour of its own, and a notifier whose policy lets test apps be reached
 * there (a site's policy never does; see reach.test.ts).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { formatAddress } from "../../../controlplane/intents/prefix.ts";
import { Notifier, type NotifierOptions } from "../../../mep/notify/notifier.ts";
import { neverReached, type Place, type Reach } from "../../../mep/notify/reach.ts";

export interface Received {
  path: string;
  headers: IncomingMessage["headers"];
  method: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was sent
  body: any;
}

export interface Receiver {
  port: number;
  received: Received[];
  /** Connections that were made. */
  connections: number;
  close(): Promise<void>;
}

export type Behaviour = (request: Received, response: ServerResponse, number: number) => void;

const noContent: Behaviour = (_request, response) => void response.writeHead(204).end();

export async function receiver(
  behaviour: Behaviour = noContent,
  { tls, host = "127.0.0.1" }: { tls?: { cert: string; key: string }; host?: string } = {},
): Promise<Receiver> {
  const received: Received[] = [];
  const sockets = new Set<Socket>();
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    request.on("end", () => {
      const { url: path = "", headers, method = "" } = request;
      const one = { path, headers, method, body: JSON.parse(text || "null") };
      received.push(one);
      behaviour(one, response, received.length);
    });
  };
  const server: Server = tls ? createTlsServer(tls, handle) : createServer(handle);
  const found = { port: 0, received, connections: 0, close };
  server.on("connection", (socket) => {
    found.connections += 1;
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  async function close(): Promise<void> {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  found.port = (server.address() as AddressInfo).port;
  return found;
}

/** A port on which nobody listens. */
export async function deadPort(): Promise<number> {
  const one = await receiver();
  await one.close();
  return one.port;
}

/** Apps of the tests are on 127.0.0.0/8, except that 127.0.0.66 is nobody's. */
export const loopbackReach: Reach = (_instance, address) => {
  const text = formatAddress(address);
  if (text === "127.0.0.66") return "is where no app may send";
  return text.startsWith("127.") ? undefined : (neverReached(address) ?? "is not on a network that the app is on");
};

export const app = (id: string): Place => ({ id, provider: "acme", addresses: ["127.0.0.1"], external: true });

export interface Running {
  notifier: Notifier;
  lost: { end: string; why?: string; instance?: string }[];
  events: string[];
}

/** Runs `body` with a notifier, and stops it whatever happens. */
export async function withNotifier(
  body: (running: Running) => Promise<void>,
  options: Partial<NotifierOptions> = {},
): Promise<void> {
  const lost: Running["lost"] = [];
  const events: string[] = [];
  const notifier = new Notifier({
    instance: (id) => (id === "gone" ? undefined : app(id)),
    reach: loopbackReach,
    resolve: async (name) => [name === "app.example" ? "127.0.0.1" : "203.0.113.9"],
    ...options,
    queue: { retryMs: [1, 1, 1, 1], breaker: { failures: 1000, openMs: 10, openAtMostMs: 10 }, ...options.queue },
    publish: ({ type }) => events.push(type),
    warn: (about) => lost.push(about as unknown as Running["lost"][number]),
  });
  try {
    await body({ notifier, lost, events });
  } finally {
    await notifier.stop();
  }
}
