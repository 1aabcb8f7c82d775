/**
 * Why does this happen to this packet, and does the program itself agree?
 *
 *   fields or frame ─▶ read ─▶ walk by the rules ──────┐
 *         └──▶ compose ─▶ the real program's own trial ─┴─▶ agrees, or differs in this
 */
import { counters } from "../../dataplane/counters.ts";
import type { Dataplane } from "../../dataplane/dataplane.ts";
import type { Steering } from "../../dataplane/steering.ts";
import type { Trial } from "../../dataplane/trial.ts";
import { composeFrame, composePacket, composePlain } from "./compose.ts";
import {
  type Decoded,
  decodeFrame,
  decodeFunction,
  decodePacket,
  decodePlain,
  type Link,
  type PacketFields,
  type Tunnel,
} from "./frame.ts";
import type { TraceStep } from "./rules.ts";
import { type Walked, walk } from "./walk.ts";

export type TraceWay = "uplink" | "downlink" | "apps";

export interface TraceRequest {
  /** Absent: found out. */
  way?: TraceWay;
  dataplane?: string;
  /** Octets in hexadecimal; with `raw` an IP packet without link layer and tunnel. */
  frame?: string;
  raw?: boolean;
  /** Instead of a frame. */
  packet?: PacketFields;
  tunnel?: Partial<Tunnel>;
  link?: Partial<Link>;
}

export interface ProgramAnswer {
  verdict: string;
  text: string;
  service?: string;
  rule?: number;
  notes: string[];
  events: string[];
  /** Where it goes. */
  leaves?: string;
  /** The frame that leaves, in hexadecimal, and what is in it. */
  frame?: string;
  tunnel?: Tunnel;
  /** Of a chain: its end of the VXLAN tunnel, and the network identifier. */
  function?: { address: string; vni: number };
  packet?: PacketFields;
}

export interface Trace {
  way: TraceWay;
  dataplane?: string;
  packet?: PacketFields;
  tunnel?: Tunnel;
  link?: Link;
  /** What was made up, because nothing is known. */
  assumed?: string;
  steps: TraceStep[];
  /** Rules that were passed over and are not among the steps. */
  others: number;
  /** `pass` to the opposite port, `take` or `route` out of the tunnel, `reply` into it, `slow` to the control plane, `drop`. */
  verdict: "pass" | "take" | "route" | "drop" | "reply" | "slow" | "chain";
  /** The name that metrics and captures have for it. */
  reason: string;
  text: string;
  detail: string[];
  program?: ProgramAnswer;
  /** Only with `program`. */
  agrees?: boolean;
  differences?: string[];
}

/** What the data plane has to offer. */
export type Tracer = Pick<Dataplane, "status" | "sessions" | "trial">;

const textOf = new Map(counters.map(({ name, text }) => [name, text]));
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex");

function verdictOf(reason: string): Trace["verdict"] {
  if (reason === "take_routed") return "route";
  return reason.split("_")[0] as Trace["verdict"];
}

const echoOf = ({ protocol, echo }: PacketFields): number => (protocol === 1 || protocol === 58 ? (echo ?? 1) : 0);

/** The packet by its ends, as a flow's key has it. */
function keyOf(way: TraceWay, packet: PacketFields) {
  const { source, destination, sourcePort = echoOf(packet), destinationPort = echoOf(packet) } = packet;
  const { protocol, dscp = 0 } = packet;
  return way === "uplink"
    ? { ue: source, uePort: sourcePort, remote: destination, remotePort: destinationPort, protocol, dscp }
    : { ue: destination, uePort: destinationPort, remote: source, remotePort: sourcePort, protocol, dscp };
}

interface Subject {
  way: TraceWay;
  dataplane: string | undefined;
  decoded: Decoded;
  frame: Uint8Array | undefined;
  assumed?: string;
}

/** A tunnel for the packet: what was given, what its UE has, or one that is made up. */
function tunnelFor(
  tracer: Tracer | undefined,
  way: "uplink" | "downlink",
  ue: string,
  given: Partial<Tunnel> | undefined,
): { tunnel: Tunnel; assumed?: string } {
  const known = tracer?.sessions({ ue, limit: 1 }).sessions[0];
  const bearer = known?.bearers.find((one) => one.direction === way && one.state !== "candidate");
  const v6 = ue.includes(":");
  const nearby = bearer ?? known?.bearers[0] ?? tracer?.sessions({ limit: 1 }).sessions[0]?.bearers[0];
  const baseStation = nearby?.baseStation ?? "198.51.100.1";
  const gateway = nearby?.gateway ?? "198.51.100.2";
  const [source, destination] = way === "uplink" ? [baseStation, gateway] : [gateway, baseStation];
  const tunnel = {
    teid: bearer?.teid ?? 1,
    source,
    destination,
    vlans: bearer?.vlans ?? [],
    ...(bearer?.qfi !== undefined && { qfi: bearer.qfi }),
    ...given,
  };
  if (bearer || (given?.source && given.destination)) return { tunnel };
  const who = v6 ? `[${ue}]` : ue;
  return { tunnel, assumed: `${who} has no ${way} tunnel that is known: as if it had just sent through this one` };
}

const isStopped = (decoded: Decoded): decoded is Extract<Decoded, { stopped: string }> => "stopped" in decoded;

/** Of a frame that was captured: which side it came from. */
function wayOf(tracer: Tracer | undefined, frame: Uint8Array, ethernet: boolean): TraceWay {
  const isUe = (address: string) => (tracer?.sessions({ ue: address, limit: 1 }).total ?? 0) > 0;
  const tunnelled = decodeFrame(frame);
  const decoded = isStopped(tunnelled) ? decodePlain(frame) : tunnelled;
  if (isStopped(decoded) || isUe(decoded.inner.source) || !isUe(decoded.inner.destination)) return "uplink";
  return isStopped(tunnelled) && !ethernet ? "apps" : "downlink";
}

function subjectOf(request: TraceRequest, tracer: Tracer | undefined, ethernet: (plane?: string) => boolean): Subject {
  const planeOf = (ue?: string) =>
    request.dataplane ??
    (ue === undefined ? undefined : tracer?.sessions({ ue, limit: 1 }).sessions[0]?.dataplane) ??
    tracer?.status()[0]?.name;
  if (request.frame !== undefined && !request.raw) {
    const frame = Uint8Array.from(Buffer.from(request.frame, "hex"));
    const dataplane = planeOf();
    const way = request.way ?? wayOf(tracer, frame, ethernet(dataplane));
    const decoded = way === "apps" || ethernet(dataplane) ? decodePlain(frame) : decodeFrame(frame);
    const ue = isStopped(decoded) ? undefined : keyOf(way, decoded.inner).ue;
    return { way, dataplane: planeOf(ue), decoded, frame };
  }
  const raw = request.frame === undefined ? undefined : Uint8Array.from(Buffer.from(request.frame, "hex"));
  const inner: Decoded = raw ? decodePacket(raw) : { inner: request.packet! };
  const way = request.way ?? "uplink";
  if (isStopped(inner)) return { way, dataplane: planeOf(), decoded: inner, frame: undefined };
  const { ue } = keyOf(way, inner.inner);
  const packet = raw ?? composePacket(inner.inner, way !== "uplink");
  const dataplane = planeOf(ue);
  if (way === "apps" || ethernet(dataplane)) {
    const frame = composePlain(packet, request.link);
    return { way, dataplane, decoded: decodePlain(frame), frame };
  }
  // By the rules alone nothing has to be made up.
  if (!tracer && Object.keys(request.tunnel ?? {}).length === 0) {
    return { way, dataplane, decoded: inner, frame: undefined };
  }
  const { tunnel, assumed } = tunnelFor(tracer, way, ue, request.tunnel);
  const frame = composeFrame(packet, tunnel, way === "uplink", request.link);
  return { way, dataplane, decoded: decodeFrame(frame), frame, ...(assumed !== undefined && { assumed }) };
}

/** What the frame that leaves has in it. */
function leaving(frame: Uint8Array | undefined): Pick<ProgramAnswer, "frame" | "function" | "tunnel" | "packet"> {
  if (!frame) return {};
  const toFunction = decodeFunction(frame);
  if (toFunction) {
    const { address, vni, inner } = toFunction;
    return { frame: hex(frame), function: { address, vni }, packet: inner };
  }
  const tunnelled = decodeFrame(frame);
  const decoded = isStopped(tunnelled) ? decodePlain(frame) : tunnelled;
  if (isStopped(decoded)) return { frame: hex(frame) };
  return { frame: hex(frame), ...(decoded.tunnel && { tunnel: decoded.tunnel }), packet: decoded.inner };
}

/** In what the program's answer is another than the walk's. */
export function differences(walked: Pick<Walked, "verdicts" | "rule" | "flowRule">, trial: Trial): string[] {
  const found: string[] = [];
  if (!walked.verdicts.includes(trial.verdict)) {
    found.push(`the program says ${trial.verdict || "nothing"}, the rules ${walked.verdicts[0]}`);
  }
  const rule = walked.rule?.id ?? walked.flowRule;
  const byRule = /^(take_|chain_|reply_|pass_treated|drop_rule|drop_rate)/.test(trial.verdict);
  if (rule && trial.rule !== rule && (byRule || trial.rule !== 0)) {
    found.push(`the program decides by rule ${trial.rule}, the rules say ${rule}`);
  }
  const ends = walked.rule?.action === "take" ? (walked.rule.endpoints ?? []).map(({ address }) => address) : [];
  const to = leaving(trial.frame).packet?.destination;
  if (trial.verdict === "take_uplink" && ends.length > 0 && to !== undefined && !ends.includes(to)) {
    found.push(`the program sends it to ${to}, which is no endpoint of the rule`);
  }
  return found;
}

/**
 * `tracer`: absent where no data plane runs; then nothing is confirmed. `nameOf`: of a service by its index.
 *
 * @throws Error when addresses do not go together, DataplaneError when the trial cannot be made
 */
export function explain(
  steering: Steering,
  request: TraceRequest,
  tracer?: Tracer,
  nameOf: (service: number) => string | undefined = () => undefined,
): Trace {
  const plugin = new Map(tracer?.status().map((one) => [one.name, one.plugin]));
  const subject = subjectOf(request, tracer, (name) => plugin.get(name ?? "") === "ethernet");
  const { way, dataplane, decoded, frame, assumed } = subject;
  const planes = tracer?.status().map(({ name }) => name) ?? [...(dataplane === undefined ? [] : [dataplane])];
  const parts = isStopped(decoded)
    ? { link: decoded.link, tunnel: decoded.tunnel }
    : { link: decoded.link, tunnel: decoded.tunnel, packet: decoded.inner };
  let trial: Trial | undefined;
  if (tracer?.trial && frame && dataplane !== undefined) {
    const packet = isStopped(decoded) ? undefined : keyOf(way, decoded.inner);
    trial = tracer.trial({
      dataplane,
      way,
      frame,
      ...(decoded.tunnel && { tunnel: decoded.tunnel }),
      ...(packet && { packet }),
    });
  }
  let walked: Walked;
  if (isStopped(decoded)) {
    const verdicts = trial?.known.mode === "bypass" && way !== "apps" ? ["pass_bypass"] : decoded.counters;
    const message = decoded.message !== undefined && steering.rules.some(({ match }) => match.message);
    walked = {
      steps: [],
      others: 0,
      verdicts: [...verdicts, ...(message ? ["drop_rule"] : [])],
      text: `${way === "apps" ? "dropped" : "passes untouched"}: ${decoded.stopped}`,
      detail: [],
    };
  } else {
    walked = walk(
      steering,
      {
        way,
        packet: decoded.inner,
        ...(decoded.tunnel && { tunnel: decoded.tunnel }),
        ...(decoded.link && { link: decoded.link }),
        ...(dataplane !== undefined && { dataplane }),
      },
      planes,
      trial?.known,
    );
  }
  const reason = walked.verdicts[0]!;
  const different = trial && differences(walked, trial);
  return {
    way,
    ...(dataplane !== undefined && { dataplane }),
    ...(parts.packet && { packet: parts.packet }),
    ...(parts.tunnel && { tunnel: parts.tunnel }),
    ...(parts.link && { link: parts.link }),
    ...(assumed !== undefined && { assumed }),
    steps: walked.steps,
    others: walked.others,
    verdict: verdictOf(reason),
    reason,
    text: walked.text,
    detail: walked.detail,
    ...(trial && {
      program: {
        verdict: trial.verdict,
        text: textOf.get(trial.verdict) ?? "",
        ...(trial.service > 0 && { service: nameOf(trial.service) ?? `${trial.service}` }),
        ...(trial.rule > 0 && { rule: trial.rule }),
        notes: trial.notes,
        events: trial.events,
        ...(trial.leaves !== undefined && { leaves: trial.leaves }),
        ...leaving(trial.frame),
      },
      agrees: different!.length === 0,
      differences: different!,
    }),
  };
}
