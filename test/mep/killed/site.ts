/**
 * How does a test kill the whole `offramp run` at a step of one request, start it again, and look at what became of it?
 *
 *   record: which steps does the request take ─▶ for some of them: die there ─▶ start ─▶ what was under way ends ─▶ look ─▶ undo
 *
 * The real process with real programs, Unbound, podman and stores, in a network namespace of its own. Which steps are tried is
 * drawn with a seed, spread over the request; OFFRAMP_SEED is another one, and OFFRAMP_KILLS=all tries each step.
 */
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { ip } from "../../ebpf/namespace.ts";
import { state as directory, makeSite } from "../../ebpf/site.ts";
import { until } from "../../lab/netns.ts";
import { Fate, Victim } from "../../mortal.ts";
import { faultsOf } from "./whole.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const management = "http://127.0.0.1:8090";
const mp1 = "http://10.60.0.1:8091";
const minutes = 60_000;

export interface Reply {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was answered
  body: any;
}

const good = (reply: Reply | undefined): boolean => reply !== undefined && reply.status >= 200 && reply.status < 300;

/** Undefined: the process died before it answered. */
async function send(url: string, init: RequestInit): Promise<Reply | undefined> {
  try {
    const response = await fetch(url, init);
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : undefined };
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

const json = (body: unknown) =>
  body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };

/** Something that is asked of the platform, and may be cut off. */
export interface Act {
  what: string;
  /** At how many of its steps it is killed. */
  kills: number;
  /** Undefined: not answered. */
  act(): Promise<Reply | undefined>;
  /** Its effect is there, whole. @throws when it is there by half */
  done(): Promise<boolean>;
  undo(): Promise<void>;
}

export class Site {
  readonly stateDir = join(directory, "state");
  readonly config = join(directory, "site.yaml");
  readonly fate = new Fate(join(directory, "fate"));
  readonly #tokens = new Map<string, string>();
  #victim: Victim | undefined;
  /** How often it was killed. */
  deaths = 0;

  /** Call inside the test's namespace. */
  static async make(): Promise<Site> {
    execFileSync(join(root, "bin/build"), { stdio: "ignore" });
    makeSite();
    ip("address add 10.60.0.1/24 dev apps0");
    const site = new Site();
    writeFileSync(
      site.config,
      `site: { name: killed, stateDir: ${site.stateDir} }
dataplanes: [{ name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16] }]
limits: { sessions: 1024, flows: 4096, rules: 64 }
apps: { interface: apps0, address: 10.60.0.1/24 }
mep:
  mp1: { listen: 10.60.0.1:8091, insecure: true }
  dns: { listen: 10.60.0.1:53, upstream: [203.0.113.53] }
  apps: { tof: 10.61.0.0/24, platform: 10.62.0.0/24 }
`,
    );
    await site.start();
    return site;
  }

  get dead(): boolean {
    return this.#victim?.ended ?? true;
  }

  async start(): Promise<void> {
    this.fate.never();
    this.#victim = new Victim("dist/test/mep/killed/mortal-run.js", this.config, this.fate.file);
    await this.#victim.says('"msg":"ready"');
    assert.not(this.dead, this.#victim.log.slice(-4000));
  }

  async kill(): Promise<void> {
    await this.#victim?.end("SIGKILL");
  }

  /** What it has said since it was started. */
  get log(): string {
    return this.#victim?.log ?? "";
  }

  call(method: string, path: string, body?: unknown): Promise<Reply | undefined> {
    return send(management + path, { method, ...json(body) });
  }

  upload(path: string, zip: Buffer): Promise<Reply | undefined> {
    const headers = { "content-type": "application/zip" };
    return send(`${management}${path}/package_content`, { method: "PUT", body: new Uint8Array(zip), headers });
  }

  /** @throws unless it is answered 2xx */
  async must(method: string, path: string, body?: unknown): Promise<Reply["body"]> {
    const reply = await this.call(method, path, body);
    assert.ok(good(reply), `${method} ${path}: ${JSON.stringify(reply)}\n${this.log.slice(-3000)}`);
    return reply?.body;
  }

  async #token(instance: string): Promise<string> {
    const { clientId, clientSecret } = await this.must("POST", `/api/v1/clients/${instance}/secret`);
    const form = { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
    const reply = await send(`${mp1}/oauth2/token`, { method: "POST", body: new URLSearchParams(form) });
    assert.is(reply?.status, 200);
    return reply?.body.access_token;
  }

  /** Before a request of the instance that may be cut off. */
  async prove(instance: string): Promise<void> {
    this.#tokens.set(instance, await this.#token(instance));
  }

  /** As the instance, which has proved itself. */
  app(instance: string, method: string, path: string, body?: unknown): Promise<Reply | undefined> {
    const init = json(body);
    const headers = { ...init.headers, authorization: `Bearer ${this.#tokens.get(instance)}` };
    return send(mp1 + path, { method, ...init, headers });
  }

  /** Everything that was under way has ended; states of operations, oldest first. Or it has died. */
  async settled(): Promise<{ lcmOperation: string; operationState: string }[]> {
    return until(
      "operations to end",
      async () => {
        const reply = await this.call("GET", "/app_lcm/v1/app_lcm_op_occs");
        if (reply === undefined) return this.dead ? [] : undefined;
        const all = reply.body as { lcmOperation: string; operationState: string }[];
        return all.every(({ operationState }) => !operationState.endsWith("ING")) && all;
      },
      4 * minutes,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log.slice(-4000)}`);
    });
  }

  /** What is wrong with the whole. */
  async faults(): Promise<string[]> {
    const faults = faultsOf(this.stateDir, await this.must("GET", "/test/steering"));
    const { agrees, differences } = await this.must("GET", "/api/v1/deployed");
    if (!agrees) faults.push(`the kernel: ${JSON.stringify(differences)}`);
    const audit = await this.must("GET", "/api/v1/audit/verify");
    if (audit.fault !== undefined) faults.push(`the audit log: ${audit.fault}`);
    return faults;
  }

  /** Whole, also when it takes a moment (a program that was started anew). */
  async whole(told: string): Promise<void> {
    let faults: string[] = [];
    const look = async () => {
      faults = await this.faults();
      return faults.length === 0;
    };
    await until("it to be whole", look, minutes, 200).catch(() => undefined);
    assert.equal(faults, [], `${told}\n${faults.join("\n")}\n${this.log.slice(-6000)}`);
  }

  /** Kills it at steps of the act, and looks each time; then the act is done. */
  async trial(act: Act): Promise<void> {
    const perform = async () => {
      const reply = await act.act();
      const ended = await this.settled();
      return { reply, ended };
    };
    const undo = async (told: string) => {
      await act.undo();
      await this.settled();
      assert.not(await act.done(), `${told}: undone`);
    };
    this.fate.record();
    const first = await perform();
    assert.ok(good(first.reply), `${act.what}: ${JSON.stringify(first)}`);
    this.fate.never();
    const steps = this.fate.recorded();
    assert.ok(steps.length > 0 && (await act.done()), `${act.what}: ${steps.length} steps`);
    await undo(act.what);
    for (const place of sample(steps.length, act.kills)) {
      this.fate.at("*", place + 1);
      const { reply } = await perform();
      const told = `${act.what}, to be killed at ${steps[place]} (${place + 1} of ${steps.length}), answered ${reply?.status}`;
      if (this.dead) {
        this.deaths += 1;
        await this.start();
      } else this.fate.never();
      const ended = await this.settled();
      const done = await act.done();
      await this.whole(told);
      if (reply) assert.ok(good(reply), `${told}: ${JSON.stringify(reply.body)}`);
      const last = ended.at(-1)?.operationState;
      if (reply?.status === 202 && last !== undefined && last !== "COMPLETED") {
        assert.ok(last === "FAILED_TEMP" || last === "FAILED", `${told}: ${last}`);
        assert.not(done, `${told}: ${last}, and done`);
      } else if (reply) assert.ok(done, `${told}: it is not there`);
      if (done) await undo(told);
    }
    const { reply } = await perform();
    assert.ok(good(reply) && (await act.done()), `${act.what}, at last: ${JSON.stringify(reply)}`);
  }

  /** Nothing of it runs or steers any more. */
  async close(): Promise<void> {
    await Victim.killAll();
    const down = new Victim("dist/mep/cli/main.js", "down", "--config", this.config, "--unwire");
    await down.end();
    rmSync(this.stateDir, { recursive: true, force: true });
  }
}

/** As many places, spread over the steps; in each stretch one is drawn. */
function sample(steps: number, kills: number): number[] {
  if (process.env.OFFRAMP_KILLS === "all" || kills >= steps) return [...Array(steps).keys()];
  return [...Array(kills).keys()].map((at) => Math.floor(((at + draw()) * steps) / kills));
}

let seed = Number(process.env.OFFRAMP_SEED ?? 4);

/** 0 … 1, the same with the same seed (a linear congruential generator, modulus 2^32). */
export function draw(): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed / 2 ** 32;
}
