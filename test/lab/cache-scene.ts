/**
 * What does an app of the platform change for a phone, shown and measured (002 §V)?
 *
 * Debian's Squid, unmodified, as a package: fetched without it, then with it for the first time, then again. Then it is killed, and
 * ended. Every line that begins with `ok` was compared with what it has to be.
 */
import type { Appliance } from "./appliance.ts";
import { App, answered, installCache, logged, offramp, page } from "./cache.ts";
import type { HttpAnswer } from "./client.ts";
import { internet, type Lab, siteAddress, type Ue } from "./lab.ts";
import { until } from "./netns.ts";
import { pattern, sha256 } from "./pattern.ts";

/** Octets of the pages, as different as pages are. */
const sizes = [2_000, 20_000, 100_000, 250_000, 400_000];
const id = "cache-1";

export interface CacheScene {
  lab: Lab;
  appliance: Appliance;
  ue: Ue;
  say: (text: string) => void;
  /** Number of the first step. */
  step: number;
}

interface Fetched {
  /** Median. */
  ms: number;
  answers: HttpAnswer[];
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** Fetches a page so often, on a connection of its own each. */
async function fetchPage({ lab, ue }: CacheScene, seed: number, times: number): Promise<Fetched> {
  const answers: HttpAnswer[] = [];
  for (let i = 0; i < times; i++) {
    answers.push(await lab.phoneHttp(ue, page(seed, sizes[seed] ?? 0), { timeoutMs: 30_000 }));
  }
  return { ms: median(answers.map(({ ms }) => ms)), answers };
}

const all = (fetched: readonly Fetched[], seen: (answer: HttpAnswer) => boolean): boolean =>
  fetched.every(({ answers }, seed) => {
    const wanted = sha256(pattern(sizes[seed] ?? 0, seed));
    return answers.every((answer) => answer.sha256 === wanted && seen(answer));
  });

const time = ({ ms }: Fetched): string => `${ms.toFixed(1)} ms`.padStart(12);

/** Steps from `step` on. Returns whether all was as it should be. */
export async function cacheScene(scene: CacheScene): Promise<boolean> {
  const { lab, appliance, ue, say } = scene;
  let { step } = scene;
  let fine = true;
  const next = (text: string): void => say(`${step++}. ${text}`);
  const check = (good: boolean, text: string): void => {
    fine &&= good;
    say(`   ${good ? "ok  " : "FAIL"} ${text}`);
  };
  const each = async (times: number): Promise<Fetched[]> => {
    const fetched: Fetched[] = [];
    for (const seed of sizes.keys()) fetched.push(await fetchPage(scene, seed, times));
    return fetched;
  };
  const fromOrigin = ({ cache, client }: HttpAnswer): boolean => cache === "" && client === ue.ip;
  const cached =
    (what: string) =>
    ({ cache, client }: HttpAnswer): boolean =>
      cache === `${what} from edge-cache` && client === siteAddress;

  next("An app: Debian's Squid, unmodified (docs/examples/squid): offramp app pack, app install");
  await installCache(lab, appliance, id);
  const before = await each(5);
  check(
    all(before, fromOrigin),
    `it runs; its rule is INACTIVE: ${sizes.length} pages from the origin, which saw ${ue.ip}`,
  );

  next("As the app, over Mp1: POST /oauth2/token, POST …/confirm_ready, PUT …/traffic_rules/web ACTIVE");
  const app = await App.as(lab, appliance, id);
  const ready = await app.ask("POST", "/confirm_ready", { indication: "READY" });
  const put = await app.put("web", "ACTIVE");
  check(ready.status === 204 && put === 200, `${ready.status}, ${put}: the kernel has the rule`);

  next("The same pages, through the cache");
  const asked = await answered(lab, ue);
  const misses = await each(1);
  const hits = await each(5);
  const seen = (await answered(lab, ue)) - asked - 1;
  say("   round trip         without    with: miss          hit");
  for (const [seed, size] of sizes.entries()) {
    const columns = [before, misses, hits].map((one) => time(one[seed] as Fetched));
    say(`   ${`${size / 1000} kB`.padEnd(11)}${columns.join(" ")}`);
  }
  const [missed, hit] = [sizes.length, 5 * sizes.length];
  check(all(misses, cached("MISS")) && all(hits, cached("HIT")), `${missed} misses, ${hit} hits, every page intact`);
  check(seen === missed, `the origin has answered ${seen} of ${missed + hit} requests, and saw ${siteAddress}`);
  const own = await until(
    "Squid's log",
    async () => {
      const found = [await logged(appliance, id, "TCP_MISS"), await logged(appliance, id, "TCP_MEM_HIT")];
      return found[0] === missed && found[1] === hit && found;
    },
    20_000,
  ).catch(() => undefined);
  check(own !== undefined, "so says Squid's own log: offramp app logs cache-1");
  const { server, client, cache } = await lab.phoneHttp(ue, `http://${internet.www}:8080/`);
  check(cache === "" && client === ue.ip, `port 8080 of the same origin: answered by ${server}, which saw ${client}`);

  next("offramp app terminate: the rule goes first, then Squid");
  await offramp(appliance, "app", "terminate", id);
  const after = [await fetchPage(scene, 0, 1)];
  check(all(after, fromOrigin), `the next page comes from the origin, ${time(after[0] as Fetched).trim()}`);
  await offramp(appliance, "app", "rm", id);
  await offramp(appliance, "app", "rm", "squid-cache");
  return fine;
}
