/**
 * What must happen to a frame from the core?
 *
 * It passes untouched, but for the core's answers to our own pings, and what core.ts finds a rule for.
 */
import { treatDownlink } from "./core.ts";
import type { Oracle } from "./flow.ts";
import {
  endMarker,
  errorIndication,
  halfOf,
  isOwn,
  keyOf,
  learnDownlink,
  type Proof,
  refreshDownlink,
} from "./learn.ts";
import { type Packet, readOuter } from "./read.ts";
import type { Outcome, State } from "./state.ts";

/** Our echo requests carry cookie, session and epoch; the highest bit of the sequence says: through the claim. */
function pingAnswer(state: State, p: Packet): Proof {
  const { pinger } = state.config;
  const target = p.innerVersion === 6 ? pinger?.target6 : pinger?.target4;
  if (!pinger || !target || target !== p.remote) return "none";
  const { frame, inner } = p;
  const v4 = p.innerVersion === 4;
  const icmp = inner + (v4 ? 20 : 40);
  if (frame.length < icmp + 24) return "none";
  if (
    v4
      ? frame[inner] !== 0x45 || frame[inner + 9] !== 1 || frame[icmp] !== 0
      : frame[inner + 6] !== 58 || frame[icmp] !== 129
  ) {
    return "none";
  }
  const view = new DataView(frame.buffer, frame.byteOffset);
  if (view.getUint16(icmp + 4) !== pinger.id) return "none";
  if (Buffer.compare(frame.subarray(icmp + 8, icmp + 16), pinger.cookie) !== 0) return "none";
  const index = view.getUint32(icmp + 16, true);
  const epoch = view.getUint32(icmp + 20, true);
  const session = [...state.sessions.values()].find((candidate) => candidate.index === index);
  if (session?.epoch !== epoch) return "own";
  return (frame[icmp + 6] ?? 0) & 0x80 ? "claim" : "own";
}

export function downlink(state: State, frame: Uint8Array, oracle: Oracle): Outcome {
  const asIs = (counter: string): Outcome => ({ verdict: "redirect", frame, counter });
  if (state.config.mode === "bypass") return asIs("pass_bypass");
  const read = readOuter(frame, false);
  if (typeof read === "string") return asIs(read);
  const p = read.packet;
  if (read.found === "control") {
    if (p.message === 26) return asIs(errorIndication(state, p, false).counter);
    if (p.message === 254) endMarker(state, p);
    return asIs("pass_gtpu_control");
  }
  if (read.found === "fragment" || p.fragment === "first") return asIs("pass_outer_fragment");
  if (p.innerVersion === 0) return asIs("pass_downlink");
  const proof = pingAnswer(state, p);
  const t = state.tunnels.get(keyOf(p, false));
  let counter = "pass_downlink";
  let stale = false;
  const half = t && t.peer === p.source && isOwn(t, p) ? halfOf(t, p) : undefined;
  if (t && half) {
    t.lastSeen = ++state.clock;
    stale = refreshDownlink(state, p, t, proof);
  } else {
    counter = learnDownlink(state, p, proof);
  }
  // On a stale tunnel the answer goes on: if the base station refuses it, the core learns the truth.
  if (proof !== "none" && !stale) return { verdict: "drop", frame, counter: "drop_pinger_answer" };
  if (proof === "none" && counter === "pass_downlink") {
    const own = half ? { session: half.session, bearer: half.session.bearers[half.slot] } : "new";
    const treated = treatDownlink(state, p, own, oracle);
    if (treated) return treated;
  }
  return asIs(counter);
}
