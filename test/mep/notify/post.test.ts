/** Do notifications arrive by HTTP, whatever the other side does, and nowhere but where they may (B1, HOSTILE §4 SSRF)? */
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DecodedPacket, decode, encode } from "dns-packet";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { resolver, UnresolvedError } from "../../../mep/notify/guard.ts";
import type { Subscriber } from "../../../mep/parts.ts";
import { until } from "../../lab/netns.ts";
import { deadPort, receiver, withNotifier } from "./receivers.ts";

const subscriber = (callbackReference: string, instance = "a"): Subscriber => ({
  id: "s1",
  instance,
  callbackReference,
});
const note = { notificationType: "SerAvailabilityNotification", serviceReferences: [] };

test("B1: a notification is posted as JSON to the path that was asked for", async () => {
  const target = await receiver();
  await withNotifier(async ({ notifier }) => {
    notifier.send(subscriber(`http://127.0.0.1:${target.port}/a/b?c=d`), note);
    await until("it", () => notifier.counts.sent === 1);
    const [one] = target.received;
    assert.is(one?.method, "POST");
    assert.is(one?.path, "/a/b?c=d");
    assert.is(one?.headers["content-type"], "application/json");
    assert.is(one?.headers.host, `127.0.0.1:${target.port}`);
    assert.equal(one?.body, note);
  }).finally(target.close);
});

test("B1: a test notification holds the subscription's link and nothing else", async () => {
  const target = await receiver();
  await withNotifier(async ({ notifier }) => {
    notifier.test(
      subscriber(`http://127.0.0.1:${target.port}/`),
      "/mec_service_mgmt/v1/applications/a/subscriptions/s1",
    );
    await until("it", () => target.received.length === 1);
    assert.equal(target.received[0]?.body, {
      notificationType: "TestNotification",
      _links: { subscription: { href: "/mec_service_mgmt/v1/applications/a/subscriptions/s1" } },
    });
  }).finally(target.close);
});

test("B1: a name is said in Host while its checked address is connected to", async () => {
  const target = await receiver();
  await withNotifier(async ({ notifier }) => {
    notifier.send(subscriber(`http://app.example:${target.port}/`), note);
    await until("it", () => target.received.length === 1);
    assert.is(target.received[0]?.headers.host, `app.example:${target.port}`);
  }).finally(target.close);
});

test("B1: a server in trouble is asked again until it takes it", async () => {
  const target = await receiver((_request, response, number) => {
    response.writeHead([500, 503, 429, 200][number - 1] ?? 204).end("thanks");
  });
  await withNotifier(async ({ notifier }) => {
    notifier.send(subscriber(`http://127.0.0.1:${target.port}/`), note);
    await until("the fourth attempt", () => notifier.counts.sent === 1);
    assert.is(target.received.length, 4);
  }).finally(target.close);
});

test("B1: who says no, or points elsewhere, is not asked again, and redirects are not followed", async () => {
  const elsewhere = await receiver();
  for (const status of [301, 302, 303, 307, 308, 300, 304, 400, 401, 404, 410]) {
    const target = await receiver((_request, response) => {
      response.writeHead(status, { location: `http://127.0.0.1:${elsewhere.port}/secret` }).end();
    });
    await withNotifier(async ({ notifier, lost }) => {
      notifier.send(subscriber(`http://127.0.0.1:${target.port}/`), note);
      await until("its end", () => notifier.counts.refused === 1);
      assert.is(target.received.length, 1);
      assert.is(lost[0]?.why, `answered ${status}`);
    }).finally(target.close);
  }
  assert.is(elsewhere.connections, 0);
  await elsewhere.close();
});

test("B1: nobody there, nobody who answers, and who hangs up: given up, and told", async () => {
  const mute = createServer((socket) => socket.on("error", () => socket.destroy()));
  const rude = createServer((socket) => socket.destroy());
  const half = createServer((socket) => socket.on("error", () => socket.destroy()).write("HTTP/1.1 20"));
  for (const server of [mute, rude, half]) await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const ports = [mute, rude, half].map((server) => (server.address() as AddressInfo).port);
  for (const port of [...ports, await deadPort()]) {
    await withNotifier(
      async ({ notifier, lost, events }) => {
        notifier.send(subscriber(`http://127.0.0.1:${port}/`), note);
        await until("its end", () => notifier.counts["given-up"] === 1, 30_000);
        assert.is(lost[0]?.end, "given-up");
        assert.ok(lost[0]?.why);
        assert.equal(events, ["notification-lost"]);
      },
      { timeoutMs: 50 },
    );
  }
  for (const server of [mute, rude, half]) server.close();
});

test("B1: a huge or endless answer is not read to its end", async () => {
  let written = 0;
  const target = await receiver((_request, response, number) => {
    response.writeHead(200, number === 1 ? { "content-length": 1 << 30 } : {});
    const chunk = Buffer.alloc(64 << 10, "x");
    const write = () => {
      while (!response.destroyed && written < 64 << 20) {
        written += chunk.length;
        if (!response.write(chunk)) return void response.once("drain", write);
      }
    };
    write();
  });
  await withNotifier(async ({ notifier }) => {
    for (const _ of [1, 2]) notifier.send(subscriber(`http://127.0.0.1:${target.port}/`), note);
    await until("both", () => notifier.counts.sent === 2);
    assert.ok(written < 32 << 20, `${written} octets`);
  }).finally(target.close);
});

test("B1: a huge header is not read either", async () => {
  const target = await receiver((_request, response) => {
    response.writeHead(200, { "x-huge": "x".repeat(1 << 20) }).end();
  });
  await withNotifier(async ({ notifier }) => {
    notifier.send(subscriber(`http://127.0.0.1:${target.port}/`), note);
    await until("its end", () => notifier.counts["given-up"] === 1);
  }).finally(target.close);
});

test("B1: an address that the app could not reach is neither taken for a subscription nor connected to", async () => {
  const target = await receiver();
  const other = await receiver(undefined, { host: "127.0.0.66" });
  await withNotifier(async ({ notifier, lost }) => {
    assert.is(await notifier.refusal("a", `http://127.0.0.1:${target.port}/`), undefined);
    assert.match((await notifier.refusal("a", `http://127.0.0.66:${other.port}/`)) ?? "", /no app may send/);
    assert.match((await notifier.refusal("a", "http://169.254.169.254/latest")) ?? "", /metadata/);
    assert.match((await notifier.refusal("a", "http://[::1]/")) ?? "", /loopback/);
    assert.match((await notifier.refusal("a", "ftp://10.0.0.1/")) ?? "", /must be http/);
    const named = (await notifier.refusal("a", "http://internal.example/")) ?? "";
    assert.match(named, /internal.example/);
    assert.not.match(named, /203\.0\.113/);
    assert.match((await notifier.refusal("gone", "http://127.0.0.1/")) ?? "", /does not exist/);
    notifier.send(subscriber(`http://127.0.0.66:${other.port}/`), note);
    notifier.send({ ...subscriber(`http://127.0.0.1:${target.port}/`, "gone"), id: "s2" }, note);
    await until("their ends", () => notifier.counts.blocked === 2);
    assert.is(lost.length, 2);
    assert.is(target.connections + other.connections, 0);
  });
  await Promise.all([target.close(), other.close()]);
});

test("B1: a name that changes after it was checked leads nowhere else (DNS rebinding)", async () => {
  const target = await receiver();
  const victim = await receiver(undefined, { host: "127.0.0.66" });
  const answers = [
    ["127.0.0.1"],
    ["127.0.0.1"],
    ["127.0.0.66"],
    ["127.0.0.66", "127.0.0.1"],
    ["::ffff:127.0.0.66"],
    ["x"],
  ];
  let asked = 0;
  await withNotifier(
    async ({ notifier }) => {
      const callback = `http://rebind.example:${victim.port}/`;
      assert.is(await notifier.refusal("a", callback), undefined);
      const at = (port: number) => subscriber(`http://rebind.example:${port}/`);
      notifier.send(at(target.port), { number: 1 });
      await until("the first", () => notifier.counts.sent === 1);
      notifier.send(at(target.port), { number: 2 });
      await until("the second to be blocked", () => notifier.counts.blocked === 1);
      notifier.send(at(target.port), { number: 3 });
      await until("the third, at the address that may be", () => notifier.counts.sent === 2);
      notifier.send(at(target.port), { number: 4 });
      notifier.send(at(target.port), { number: 5 });
      await until("the rest to be blocked", () => notifier.counts.blocked === 3);
      assert.equal(
        target.received.map(({ body }) => body.number),
        [1, 3],
      );
      assert.is(victim.connections, 0);
      assert.is(asked, 6);
    },
    { resolve: async () => answers[asked++] ?? [] },
  );
  await Promise.all([target.close(), victim.close()]);
});

test("B1: names are asked of DNS alone, in time; one that is not there is refused, or tried again", async () => {
  const silent = new Set<string>();
  const server = createSocket("udp4");
  server.on("message", (message, from) => {
    const query = decode(message) as DecodedPacket;
    const [question] = query.questions ?? [];
    if (!question || silent.has(question.name)) return;
    const data = question.name === "app.example" && question.type === "A" ? "127.0.0.1" : undefined;
    const answers = data ? [{ type: "A" as const, name: question.name, ttl: 0, data }] : [];
    server.send(
      encode({ type: "response", id: query.id ?? 0, questions: [question], answers }),
      from.port,
      from.address,
    );
  });
  await new Promise<void>((done) => server.bind(0, "127.0.0.1", done));
  const servers = [`127.0.0.1:${server.address().port}`];
  const resolve = resolver({ servers, timeoutMs: 200 });
  assert.equal(await resolve("app.example"), ["127.0.0.1"]);
  silent.add("mute.example");
  for (const name of ["none.example", "mute.example", "ip6-loopback"]) {
    const error = await resolve(name).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.instance(error, UnresolvedError, name);
  }
  const many = await Promise.all(Array.from({ length: 100 }, () => resolve("app.example")));
  assert.is(many.length, 100);
  const target = await receiver();
  await withNotifier(
    async ({ notifier }) => {
      assert.match((await notifier.refusal("a", "http://none.example/")) ?? "", /no address in DNS/);
      silent.add("app.example");
      notifier.send(subscriber(`http://app.example:${target.port}/`), note);
      setTimeout(() => silent.delete("app.example"), 20);
      await until("it", () => notifier.counts.sent === 1, 30_000);
    },
    { resolve },
  );
  server.close();
  await target.close();
});

test("B1: certificates are checked: by the site's CA, for the name, and nothing is sent without", async () => {
  const directory = mkdtempSync(join(tmpdir(), "ofr-notify-"));
  const make = (names: string) => {
    const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
    const about = ["-subj", "/CN=test", "-addext", `subjectAltName=${names}`, "-keyout", key, "-out", cert];
    execFileSync("openssl", ["req", ...kind, ...about], { stdio: "ignore" });
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  };
  const tls = make("DNS:app.example,IP:127.0.0.1");
  const target = await receiver(undefined, { tls, host: "0.0.0.0" });
  const plain = await receiver();
  try {
    await withNotifier(
      async ({ notifier }) => {
        for (const host of ["app.example", "127.0.0.1"]) {
          notifier.send({ ...subscriber(`https://${host}:${target.port}/`), id: host }, note);
        }
        await until("both", () => notifier.counts.sent === 2);
        assert.is(
          target.received.find(({ headers }) => headers.host?.startsWith("app"))?.body.notificationType,
          note.notificationType,
        );
      },
      { ca: tls.cert },
    );
    const sent = target.received.length;
    const bad: [string, string | undefined][] = [
      [`https://app.example:${target.port}/`, undefined],
      [`https://other.example:${target.port}/`, tls.cert],
      [`https://127.0.0.2:${target.port}/`, tls.cert],
      [`https://127.0.0.1:${plain.port}/`, tls.cert],
    ];
    for (const [callback, ca] of bad) {
      await withNotifier(
        async ({ notifier, lost }) => {
          notifier.send(subscriber(callback), note);
          await until("its end", () => notifier.counts["given-up"] === 1);
          assert.ok(lost[0]?.why, callback);
        },
        { ...(ca && { ca }), resolve: async () => ["127.0.0.1"] },
      );
    }
    assert.is(target.received.length, sent);
    assert.is(plain.received.length, 0);
  } finally {
    await target.close();
    await plain.close();
    rmSync(directory, { recursive: true, force: true });
  }
});

test.run();
