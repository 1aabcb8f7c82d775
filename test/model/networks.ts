/**
 * Do the programs and the reference model agree on network after network?
 *
 * Small networks: each begins with nothing learnt and sees some hundred generated frames, a third of them spoilt. Every
 * frame goes through the real programs (BPF_PROG_TEST_RUN) and through the model; verdict, octets and counter must be the
 * same, and so must all counters and what was learnt of each session at the end of each network.
 */
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { get16 } from "../packets/bytes.ts";
import { diff } from "../packets/diff.ts";
import { describe } from "../packets/parse.ts";
import { type Random, random } from "../packets/prng.ts";
import { Bench } from "./bench.ts";
import type { Sent } from "./generate.ts";
import { model } from "./model.ts";
import { directedRules, rules as plainRules, population, type Ue, widerRules } from "./population.ts";
import { type ModelConfig, newState, type State } from "./state.ts";

/** What the networks are like. */
export interface Variant {
  config(r: Random): ModelConfig;
  generate(r: Random, ues: readonly Ue[], taken: readonly Uint8Array[]): Sent[];
}

const framesPerNetwork = 600;
/** Compare all counters and sessions after every frame: slow, but names the frame. */
const strict = process.env.OFFRAMP_STRICT === "1";
/* How often an event or a capture was lost depends on nobody reading the ring here. */
const unread = new Set(["note_event_lost", "note_capture_lost"]);

/** Counters that differ, in words. */
function offCounters(bench: Bench, state: State): string[] {
  const now = bench.counts();
  const names = [...new Set([...now.keys(), ...state.counters.keys()])];
  return names
    .filter((name) => !unread.has(name) && (now.get(name) ?? 0) !== (state.counters.get(name) ?? 0))
    .map((name) => `${name} model ${state.counters.get(name) ?? 0} programs ${now.get(name) ?? 0}`);
}

/** Sessions that differ, in words: what was learnt, though no frame may have shown it yet. */
function offSessions(bench: Bench, state: State): string[] {
  const off: string[] = [];
  const at = (name: string, key: number | Uint8Array) => bench.object.map(name).lookup(key) ?? new Uint8Array(1024);
  const hex = (octets: Uint8Array) => Buffer.from(octets).toString("hex");
  for (const s of state.sessions.values()) {
    const known = layout.session.decode(at("sessions", s.index));
    const bit = (flag: number) => (known.flags & flag) !== 0;
    const bearers = (bearer: (slot: number) => string) => [0, 1, 2, 3, 4].map(bearer).join(" ");
    const line = (parts: unknown[]) => parts.join(", ");
    const programs = line([
      hex(known.ue),
      hex(known.base_station),
      hex(known.gateway),
      bit(c.SESSION_UPLINK),
      bit(c.SESSION_HOLD),
      bit(c.SESSION_MOVING),
      bit(c.SESSION_CANDIDATE),
      known.flows,
      bearers((slot) => {
        const b = layout.bearer.decode(at("bearers", s.index * c.BEARER_SLOTS + slot));
        return b.state === c.BEARER_FREE
          ? "-"
          : `${["free", "live", "stale", "draining"][b.state]}/${b.epoch === known.epoch}/${hex(b.key.endpoint)}/${b.key.teid}/${b.pair_teid}`;
      }),
    ]);
    const model = line([
      s.ue,
      s.baseStation,
      s.gateway,
      s.uplink,
      s.hold,
      s.moving,
      s.candidate,
      s.flows,
      bearers((slot) => {
        const b = s.bearers[slot];
        const [endpoint, teid] = b?.key.split("/") ?? [];
        return b === undefined ? "-" : `${b.state}/${b.epoch === s.epoch}/${endpoint}/${teid}/${b.pairTeid}`;
      }),
    ]);
    if (model !== programs) off.push(`session ${s.index}\n  model    ${model}\n  programs ${programs}`);
  }
  return off;
}

/** Could an app answer it: no tag, no tunnel? */
const isPlain = (frame: Uint8Array) => {
  const type = get16(frame, 12);
  return (type === 0x0800 && frame[23] !== 47) || (type === 0x86dd && frame[20] !== 47);
};

/** Undefined when both agree, else what each of them says. */
function compare(bench: Bench, state: State, { port, frame }: Sent, taken: Uint8Array[]): string | undefined {
  const ran = bench.run(port, frame);
  let outcome: ReturnType<typeof model>;
  try {
    const rose = (name: string) => bench.count(name) > (state.counters.get(name) ?? 0);
    outcome = model(state, port, frame, ran.frame, rose);
  } catch (error) {
    return `the model: ${error instanceof Error ? error.message : error}\nprograms: ${ran.verdict}\n${describe(ran.frame)}`;
  }
  if (outcome.or) {
    const chosen = ran.verdict === outcome.or.verdict ? outcome.or : outcome;
    outcome = { ...outcome, ...chosen, or: undefined };
    state.counters.set(outcome.counter, (state.counters.get(outcome.counter) ?? 0) + 1);
  }
  if (/^take_(uplink|routed|dns)$/.test(outcome.counter) && isPlain(ran.frame)) {
    taken.push(ran.frame);
    if (taken.length > 12) taken.shift();
  }
  const counted = bench.count(outcome.counter);
  const expected = state.counters.get(outcome.counter) ?? 0;
  const problems: string[] = [];
  if (ran.verdict !== outcome.verdict) problems.push(`verdict: model ${outcome.verdict}, programs ${ran.verdict}`);
  if (counted !== expected || strict) {
    const off = offCounters(bench, state);
    if (off.length > 0) problems.push(`counters: model says ${outcome.counter}; differ: ${off.join(", ")}`);
  }
  if (outcome.verdict !== "drop" && ran.verdict !== "drop") {
    const lines = diff(outcome.frame, ran.frame);
    if (lines.length > 0) {
      problems.push(
        "octets (model -> programs):",
        ...lines,
        "model:",
        describe(outcome.frame),
        "programs:",
        describe(ran.frame),
      );
    }
  }
  return problems.length > 0 ? problems.join("\n") : undefined;
}

function network(bench: Bench, r: Random, frames: number, { config, generate }: Variant): void {
  const setting = config(r);
  const ues = population(r);
  const all = [...(r.oneIn(2) ? [] : widerRules), ...plainRules];
  const directed = directedRules(r);
  const place = r.below(3);
  const offered = place === 0 ? all : place === 1 ? [...directed, ...all] : [...all, ...directed];
  let rules = offered;
  bench.reset();
  bench.configure(setting);
  bench.setRules(rules);
  const state = newState(setting, rules);
  state.generation = bench.generation;
  for (const [name, n] of bench.counts()) state.counters.set(name, n);
  const taken: Uint8Array[] = [];
  for (let n = 0; n < frames; ) {
    if (r.oneIn(200)) {
      if (process.env.OFFRAMP_TRACE) console.log(`${n} new generation`);
      // A new generation, mostly of the same rules, re-decides flows that are not taken.
      rules = r.oneIn(2) ? offered : offered.filter(() => !r.oneIn(6));
      bench.setRules(rules);
      state.rules = rules;
      state.generation = bench.generation;
    }
    for (const sent of generate(r, ues, taken)) {
      n++;
      if (process.env.OFFRAMP_TRACE) console.log(`${n} ${sent.port} ${describe(sent.frame).replace(/\n\s*/g, " | ")}`);
      let problem = compare(bench, state, sent, taken);
      if (!problem && strict) problem = offSessions(bench, state).join("\n");
      if (problem) {
        throw new Error(`frame ${n} at ${sent.port}\n${describe(sent.frame)}\n${problem}`);
      }
    }
  }
  const off = offCounters(bench, state);
  if (off.length > 0)
    throw new Error(`counters at the end of the network (OFFRAMP_STRICT=1 says where): ${off.join(", ")}`);
  const sessions = offSessions(bench, state);
  if (sessions.length > 0) throw new Error(`sessions at the end of the network:\n${sessions.join("\n")}`);
}

/** Runs so many frames. @throws Error at the first that programs and model do not agree on. */
export function agree(wanted: number, variant: Variant): void {
  const first = random().seed;
  console.log(`seed ${first}; repeat with OFFRAMP_SEED`);
  const bench = new Bench(variant.config(random(1)), plainRules);
  try {
    const networks = Math.ceil(wanted / framesPerNetwork);
    const only = process.env.OFFRAMP_NETWORK;
    for (let i = Number(only ?? 0); i < (only === undefined ? networks : Number(only) + 1); i++) {
      const seed = first * 1_000_003 + i;
      try {
        network(bench, random(seed), framesPerNetwork, variant);
      } catch (error) {
        throw new Error(`network ${i} (seed ${seed}): ${error instanceof Error ? error.message : error}`, {
          cause: error,
        });
      }
    }
    console.log([...bench.counts()].map(([name, n]) => `${name} ${n}`).join(", "));
  } finally {
    bench.close();
  }
}
