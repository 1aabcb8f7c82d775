/**
 * Does the real Unbound answer what it is told, at once and only that, and does it live through what happens to it? (B2)
 *
 * On loopback, where the test asks as everybody who is not on the apps' network does.
 */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pino from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../../controlplane/errors.ts";
import { type DnsRecord, defaultTtl } from "../../../mep/dns/records.ts";
import { DnsServer } from "../../../mep/dns/unbound.ts";
import { until } from "../../lab/netns.ts";
import { type Answer, ask, freePort } from "./ask.ts";

const log = pino({ level: "silent" });

interface Context {
  directory: string;
  port: number;
  servers: DnsServer[];
  make(change?: { upstream?: string[]; port?: number }): DnsServer;
}

const unbound = suite<Context>("Unbound");
unbound.before.each(async (context) => {
  const directory = mkdtempSync(join(tmpdir(), "ofr-dns-"));
  const port = await freePort();
  const servers: DnsServer[] = [];
  context.directory = directory;
  context.port = port;
  context.servers = servers;
  context.make = (change = {}) => {
    const listen = [{ address: "127.0.0.1", port: change.port ?? port }];
    const server = new DnsServer({ directory: join(directory, "dns"), listen, upstream: [], apps: [], log, ...change });
    servers.push(server);
    return server;
  };
});
unbound.after.each(async ({ servers, directory }) => {
  for (const server of servers) await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

const shop: DnsRecord = { name: "shop.example.com", type: "A", address: "10.60.0.10", ttl: 60 };
const nothing: Answer = { code: "NOERROR", data: [], authority: ["SOA"] };
const refused: Answer = { code: "REFUSED", data: [], authority: [] };

unbound(
  "B2: a name is answered with all its addresses and its TTL; other types are no data, other names are refused",
  async (t) => {
    const server = t.make();
    await server.start();
    assert.equal(await ask(t.port, "shop.example.com"), refused);
    await server.set([
      shop,
      { ...shop, address: "10.60.0.11", ttl: 30 },
      { name: "six.example.com", type: "AAAA", address: "2001:DB8:60:0::10" },
      { name: "zero.example.com", type: "A", address: "10.60.0.12", ttl: 0 },
      { name: "long.example.com", type: "A", address: "10.60.0.12", ttl: 2 ** 31 - 1 },
    ]);
    assert.equal((await ask(t.port, "Shop.Example.COM")).data, ["A 10.60.0.10 30", "A 10.60.0.11 30"]);
    assert.equal(await ask(t.port, "shop.example.com", "AAAA"), nothing);
    assert.equal(await ask(t.port, "shop.example.com", "HTTPS"), nothing);
    assert.equal((await ask(t.port, "six.example.com", "AAAA")).data, [`AAAA 2001:db8:60::10 ${defaultTtl}`]);
    assert.equal(await ask(t.port, "six.example.com"), nothing);
    assert.equal((await ask(t.port, "zero.example.com")).data, ["A 10.60.0.12 0"]);
    assert.equal((await ask(t.port, "long.example.com")).data, [`A 10.60.0.12 ${2 ** 31 - 1}`]);
    for (const name of ["www.shop.example.com", "example.com", "com", "example.org"])
      assert.equal(await ask(t.port, name), refused);
  },
);

unbound(
  "B2: records change without a restart: what is new is there, what is gone is refused, children are their own",
  async (t) => {
    const server = t.make();
    await server.start();
    const { pid } = server;
    const parent: DnsRecord = { name: "example.com", type: "A", address: "10.60.0.1" };
    await server.set([shop, parent]);
    await server.set([{ ...shop, address: "10.60.0.20" }]);
    assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.20 60"]);
    assert.equal(await ask(t.port, "example.com"), refused);
    await server.set([parent], { keep: true });
    assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.20 60"]);
    await server.set([shop]);
    assert.equal(await ask(t.port, "example.com"), refused);
    assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.10 60"]);
    await server.set([]);
    assert.equal(await ask(t.port, "shop.example.com"), refused);
    assert.is(server.pid, pid);
  },
);

unbound("B2: hundreds of names at once, and one more than an answer holds is refused with the name", async (t) => {
  const server = t.make();
  await server.start();
  const many = Array.from({ length: 2000 }, (_, i): DnsRecord => {
    return { name: `app${i}.example.com`, type: "A", address: `10.61.${i >> 8}.${i & 255}` };
  });
  await server.set(many);
  assert.equal((await ask(t.port, "app1999.example.com")).data, [`A 10.61.7.207 ${defaultTtl}`]);
  const crowd = Array.from({ length: 64 }, (_, i): DnsRecord => ({ ...shop, address: `10.60.1.${i}` }));
  try {
    await server.set([...many, ...crowd]);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, Problem);
    assert.match((error as Problem).detail, "shop.example.com has 64 records of type A");
  }
  assert.equal(await ask(t.port, "shop.example.com"), refused);
  assert.equal((await ask(t.port, "app0.example.com")).data, [`A 10.61.0.0 ${defaultTtl}`]);
});

unbound("B2: it is killed: another begins with the same records, and takes changes again", async (t) => {
  const server = t.make();
  await server.start();
  await server.set([shop]);
  const first = server.pid!;
  process.kill(first, "SIGKILL");
  await until("another", () => server.pid !== undefined && server.pid !== first);
  assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.10 60"]);
  await until("changes", () =>
    server.set([{ ...shop, address: "10.60.0.30" }]).then(
      () => true,
      () => false,
    ),
  );
  assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.30 60"]);
});

unbound("B2: while it is not there a change is refused, and nothing of it comes later", async (t) => {
  const server = t.make();
  await server.start();
  await server.set([shop]);
  const first = server.pid!;
  process.kill(first, "SIGSTOP");
  const change = server.set([{ ...shop, address: "10.60.0.66" }]);
  process.kill(first, "SIGKILL");
  await change.then(
    () => assert.unreachable(),
    (error: unknown) => assert.instance(error, Problem),
  );
  await until("another", () => server.pid !== undefined && server.pid !== first);
  assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.10 60"]);
  assert.not.match(readFileSync(join(t.directory, "dns", "records.conf"), "utf8"), "10.60.0.66");
});

/** A name server of an agent that has been killed. Returns its pid. */
async function leftBehind({ directory, port }: Context): Promise<number> {
  const script = fileURLToPath(new URL("mortal.ts", import.meta.url));
  const agent = spawn(process.execPath, ["--import", "tsx", script, join(directory, "dns"), String(port)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [said] = (await once(agent.stdout, "data")) as [Buffer];
    return Number(said.toString());
  } finally {
    const gone = once(agent, "exit");
    agent.kill("SIGKILL");
    await gone;
  }
}

unbound("B2: the agent is killed: it goes on answering, and the next run adopts it, records and all", async (t) => {
  const left = await leftBehind(t);
  assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.10 60"]);
  const server = t.make();
  await server.start();
  assert.is(server.pid, left);
  assert.equal(server.names, ["shop.example.com"]);
  await server.set([shop, { ...shop, name: "b.example.com" }]);
  assert.equal((await ask(t.port, "b.example.com")).data, ["A 10.60.0.10 60"]);
  // Nobody's child: that it has ended is found out all the same.
  process.kill(left, "SIGKILL");
  await until("another", () => server.pid !== undefined && server.pid !== left);
  assert.equal((await ask(t.port, "b.example.com")).data, ["A 10.60.0.10 60"]);
});

unbound("B2: with another configuration the next run makes its own, which begins with the same records", async (t) => {
  const left = await leftBehind(t);
  const server = t.make({ upstream: ["127.0.0.9"] });
  await server.start();
  assert.ok(server.pid !== undefined && server.pid !== left);
  assert.equal(server.names, ["shop.example.com"]);
  assert.equal((await ask(t.port, "shop.example.com")).data, ["A 10.60.0.10 60"]);
});

unbound("B2: one that cannot begin says why", async (t) => {
  const taken = createSocket("udp4");
  await new Promise<void>((resolve) => taken.bind(0, "127.0.0.1", resolve));
  try {
    const server = t.make({ port: taken.address().port });
    await server.start().then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, /ddress already in use/),
    );
  } finally {
    taken.close();
  }
});

unbound.run();
