/**
 * Who is connected for notifications over WebSocket, and does the other side keep up?
 *
 *   admit(subscription) ─▶ the app connects to its path, with its token ─▶ one text frame per notification ─▶ forget, close
 *
 * MEC 009 §6.12a: a subscription asks with `websockNotifConfig.requestWebsocketUri` and is answered a `websocketUri`. Its path
 * belongs to the one subscription and is never given out again. There is one connection at a time: a newer one takes the
 * place of the older, so an app that has lost its connection without either side noticing is not locked out. A frame
 * counts as sent when the kernel has taken it; who does not read for `timeoutMs` is cut off and gets the frame again when
 * connected anew. Nothing is expected from the other side: who sends messages is let go.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { Problem } from "../../controlplane/errors.ts";
import type { Subscriber } from "../parts.ts";
import type { Attempt } from "./queue.ts";

export interface SocketsSettings {
  /** Connections at a time: of all, of one instance. */
  connections: number;
  connectionsOfInstance: number;
  /** For one frame to be taken. */
  timeoutMs: number;
  /** Between pings; who has not answered one by the next is gone. */
  pingMs: number;
}

export const socketsDefaults: SocketsSettings = {
  connections: 1024,
  connectionsOfInstance: 16,
  timeoutMs: 10_000,
  pingMs: 20_000,
};

/** Codes of RFC 6455 §7.4.1. */
const closing = { away: 1001, policy: 1008 } as const;
const farewellMs = 500;

interface Connection {
  subscriber: Subscriber;
  socket: WebSocket;
  answered: boolean;
}

export class Sockets {
  readonly #settings: SocketsSettings;
  readonly #server = new WebSocketServer({ noServer: true, maxPayload: 4096, perMessageDeflate: false });
  readonly #admitted = new Map<string, Subscriber>();
  readonly #connections = new Map<string, Connection>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /** @param connected is told the subscription whose app is there now */
  constructor(
    private readonly connected: (id: string) => void,
    settings: Partial<SocketsSettings> = {},
  ) {
    this.#settings = { ...socketsDefaults, ...settings };
  }

  get open(): number {
    return this.#connections.size;
  }

  admit(subscriber: Subscriber): void {
    this.#admitted.set(subscriber.id, subscriber);
  }

  /** Of a subscription; undefined: none that may be connected to. */
  admitted(id: string): Subscriber | undefined {
    return this.#admitted.get(id);
  }

  forget(id: string): void {
    this.#admitted.delete(id);
    const connection = this.#connections.get(id);
    if (connection) this.#close(connection, closing.away, "the subscription has ended");
  }

  /** Before the handshake. @throws Problem too-many-requests */
  check(subscriber: Subscriber): void {
    if (this.#stopped) throw new Problem("not-ready", "the platform is stopping: try again later");
    if (this.#connections.has(subscriber.id)) return;
    const { connections, connectionsOfInstance } = this.#settings;
    let own = 0;
    for (const other of this.#connections.values()) if (other.subscriber.instance === subscriber.instance) own += 1;
    if (own >= connectionsOfInstance || this.#connections.size >= connections) {
      throw new Problem("too-many-requests", "there are as many WebSockets as there may be: close one first");
    }
  }

  /** Completes the handshake; answers bad ones itself. */
  upgrade(subscriber: Subscriber, request: IncomingMessage, stream: Duplex, head: Buffer): void {
    this.#server.handleUpgrade(request, stream, head, (socket) => this.#enter({ subscriber, socket, answered: true }));
  }

  /** Never rejects. */
  async deliver(id: string, body: string, signal: AbortSignal): Promise<Attempt> {
    // The app may connect anew while a frame to the old connection gets stuck.
    for (;;) {
      const connection = this.#connections.get(id);
      if (!connection || signal.aborted) return { outcome: "absent" };
      if (await this.#write(connection, body, signal)) return { outcome: "sent" };
      this.#drop(connection);
    }
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    for (const connection of this.#connections.values()) {
      this.#close(connection, closing.away, "the platform is stopping");
    }
    this.#server.close();
  }

  #enter(connection: Connection): void {
    const { subscriber, socket } = connection;
    const { id } = subscriber;
    socket.on("error", () => undefined);
    if (this.#stopped || !this.#admitted.has(id)) {
      this.#close(connection, closing.away, "the subscription has ended");
      return;
    }
    const older = this.#connections.get(id);
    if (older) this.#close(older, closing.policy, "a newer connection has taken its place");
    this.#connections.set(id, connection);
    socket.on("pong", () => {
      connection.answered = true;
    });
    socket.on("message", () => this.#close(connection, closing.policy, "nothing is expected from here"));
    socket.on("close", () => this.#leave(connection));
    this.#timer ??= setInterval(() => this.#ping(), this.#settings.pingMs);
    this.connected(id);
  }

  #leave(connection: Connection): void {
    const { id } = connection.subscriber;
    if (this.#connections.get(id) === connection) this.#connections.delete(id);
    if (this.#connections.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #ping(): void {
    for (const connection of this.#connections.values()) {
      if (!connection.answered) {
        this.#drop(connection);
        continue;
      }
      connection.answered = false;
      connection.socket.ping();
    }
  }

  /** True when the kernel has all of it. */
  #write({ socket }: Connection, body: string, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (taken: boolean) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", cut);
        resolve(taken);
      };
      const cut = () => done(false);
      const timer = setTimeout(cut, this.#settings.timeoutMs);
      signal.addEventListener("abort", cut, { once: true });
      socket.once("close", cut);
      socket.send(body, (error) => {
        socket.off("close", cut);
        done(!error);
      });
    });
  }

  /** Without a word: nobody listens. */
  #drop(connection: Connection): void {
    this.#leave(connection);
    connection.socket.terminate();
  }

  #close(connection: Connection, code: number, reason: string): void {
    this.#leave(connection);
    connection.socket.close(code, reason);
    setTimeout(() => connection.socket.terminate(), farewellMs).unref();
  }
}
