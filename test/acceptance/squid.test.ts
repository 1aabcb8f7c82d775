/**
 * Does an unmodified Squid, installed as an app, answer phones in the place of a slow origin (A22, 002 §V)?
 *
 * Real peers (sgsnemu, osmo-ggsn), Debian's Squid from docs/examples/squid, everything by `offramp app` and Mp1 over TLS; one lab
 * for the whole file, the sentences follow each other. Round trips are printed; nothing depends on them.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { App, answered, installCache, logged, offramp, page, platform } from "../lab/cache.ts";
import type { HttpAnswer } from "../lab/client.ts";
import { internet, siteAddress, type Ue } from "../lab/lab.ts";
import { type Process, until } from "../lab/netns.ts";
import { pattern, sha256 } from "../lab/pattern.ts";
import { Scene, telling } from "./scene.ts";

const test = suite("Squid as an app");
let scene: Scene;
let ue: Ue;
let neighbour: Ue;
let app: App;
const bytes = 100_000;

const fetched = (seed: number, phone = ue, address?: string): Promise<HttpAnswer> =>
  scene.lab.phoneHttp(phone, page(seed, bytes, address), { timeoutMs: 30_000 });
const digest = (seed: number): string => sha256(pattern(bytes, seed));
const print = (what: string, { ms }: HttpAnswer): unknown => process.stdout.write(`${what}: ${ms.toFixed(1)} ms\n`);

/** From the origin, whole, which saw the phone itself; nobody in between. */
function isOrigins({ status, server, client, cache, sha256: found }: HttpAnswer, seed: number, phone = ue): void {
  assert.equal([status, server, client, cache], [200, "internet", phone.ip, ""]);
  assert.is(found, digest(seed));
}

/** By way of the cache, whole; the origin saw the appliance. */
function isCached({ status, server, client, cache, sha256: found }: HttpAnswer, seed: number, what: string): void {
  assert.equal([status, server, client, cache], [200, "internet", siteAddress, `${what} from edge-cache`]);
  assert.is(found, digest(seed));
}

interface Download {
  curl: Process;
  file: string;
  headers: string;
}

/** A download at the speed of a bad radio link, 400 kB/s; it has begun when this resolves. */
async function download(seed: number, octets: number): Promise<Download> {
  const file = join(scene.lab.machines.directory, `download-${seed}`);
  const limits = ["--limit-rate", "400k", "-m", "400"];
  const argv = ["curl", "-sS", ...limits, "-D", `${file}.headers`, "-o", file, page(seed, octets)];
  const curl = scene.lab.machines.start("ue0", "download", argv);
  const headers = await until(
    "the download to begin",
    () => {
      if (curl.code !== undefined) throw new Error(`curl ended with ${curl.code}: ${curl.log}`);
      if (!existsSync(file)) return undefined;
      return statSync(file).size > 0 && readFileSync(`${file}.headers`, "utf8");
    },
    30_000,
  );
  return { curl, file, headers };
}

const state = async (id: string): Promise<string> => {
  const shown = JSON.parse(await offramp(scene.appliance, "app", "show", id, "--json"));
  return shown.instantiatedAppState?.operationalState ?? shown.instantiationState;
};

/** Process id of the instance's program, as the appliance has it. */
function pidOf(id: string): number {
  const file = join(scene.lab.machines.directory, "state/apps/instances.json");
  const { instances } = JSON.parse(readFileSync(file, "utf8")) as { instances: { id: string; pid: number }[] };
  return instances.find((one) => one.id === id)?.pid ?? assert.unreachable(`no ${id}`) ?? 0;
}

async function begin(id: string): Promise<void> {
  app = await App.as(scene.lab, scene.appliance, id);
  // What it has not said yet, nobody holds against it.
  assert.is((await app.ask("GET", "/traffic_rules")).status, 403);
  assert.is((await app.ask("POST", "/confirm_ready", { indication: "READY" })).status, 204);
  const { body } = await app.ask("GET", "/traffic_rules");
  assert.equal(
    body.map((rule: { trafficRuleId: string; state: string }) => [rule.trafficRuleId, rule.state]),
    [["web", "INACTIVE"]],
  );
}

test.before(async () => {
  const extra = { mep: platform };
  scene = await Scene.open({ ues: 2, egress: true, internetDistanceMs: 15, site: { extra }, start: false });
  try {
    await scene.appliance.start();
    ue = await scene.lab.attach(0);
    neighbour = await scene.lab.attach(1);
  } catch (error) {
    scene.complain();
    throw error;
  }
});

test.after(async () => {
  await scene?.close();
});

const told = (body: () => Promise<void>) => telling(() => scene, body);

test(
  "A22: before, pages come from the slow origin, byte by byte, and it sees the phones",
  told(async () => {
    for (const phone of [ue, neighbour]) {
      const answer = await fetched(1, phone);
      isOrigins(answer, 1, phone);
      print("from the origin", answer);
    }
  }),
);

test(
  "A22, B7: with Squid installed and running, its rule INACTIVE, nothing is different",
  told(async () => {
    await installCache(scene.lab, scene.appliance, "cache-1");
    assert.is(await state("cache-1"), "STARTED");
    isOrigins(await fetched(1), 1);
    await begin("cache-1");
    isOrigins(await fetched(1), 1);
    assert.is(await logged(scene.appliance, "cache-1", "TCP_MISS"), 0);
  }),
);

test(
  "A22, B3, B5: with the rule ACTIVE by the app's own token, the first fetch is a miss, the others hits that the origin never sees",
  told(async () => {
    const { appliance, lab } = scene;
    const early = await download(2, 2_000_000);
    assert.not.match(early.headers, /x-cache/i);
    assert.is(await app.put("web", "ACTIVE"), 200);

    const before = await answered(lab, ue);
    const first = await fetched(1);
    isCached(first, 1, "MISS");
    print("through the cache, first", first);
    assert.is(await answered(lab, ue), before + 2, "the miss, and the question itself");
    for (const phone of [ue, ue, neighbour]) {
      const again = await fetched(1, phone);
      isCached(again, 1, "HIT");
      print("through the cache, again", again);
    }
    assert.is(await answered(lab, ue), before + 3, "the question itself, and no hit");
    isCached(await fetched(1, ue, internet.other), 1, "MISS");
    const { text } = await lab.phoneHttp(ue, `http://${internet.other}/`);
    const { client, forwardedFor } = JSON.parse(text) as Record<string, string>;
    assert.equal([client, forwardedFor], [siteAddress, ue.ip], "the phone's address is in X-Forwarded-For");
    await until(
      "Squid's log to say the same",
      async () => (await logged(appliance, "cache-1", "TCP_MISS")) === 3,
      60_000,
    );
    assert.is(await logged(appliance, "cache-1", "TCP_MEM_HIT"), 3);
    const { body } = await app.ask("GET", "/traffic_rules/web/counters");
    assert.ok(body.uplink.packets > 0 && body.downlink.bytes > 4 * bytes, JSON.stringify(body));

    // What had begun before stays where it is.
    assert.is(await early.curl.ended, 0, early.curl.log);
    assert.is(sha256(readFileSync(early.file)), sha256(pattern(2_000_000, 2)));
  }),
);

test(
  "A22: other ports and protocols of the same origins are untouched, with the phone's own address",
  told(async () => {
    const { lab } = scene;
    for (const address of [internet.www, internet.other]) {
      const other = await lab.phoneHttp(ue, `http://${address}:8080/data?bytes=${bytes}&seed=1`);
      isOrigins(other, 1);
      const udp = await lab.phoneUdp(ue, address);
      assert.equal([udp.server, udp.client], ["internet", ue.ip]);
      const tcp = await lab.phoneTcp(ue, address);
      assert.ok(tcp.greeting.startsWith(`internet ${ue.ip} `), tcp.greeting);
      await tcp.close();
      assert.is((await lab.phonePing(ue, address)).received, 1);
    }
  }),
);

test(
  "A22, B3: put INACTIVE, the origin answers again; what runs through the cache runs to its end",
  told(async () => {
    const late = await download(3, 2_000_000);
    assert.match(late.headers, /x-cache: MISS/i);
    assert.is(await app.put("web", "INACTIVE"), 200);
    isOrigins(await fetched(1), 1);
    assert.is(await late.curl.ended, 0, late.curl.log);
    assert.is(sha256(readFileSync(late.file)), sha256(pattern(2_000_000, 3)));
  }),
);

test(
  "A22, B8: terminated, the next connection goes to the origin, and those to Squid end instead of waiting",
  told(async () => {
    assert.is(await app.put("web", "ACTIVE"), 200);
    isCached(await fetched(1), 1, "HIT");
    const cut = await download(4, 40_000_000);
    assert.match(cut.headers, /x-cache: MISS/i);
    await offramp(scene.appliance, "app", "terminate", "cache-1");
    isOrigins(await fetched(1), 1);
    isOrigins(await fetched(1, neighbour), 1, neighbour);
    await until("the download to end", () => cut.curl.code !== undefined, 300_000);
    // curl's "transfer closed" or "connection reset", not its time limit.
    assert.ok([18, 56].includes(cut.curl.code ?? 0), `${cut.curl.code} ${cut.curl.log}`);
    assert.is(await state("cache-1"), "NOT_INSTANTIATED");
    await offramp(scene.appliance, "app", "rm", "cache-1");
  }),
);

test(
  "A22, B7: killed with SIGKILL, Squid takes its rule with it: phones get the origin; started again, it serves again",
  told(async () => {
    const { appliance, lab } = scene;
    await offramp(appliance, "app", "create", "squid-cache", "--id", "cache-2");
    await offramp(appliance, "app", "start", "cache-2");
    await begin("cache-2");
    assert.is(await app.put("web", "ACTIVE"), 200);
    isCached(await fetched(1), 1, "MISS");
    process.kill(pidOf("cache-2"), "SIGKILL");
    const killed = Date.now();
    // Meanwhile connections are refused.
    const next = () => fetched(1).catch(() => undefined);
    const after = await until(
      "the origin to answer",
      async () => {
        const answer = await next();
        return answer?.cache === "" && answer;
      },
      120_000,
    );
    isOrigins(after, 1);
    process.stdout.write(`the origin answers ${Date.now() - killed} ms after the kill\n`);
    await until("the instance to be STOPPED", async () => (await state("cache-2")) === "STOPPED", 60_000);
    await offramp(appliance, "app", "start", "cache-2");
    await begin("cache-2");
    assert.is(await app.put("web", "ACTIVE"), 200);
    const before = await answered(lab, ue);
    isCached(await fetched(1), 1, "MISS");
    isCached(await fetched(1), 1, "HIT");
    assert.is(await answered(lab, ue), before + 2);
    await offramp(appliance, "app", "rm", "cache-2", "--force");
    isOrigins(await fetched(1), 1);
  }),
);

test.run();
