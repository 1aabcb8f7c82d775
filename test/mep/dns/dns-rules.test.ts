/**
 * Do active DNS rules reach the name server and the data plane, both or neither, in the order in which nobody is asked what
 * it does not know? (B2)
 *
 * The real Unbound and the real Services, on a data plane in memory that looks, at each change, at what Unbound answers.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseSite } from "../../../controlplane/config/load.ts";
import type { Problem } from "../../../controlplane/errors.ts";
import { Services } from "../../../controlplane/intents/services.ts";
import { Store } from "../../../controlplane/store/store.ts";
import { DataplaneError } from "../../../dataplane/dataplane.ts";
import { DnsRules, noNameService } from "../../../mep/dns/dns-rules.ts";
import type { DnsRecord } from "../../../mep/dns/records.ts";
import { DnsServer } from "../../../mep/dns/unbound.ts";
import { siteText } from "../../api/harness.ts";
import { MemoryDataplane } from "../../api/memory-dataplane.ts";
import { ask, freePort } from "./ask.ts";

interface Context {
  dataplane: MemoryDataplane;
  services: Services;
  server: DnsServer;
  rules: DnsRules;
  port: number;
  end(): Promise<void>;
}
const record = (name: string, address = "10.60.0.10"): DnsRecord => ({ name, type: "A", address, ttl: 60 });
const target = { server: { address: "10.60.0.1", port: 53 } };

const dns = suite<Context>("DNS rules");
dns.before.each(async (context) => {
  const directory = mkdtempSync(join(tmpdir(), "ofr-dns-"));
  const port = await freePort();
  const listen = [{ address: "127.0.0.1", port }];
  const log = pino({ level: "silent" });
  const server = new DnsServer({ directory: join(directory, "dns"), listen, upstream: [], apps: [], log });
  const store = new Store(":memory:");
  const dataplane = new MemoryDataplane(parseSite(siteText(directory)).backend);
  const services = new Services({ store, dataplane, protect: [], rules: 50 });
  const rules = new DnsRules({ server, services, target });
  const end = async () => {
    await server.stop();
    store.close();
    rmSync(directory, { recursive: true, force: true });
  };
  Object.assign(context, { dataplane, services, server, rules, port, end });
  await server.start();
  await services.start();
});
dns.after.each(({ end }) => end());

dns("B2: what is active is answered, then taken; what is no longer active is not taken, then forgotten", async (t) => {
  const { dataplane, rules, port } = t;
  const seen: string[] = [];
  dataplane.during = async () => {
    const codes = await Promise.all(["a.example", "b.example"].map(async (name) => (await ask(port, name)).code));
    seen.push(codes.join(" "));
  };
  await rules.apply([record("a.example")]);
  assert.equal(dataplane.steering.names, { names: ["a.example"], ...target });
  await rules.apply([record("b.example")]);
  assert.equal(dataplane.steering.names, { names: ["b.example"], ...target });
  assert.is((await ask(port, "a.example")).code, "REFUSED");
  await rules.apply([]);
  assert.equal(dataplane.steering.names, { names: [], ...target });
  assert.equal(seen, ["NOERROR REFUSED", "NOERROR NOERROR", "REFUSED NOERROR"]);
  dataplane.during = undefined;
});

dns(
  "B2: the data plane refuses: the name server answers what it did, and the next change starts from there",
  async (t) => {
    const { dataplane, rules, port, server } = t;
    await rules.apply([record("a.example")]);
    dataplane.refuse = new DataplaneError("no room", "names");
    await rules.apply([record("a.example", "10.60.0.66"), record("b.example")]).then(
      () => assert.unreachable(),
      (error: Error) => assert.instance(error, DataplaneError),
    );
    assert.equal((await ask(port, "a.example")).data, ["A 10.60.0.10 60"]);
    assert.equal(server.names, ["a.example"]);
    dataplane.refuse = undefined;
    assert.equal(dataplane.steering.names?.names, ["a.example"]);
    await rules.apply([record("b.example")]);
    assert.equal(dataplane.steering.names?.names, ["b.example"]);
  },
);

dns("B2: the name server refuses: the data plane takes what it did", async (t) => {
  const { dataplane, rules } = t;
  await rules.apply([record("a.example")]);
  const crowd = Array.from({ length: 64 }, (_, i) => record("b.example", `10.60.1.${i}`));
  await rules.apply(crowd).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, "b.example has 64 records"),
  );
  assert.equal(dataplane.steering.names?.names, ["a.example"]);
});

dns(
  "B2: a name server that is not up yet: nothing is taken; nothing becomes active; what was, is when it comes",
  async (t) => {
    const { dataplane, rules, server, port } = t;
    await server.stop();
    dataplane.steering.names = { names: ["left.example"], ...target };
    await rules.begin([record("a.example"), record("b.example")]);
    assert.equal(dataplane.steering.names?.names, []);
    await rules.apply([record("a.example"), record("c.example")]).then(
      () => assert.unreachable(),
      (error: Problem) => assert.is(error.code, "not-ready"),
    );
    await rules.apply([record("a.example")]);
    assert.equal(dataplane.steering.names?.names, []);
    await server.start();
    await rules.resume();
    assert.equal(dataplane.steering.names?.names, ["a.example"]);
    assert.equal((await ask(port, "a.example")).data, ["A 10.60.0.10 60"]);
    assert.is((await ask(port, "b.example")).code, "REFUSED");
  },
);

dns("B2: what was made inactive while the name server was away is forgotten when it is back", async (t) => {
  const { dataplane, rules, server, port } = t;
  await rules.apply([record("a.example"), record("b.example")]);
  await rules.pause();
  await server.stop();
  await rules.apply([record("b.example")]);
  await server.start();
  await rules.resume();
  assert.equal(dataplane.steering.names?.names, ["b.example"]);
  assert.equal(server.names, ["b.example"]);
  assert.is((await ask(port, "a.example")).code, "REFUSED");
});

dns(
  "B2: names outlive changes of services; they cost no steering of their own; changes come one after the other",
  async (t) => {
    const { dataplane, rules, services } = t;
    const applied = dataplane.applied.length;
    await Promise.all(["a", "b", "c"].map((label) => rules.apply([record(`${label}.example`)])));
    assert.equal(dataplane.steering.names?.names, ["c.example"]);
    assert.is(dataplane.applied.length, applied);
    await services.create({ name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" }, "test");
    assert.equal(dataplane.applied.at(-1)?.names?.names, ["c.example"]);
    await rules.pause();
    assert.equal(dataplane.steering.names?.names, []);
    await rules.resume();
    assert.equal(dataplane.steering.names?.names, ["c.example"]);
  },
);

dns("B2: without a name server nothing can be active", async () => {
  await noNameService.apply([]);
  await noNameService.apply([record("a.example")]).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, "mep.dns"),
  );
});

dns.run();
