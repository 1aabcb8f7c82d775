/** Do notifications arrive over WebSocket, to their app alone, and does a slow, dead or rude one cost nobody else (B1)? */
import { request as httpRequest } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import pino from "pino";
import Type from "typebox";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { WebSocket } from "ws";
import { Audit } from "../../../controlplane/access/audit.ts";
import { Problem } from "../../../controlplane/errors.ts";
import type { Metrics } from "../../../controlplane/metrics/metrics.ts";
import { Mp1Server } from "../../../mep/mp1/server.ts";
import type { Notifier, NotifierOptions } from "../../../mep/notify/notifier.ts";
import { websocketRoute, websocketUri } from "../../../mep/notify/websocket-route.ts";
import type { Instance, Subscriber } from "../../../mep/parts.ts";
import { sleep, until } from "../../lab/netns.ts";
import { withNotifier } from "./receivers.ts";

interface Running {
  notifier: Notifier;
  base: string;
  /** Connects as the client `token`. */
  open(id: string, token?: string): Client;
}

interface Client {
  socket: WebSocket;
  frames: unknown[];
  closed?: { code: number; reason: string };
  /** Of an answer that was no 101. */
  refused?: { status: number; body: string };
}

const subscriber = (id: string, instance = "a"): Subscriber => ({ id, instance, websocket: true });

/** The real Mp1 server with the WebSocket route; the token is the name of the client and its instance. */
async function withServer(body: (running: Running) => Promise<void>, options: Partial<NotifierOptions> = {}) {
  await withNotifier(async ({ notifier }) => {
    const authority = {
      authenticate: async ({ headers }: { headers: { authorization?: string } }) => {
        const client = headers.authorization?.replace("Bearer ", "");
        if (!client) throw new Problem("unauthorized", "send a token");
        return { client, instance: client, scopes: new Set<string>() };
      },
      authorise: () => undefined,
    };
    const mp1 = await Mp1Server.create({
      authority,
      instances: { get: (id) => ({ id, ready: true }) as Instance },
      audit: new Audit(":memory:"),
      metrics: { requests: { inc: () => undefined } } as unknown as Pick<Metrics, "requests">,
      log: pino({ level: "silent" }),
      version: "test",
    });
    websocketRoute(mp1.app, notifier.sockets, authority);
    const api = "mec_service_mgmt" as const;
    const echo = { api, path: "/echo", scope: "", summary: "Echo" };
    mp1.route({ ...echo, method: "POST", body: Type.Object({}), handler: ({ body }) => body });
    await mp1.app.listen({ host: "127.0.0.1", port: 0 });
    const base = `http://127.0.0.1:${(mp1.app.server.address() as AddressInfo).port}`;
    const clients: WebSocket[] = [];
    const open = (id: string, token = "a"): Client => {
      const socket = new WebSocket(websocketUri(base, id), {
        headers: token ? { authorization: `Bearer ${token}` } : {},
      });
      const client: Client = { socket, frames: [] };
      socket.on("message", (data) => client.frames.push(JSON.parse(String(data))));
      socket.on("close", (code, reason) => {
        client.closed = { code, reason: String(reason) };
      });
      socket.on("error", () => undefined);
      socket.on("unexpected-response", (_request, response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => {
          client.refused = { status: response.statusCode ?? 0, body: text };
        });
      });
      clients.push(socket);
      return client;
    };
    try {
      await body({ notifier, base, open });
    } finally {
      for (const client of clients) client.terminate();
      await notifier.stop();
      await mp1.app.close();
    }
  }, options);
}

const isOpen = (client: Client) => client.socket.readyState === WebSocket.OPEN;

test("B1: what waits is sent once the app is connected, in order, one frame for each", async () => {
  await withServer(async ({ notifier, base, open }) => {
    assert.is(websocketUri(base, "s1"), `${base.replace("http", "ws")}/mec_notifications/v1/s1`);
    notifier.admit(subscriber("s1"));
    for (const number of [1, 2, 3]) notifier.send(subscriber("s1"), { number });
    await sleep(10);
    const client = open("s1");
    await until("three", () => client.frames.length === 3);
    notifier.send(subscriber("s1"), { number: 4 });
    await until("four", () => client.frames.length === 4);
    assert.equal(client.frames, [{ number: 1 }, { number: 2 }, { number: 3 }, { number: 4 }]);
    assert.is(notifier.counts.sent, 4);
  });
});

test("B5: without a token, with another app's, or without such a subscription there is no connection", async () => {
  await withServer(async ({ notifier, base, open }) => {
    notifier.admit(subscriber("s1"));
    const cases = [
      { client: open("s1", ""), status: 401 },
      { client: open("s1", "b"), status: 404 },
      { client: open("s2"), status: 404 },
      { client: open("../s1"), status: 404 },
    ];
    for (const { client, status } of cases) {
      await until("an answer", () => client.refused);
      assert.is(client.refused?.status, status);
      assert.is(JSON.parse(client.refused?.body ?? "").status, status);
    }
    const bodies = cases.slice(1, 3).map(({ client }) => JSON.parse(client.refused?.body ?? "").detail);
    assert.is(bodies[0], bodies[1]);
    const plain = await fetch(websocketUri(base, "s1").replace("ws", "http"), {
      headers: { authorization: "Bearer a" },
    });
    assert.is(plain.status, 400);
    assert.match(((await plain.json()) as { detail: string }).detail, /Upgrade: websocket/);
    assert.is(notifier.sockets.open, 0);
  });
});

test("B1: who has lost the connection comes back, and a newer connection takes the place of the older", async () => {
  await withServer(async ({ notifier, open }) => {
    notifier.admit(subscriber("s1"));
    const first = open("s1");
    await until("it", () => isOpen(first));
    const second = open("s1");
    await until("the other", () => isOpen(second) && first.closed);
    assert.is(first.closed?.code, 1008);
    notifier.send(subscriber("s1"), { number: 1 });
    await until("it", () => second.frames.length === 1);
    second.socket.terminate();
    await until("its end", () => notifier.sockets.open === 0);
    notifier.send(subscriber("s1"), { number: 2 });
    const third = open("s1");
    await until("it", () => third.frames.length === 1);
    assert.equal(third.frames, [{ number: 2 }]);
    assert.equal(first.frames, []);
  });
});

test("B1: with its subscription a WebSocket ends, and none is made any more", async () => {
  await withServer(async ({ notifier, open }) => {
    notifier.admit(subscriber("s1"));
    const client = open("s1");
    await until("it", () => isOpen(client));
    notifier.forget("s1");
    await until("its end", () => client.closed);
    assert.equal(client.closed, { code: 1001, reason: "the subscription has ended" });
    const late = open("s1");
    await until("an answer", () => late.refused);
    assert.is(late.refused?.status, 404);
  });
});

test("B1: who talks is let go", async () => {
  await withServer(async ({ notifier, open }) => {
    notifier.admit(subscriber("s1"));
    const small = open("s1");
    await until("it", () => isOpen(small));
    small.socket.send("hello");
    await until("its end", () => small.closed);
    assert.is(small.closed?.code, 1008);
    const large = open("s1");
    await until("it", () => isOpen(large));
    large.socket.send("x".repeat(1 << 20));
    await until("its end", () => large.closed);
    assert.is(notifier.sockets.open, 0);
  });
});

test("B1: connections are bounded for one app and for all", async () => {
  await withServer(
    async ({ notifier, open }) => {
      for (const id of ["a1", "a2", "a3"]) notifier.admit(subscriber(id, "a"));
      for (const id of ["b1", "b2"]) notifier.admit(subscriber(id, "b"));
      const two = [open("a1"), open("a2")];
      await until("two", () => two.every(isOpen));
      const third = open("a3");
      await until("an answer", () => third.refused);
      assert.is(third.refused?.status, 429);
      const other = open("b1", "b");
      await until("it", () => isOpen(other));
      const fourth = open("b2", "b");
      await until("an answer", () => fourth.refused);
      assert.is(fourth.refused?.status, 429);
      const again = open("a1");
      await until("its place is its own", () => isOpen(again));
    },
    { sockets: { connections: 3, connectionsOfInstance: 2 } },
  );
});

/** A client that shakes hands and then does what the test says. */
async function handshake(base: string, id: string): Promise<Socket> {
  const { hostname, port } = new URL(base);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  socket.write(
    `GET /mec_notifications/v1/${id} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nconnection: Upgrade\r\n` +
      "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n" +
      "authorization: Bearer a\r\n\r\n",
  );
  const answer = await new Promise<string>((resolve) => socket.once("data", (data) => resolve(String(data))));
  assert.match(answer, /^HTTP\/1\.1 101 /);
  socket.pause();
  return socket;
}

test("B1: who does not read is cut off, others notice nothing, and what was not taken comes again", async () => {
  await withServer(
    async ({ notifier, base, open }) => {
      notifier.admit(subscriber("slow"));
      notifier.admit(subscriber("quick"));
      const slow = await handshake(base, "slow");
      const quick = open("quick");
      await until("it", () => isOpen(quick));
      const text = "x".repeat(1 << 20);
      for (let number = 0; number < 30; number += 1) notifier.send(subscriber("slow"), { number, text });
      notifier.send(subscriber("quick"), { number: 0 });
      await until("the quick one", () => quick.frames.length === 1);
      await until("the slow one to be cut off", () => notifier.sockets.open === 1);
      const better = open("slow");
      await until("the last", () => (better.frames.at(-1) as { number?: number } | undefined)?.number === 29, 30_000);
      const numbers = better.frames.map((frame) => (frame as { number: number }).number);
      assert.equal(
        numbers,
        numbers.map((_, index) => (numbers[0] ?? 0) + index),
      );
      slow.destroy();
    },
    { sockets: { timeoutMs: 2000 } },
  );
});

test("B1: who does not answer pings is gone, who does stays", async () => {
  await withServer(
    async ({ notifier, base, open }) => {
      for (const id of ["dead", "alive"]) notifier.admit(subscriber(id));
      const dead = await handshake(base, "dead");
      const alive = open("alive");
      await until("both", () => notifier.sockets.open === 2);
      await until("one to be gone", () => notifier.sockets.open === 1);
      await sleep(1500);
      assert.is(notifier.sockets.open, 1);
      assert.ok(isOpen(alive));
      dead.destroy();
    },
    { sockets: { pingMs: 1000 } },
  );
});

test("B1: an offer to go on in HTTP/2 is not taken up, and its request answered as any other", async () => {
  await withServer(async ({ base }) => {
    const { hostname: host, port } = new URL(base);
    const body = JSON.stringify({ text: "x".repeat(30_000) });
    for (const method of ["POST", "GET"]) {
      const answer = await new Promise<{ status: number; text: string }>((resolve, reject) => {
        const headers = {
          authorization: "Bearer a",
          connection: "Upgrade, HTTP2-Settings",
          upgrade: "h2c",
          "http2-settings": "AAMAAABkAAQCAAAAAAIAAAAA",
          ...(method === "POST" && { "content-type": "application/json", "content-length": body.length }),
        };
        const request = httpRequest({ host, port, method, path: "/mec_service_mgmt/v1/echo", headers }, (response) => {
          let text = "";
          response.on("data", (chunk) => {
            text += chunk;
          });
          response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        });
        request.on("error", reject);
        request.end(method === "POST" ? body : undefined);
      });
      assert.is(answer.status, method === "POST" ? 200 : 405);
      if (method === "POST") assert.is(answer.text, body);
    }
  });
});

test("B1: when the platform stops, WebSockets are told", async () => {
  await withServer(async ({ notifier, open }) => {
    notifier.admit(subscriber("s1"));
    const client = open("s1");
    await until("it", () => isOpen(client));
    await notifier.stop();
    await until("its end", () => client.closed);
    assert.is(client.closed?.code, 1001);
  });
});

test.run();
