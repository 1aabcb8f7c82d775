/**
 * Do probes tell a server that serves from one that does not, over real sockets, and leave none open?
 *
 * A namespace with an address of each family that answers, and one of each that nobody has.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { EchoSocket } from "../../controlplane/health/echo-socket.ts";
import { probeWith } from "../../controlplane/health/probes.ts";
import type { Health } from "../../controlplane/intents/model.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";

inNamespace(fileURLToPath(import.meta.url));
ip("link add apps0 type veth peer name far0");
ip("addr add 10.60.0.1/24 dev apps0");
ip("-6 addr add 2001:db8:60::1/64 dev apps0 nodad");
ip("link set apps0 up");
ip("link set far0 up");

const echo = new EchoSocket();
const probe = probeWith(echo);
const health = (type: Health["type"], more: Partial<Health> = {}): Health => ({
  type,
  intervalMs: 1000,
  timeoutMs: 1000,
  up: 2,
  down: 3,
  ...more,
});

/** "answers", or why not. */
async function ask(address: string, port: number | undefined, how: Health, withinMs = 5000): Promise<string> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new Error("time is over")), withinMs);
  try {
    await probe({ address, ...(port !== undefined && { port }) }, how, abort.signal);
    return "answers";
  } catch (error) {
    return (error as Error).message;
  } finally {
    clearTimeout(timer);
  }
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "::");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

const sockets = () =>
  execFileSync("ss", ["-Htan", "state", "established"], { encoding: "utf8" }).split("\n").filter(Boolean).length;

test("A18 tcp: who accepts is there, who refuses or is silent is not", async () => {
  const server = createServer((socket) => socket.on("error", () => undefined).on("end", () => socket.end()));
  const port = await listening(server);
  assert.is(await ask("10.60.0.1", port, health("tcp")), "answers");
  assert.is(await ask("2001:db8:60::1", port, health("tcp")), "answers");
  server.close();
  await once(server, "close");
  assert.is(await ask("10.60.0.1", port, health("tcp")), "connection refused");
  assert.is(await ask("10.60.0.99", port, health("tcp"), 300), "time is over");
  assert.is(await ask("192.0.2.1", port, health("tcp")), "no route to its network");
  assert.is(sockets(), 0, "no connection is left");
});

test("http: a status of 200 to 399 is right, with path and host as told", async () => {
  const seen: Pick<IncomingMessage, "url" | "headers">[] = [];
  const server = createHttpServer((request, reply) => {
    seen.push({ url: request.url, headers: request.headers });
    reply.statusCode = Number(request.url?.slice(1).split("?")[0]) || 200;
    reply.end("x".repeat(1_000_000));
  });
  const port = await listening(server);
  const answers: string[] = [];
  for (const path of ["/", "/204", "/302", "/404", "/503"])
    answers.push(await ask("10.60.0.1", port, health("http", { path })));
  assert.equal(answers, ["answers", "answers", "answers", "HTTP status 404", "HTTP status 503"]);
  await ask("2001:db8:60::1", port, health("http", { path: "/200?deep", host: "shop.example:8080" }));
  assert.equal([seen.at(-1)?.url, seen.at(-1)?.headers.host], ["/200?deep", "shop.example:8080"]);
  assert.is(seen[0]?.headers.host, `10.60.0.1:${port}`);
  for (let i = 0; i < 100 && sockets() > 0; i++) await sleep(20);
  assert.is(sockets(), 0, "no connection is left");
  server.close();
});

test("http: who speaks otherwise, hangs up or says nothing is not there", async () => {
  const replies = ["SSH-2.0-OpenSSH_9.2\r\n", "", undefined];
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    const reply = replies.shift();
    if (reply !== undefined) socket.end(reply);
  });
  const port = await listening(server);
  assert.match(await ask("10.60.0.1", port, health("http")), /Parse Error/);
  assert.match(await ask("10.60.0.1", port, health("http")), /socket hang up|connection reset/);
  assert.is(await ask("10.60.0.1", port, health("http"), 300), "time is over");
  for (let i = 0; i < 100 && sockets() > 0; i++) await sleep(20);
  assert.is(sockets(), 0);
  server.close();
});

test("icmp: many at a time, both families, each answer to its own question", async () => {
  const addresses = ["10.60.0.1", "2001:db8:60::1", "10.60.0.98", "2001:db8:60::98"];
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, i) => ask(addresses[i % 4] ?? "", undefined, health("icmp"), 500)),
  );
  assert.equal(
    answers,
    Array.from({ length: 40 }, (_, i) => (i % 4 < 2 ? "answers" : "time is over")),
  );
  assert.match(await ask("192.0.2.1", undefined, health("icmp")), /unreachable/i);
});

test("after the last answer the raw socket is closed, and opened again for the next question", async () => {
  const open = () => execFileSync("ss", ["-Hwan"], { encoding: "utf8" }).split("\n").filter(Boolean).length;
  assert.ok(open() > 0);
  echo.close();
  assert.is(open(), 0);
  assert.is(await ask("10.60.0.1", undefined, health("icmp")), "answers");
  echo.close();
});

test.run();
