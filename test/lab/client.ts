/**
 * What does somebody in a namespace see when it asks?
 *
 * A phone's applications, kept running: commands come as JSON lines on stdin, one answer each on stdout, so that a
 * question costs no process start. Times are milliseconds by the monotonic clock of this process.
 *
 *   {"id":1,"op":"http","url":"http://203.0.113.10/","from":"10.45.0.1"}  -> {"id":1,"result":{…}} or {"id":1,"error":"…"}
 *
 * Operations: http, udp (one question), load / loadStop (numbered questions at a rate, then what is missing),
 * tcpOpen / tcpEcho / tcpClose (a connection that stays).
 */
import { createHash, randomBytes } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { request } from "node:http";
import { connect, isIPv6, type Socket } from "node:net";
import { answerQuestions } from "./rpc.ts";

export interface HttpQuestion {
  url: string;
  from?: string;
  method?: string;
  /** Octets of body to send, of the reproducible kind. */
  body?: string;
  timeoutMs?: number;
}

export interface HttpAnswer {
  status: number;
  /** Header `x-server`. */
  server: string;
  /** The client's address as the server saw it. */
  client: string;
  /** Header `x-cache`: what a cache on the way says of itself. */
  cache: string;
  bytes: number;
  sha256: string;
  /** The body when it is short. */
  text: string;
  /** Whole exchange, from connect to last octet. */
  ms: number;
}

export interface UdpAnswer {
  server: string;
  client: string;
  clientPort: number;
  payload: string;
  ms: number;
}

export interface LoadResult {
  sent: number;
  received: number;
  /** Numbers that never came back. */
  missing: number[];
  doubled: number;
  /** Answers by server name. */
  servers: Record<string, number>;
  /** True when each answer came in the order of the questions. */
  ordered: boolean;
}

interface Load {
  socket: UdpSocket;
  timer: NodeJS.Timeout;
  sent: number;
  seen: Map<number, number>;
  servers: Record<string, number>;
  last: number;
  ordered: boolean;
}

interface Connection {
  socket: Socket;
  received: Buffer;
  wake: () => void;
  closed: string | undefined;
  greeting: string;
}

const now = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;
const loads = new Map<string, Load>();
const connections = new Map<string, Connection>();

function http(q: HttpQuestion): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const started = now();
    const ask = request(
      q.url,
      { method: q.method ?? "GET", agent: false, ...(q.from ? { localAddress: q.from } : {}) },
      (reply) => {
        const chunks: Buffer[] = [];
        reply.on("data", (chunk: Buffer) => chunks.push(chunk));
        reply.on("error", reject);
        reply.on("end", () => {
          const body = Buffer.concat(chunks);
          resolve({
            status: reply.statusCode ?? 0,
            server: `${reply.headers["x-server"] ?? ""}`,
            client: `${reply.headers["x-client"] ?? ""}`,
            cache: `${reply.headers["x-cache"] ?? ""}`,
            bytes: body.length,
            sha256: createHash("sha256").update(body).digest("hex"),
            text: body.length <= 4096 ? body.toString("utf8") : "",
            ms: now() - started,
          });
        });
      },
    );
    const timer = setTimeout(
      () => ask.destroy(new Error(`no answer in ${q.timeoutMs ?? 5000} ms`)),
      q.timeoutMs ?? 5000,
    );
    ask.on("close", () => clearTimeout(timer));
    ask.on("error", reject);
    ask.end(q.body ?? "");
  });
}

async function openUdp(to: string, from?: string, fromPort?: number): Promise<UdpSocket> {
  const socket = createSocket(isIPv6(to) ? "udp6" : "udp4");
  socket.on("error", () => undefined);
  socket.bind(fromPort ?? 0, from ?? (isIPv6(to) ? "::" : "0.0.0.0"));
  await once(socket, "listening");
  return socket;
}

async function udp(q: {
  to: string;
  port: number;
  from?: string;
  fromPort?: number;
  payload?: string;
  /** Octets of payload instead of `payload`. */
  size?: number;
  timeoutMs?: number;
}): Promise<UdpAnswer> {
  const socket = await openUdp(q.to, q.from, q.fromPort);
  const payload =
    q.payload ??
    randomBytes(Math.ceil((q.size ?? 16) / 2))
      .toString("hex")
      .slice(0, q.size ?? 16);
  try {
    const started = now();
    return await new Promise<UdpAnswer>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no answer")), q.timeoutMs ?? 3000);
      socket.on("message", (data, from) => {
        clearTimeout(timer);
        if (from.port !== q.port || from.address !== q.to)
          reject(new Error(`answer from ${from.address}:${from.port}`));
        const [server = "", client = "", port = "", ...rest] = data.toString("latin1").split(" ");
        const echoed = rest.join(" ");
        if (echoed !== payload) reject(new Error(`answer differs: ${echoed.length} octets for ${payload.length}`));
        resolve({ server, client, clientPort: Number(port), payload: echoed.slice(0, 64), ms: now() - started });
      });
      socket.send(payload, q.port, q.to, (error) => error && reject(error));
    });
  } finally {
    socket.close();
  }
}

/** Questions numbered from 0, `rate` a second, until stopped or `count` is reached. */
async function load(q: {
  name: string;
  to: string;
  port: number;
  from?: string;
  rate: number;
  count?: number;
}): Promise<null> {
  const socket = await openUdp(q.to, q.from);
  socket.setRecvBufferSize(4 << 20);
  const one: Load = {
    socket,
    timer: setInterval(tick, 10),
    sent: 0,
    seen: new Map(),
    servers: {},
    last: -1,
    ordered: true,
  };
  const started = now();
  function tick(): void {
    const due = Math.min(Math.floor(((now() - started) / 1000) * q.rate) + 1, q.count ?? Number.MAX_SAFE_INTEGER);
    while (one.sent < due) {
      socket.send(`${one.sent}`, q.port, q.to);
      one.sent += 1;
    }
  }
  socket.on("message", (data) => {
    const [server = "", , , number = ""] = data.toString("latin1").split(" ");
    const n = Number(number);
    one.servers[server] = (one.servers[server] ?? 0) + 1;
    one.seen.set(n, (one.seen.get(n) ?? 0) + 1);
    if (n < one.last) one.ordered = false;
    one.last = n;
  });
  loads.set(q.name, one);
  return null;
}

/** Stops asking, waits for what is on its way, and counts. */
async function loadStop(q: { name: string; settleMs?: number }): Promise<LoadResult> {
  const one = loads.get(q.name);
  if (!one) throw new Error(`no load ${q.name}`);
  clearInterval(one.timer);
  const end = now() + (q.settleMs ?? 2000);
  while (one.seen.size < one.sent && now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  one.socket.close();
  loads.delete(q.name);
  const missing: number[] = [];
  for (let n = 0; n < one.sent; n++) if (!one.seen.has(n)) missing.push(n);
  const doubled = [...one.seen.values()].filter((times) => times > 1).length;
  return {
    sent: one.sent,
    received: one.seen.size,
    missing: missing.slice(0, 1000),
    doubled,
    servers: one.servers,
    ordered: one.ordered,
  };
}

async function tcpOpen(q: { name: string; to: string; port: number; from?: string; timeoutMs?: number }): Promise<{
  greeting: string;
  ms: number;
}> {
  const started = now();
  const socket = connect({ host: q.to, port: q.port, ...(q.from ? { localAddress: q.from } : {}) });
  socket.setNoDelay(true);
  const one: Connection = { socket, received: Buffer.alloc(0), wake: () => undefined, closed: undefined, greeting: "" };
  connections.set(q.name, one);
  socket.on("data", (data) => {
    one.received = Buffer.concat([one.received, data]);
    one.wake();
  });
  const close = (why: string): void => {
    one.closed ??= why;
    one.wake();
  };
  socket.on("error", (error) => close(error.message));
  socket.on("close", () => close("closed"));
  await receive(one, () => one.received.includes(10), q.timeoutMs ?? 5000);
  const end = one.received.indexOf(10);
  one.greeting = one.received.subarray(0, end).toString("utf8");
  one.received = one.received.subarray(end + 1);
  return { greeting: one.greeting, ms: now() - started };
}

function receive(one: Connection, enough: () => boolean, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing in ${timeoutMs} ms`)), timeoutMs);
    const check = (): void => {
      if (enough()) resolve();
      else if (one.closed !== undefined) reject(new Error(one.closed));
      else return;
      clearTimeout(timer);
      one.wake = () => undefined;
    };
    one.wake = check;
    check();
  });
}

async function tcpEcho(q: { name: string; bytes?: number; timeoutMs?: number }): Promise<{ ms: number }> {
  const one = connections.get(q.name);
  if (!one) throw new Error(`no connection ${q.name}`);
  const data = randomBytes(q.bytes ?? 64);
  const started = now();
  one.socket.write(data);
  await receive(one, () => one.received.length >= data.length, q.timeoutMs ?? 5000);
  if (!one.received.subarray(0, data.length).equals(data)) throw new Error("echo differs");
  one.received = one.received.subarray(data.length);
  return { ms: now() - started };
}

async function tcpClose(q: { name: string }): Promise<null> {
  connections.get(q.name)?.socket.destroy();
  connections.delete(q.name);
  return null;
}

const operations: Record<string, (q: never) => Promise<unknown>> = {
  http,
  udp,
  load,
  loadStop,
  tcpOpen,
  tcpEcho,
  tcpClose,
};

answerQuestions(async ({ op, ...rest }: { op: string }) => {
  const operation = operations[op];
  if (!operation) throw new Error(`no operation ${op}`);
  return operation(rest as never);
});
process.stdout.write('{"ready":true}\n');
