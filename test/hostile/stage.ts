/**
 * Where do hostile packets meet the programs?
 *
 * A stage is one data plane with one UE whose tunnel is known both ways, one web service and one for every protocol.
 * Packets go through the real programs (model/bench.ts); the reference model is not asked. Each `expect` says verdict,
 * counter and, for what passes, that not one octet changed.
 */
import * as assert from "uvu/assert";
import type { Endpoint } from "../../dataplane/steering.ts";
import { Bench } from "../model/bench.ts";
import { addressOf } from "../model/read.ts";
import type { ModelConfig, ModelRule, Port } from "../model/state.ts";
import { sameFrame } from "../packets/diff.ts";
import { eth, frame, type Gtpu, gtpu, icmp, ip, type Layers, payload, tcp, udp } from "../packets/frame.ts";
import { describe } from "../packets/parse.ts";

export const station = "198.18.1.10";
export const otherStation = "198.18.1.11";
export const gateway = "198.18.2.10";
export const otherGateway = "198.18.2.11";
export const ue = "10.45.0.2";
export const victim = "10.45.0.3";
export const service = "203.0.113.80";
export const anyService = "203.0.113.90";
export const app = "10.60.0.10";
export const anyApp = "10.60.0.12";
export const up = 0x101;
export const down = 0x201;

const prefix = (text: string, bits: number) => ({
  address: addressOf(text),
  bits: text.includes(":") ? bits : 96 + bits,
});

const rule = (id: number, match: ModelRule["match"], endpoint: Endpoint): ModelRule => ({
  id,
  service: id,
  name: `rule ${id}`,
  priority: 100,
  match,
  action: "take",
  endpoints: [endpoint],
  appInitiated: false,
});

export { rule };

export const rules: ModelRule[] = [
  rule(
    1,
    { destination: [`${service}/32`], protocol: [6], destinationPorts: [[80, 80]] },
    { address: app, port: 8080 },
  ),
  rule(2, { destination: [`${anyService}/32`] }, { address: anyApp }),
];

export const settings: ModelConfig = {
  mode: "offload",
  mtuAccess: 1500,
  peerSessions: 100,
  ueFlows: 64,
  maxSessions: 1000,
  protect: [prefix("198.18.0.0", 15), prefix("192.0.2.0", 24)],
  slowPort: true,
  nextHops: [{ destination: Uint8Array.of(2, 9, 9, 9, 9, 1), source: Uint8Array.of(2, 8, 8, 8, 8, 1) }],
};

export interface Result {
  verdict: string;
  frame: Uint8Array;
  /** Counters that rose. */
  counted: string[];
}

export class Stage {
  readonly bench = new Bench(settings, rules);

  /** Forgets everything, then lets the UE's tunnel be learnt both ways (`known: false` leaves that out). */
  begin(options: { config?: Partial<ModelConfig>; rules?: ModelRule[]; known?: boolean } = {}): void {
    this.bench.reset();
    this.bench.configure({ ...settings, ...options.config });
    this.bench.setRules(options.rules ?? rules);
    if (options.known === false) return;
    this.send("access", uplink([ip(ue, "203.0.115.1"), udp()]));
    this.send("core", downlink([ip("203.0.115.1", ue), udp()]));
  }

  send(port: Port, bytes: Uint8Array): Result {
    const before = this.bench.counts();
    const { verdict, frame: out } = this.bench.run(port, bytes);
    const counted = [...this.bench.counts()].filter(([name, n]) => n !== (before.get(name) ?? 0)).map(([name]) => name);
    return { verdict, frame: out, counted };
  }

  /** It passes with this name (one of these), not one octet changed, and nothing else happens unless `also` says so. */
  passes(port: Port, bytes: Uint8Array, counter: string | readonly string[], also: readonly string[] = []): void {
    const result = this.send(port, bytes);
    const names = typeof counter === "string" ? [counter] : counter;
    const main = result.counted.filter((name) => !also.includes(name) && name !== "note_event_lost");
    const text = `${describe(bytes)}\ncounted ${result.counted.join(", ")}`;
    assert.is(result.verdict, "redirect", `should pass: ${text}`);
    assert.ok(main.length === 1 && names.includes(main[0] ?? ""), `should count ${names.join(" or ")}: ${text}`);
    sameFrame(result.frame, bytes, "a passed frame");
  }

  drops(port: Port, bytes: Uint8Array, counter: string): void {
    const result = this.send(port, bytes);
    assert.is(result.verdict, "drop", `should be dropped: ${describe(bytes)}\ncounted ${result.counted.join(", ")}`);
    assert.ok(result.counted.includes(counter), `should count ${counter}: ${result.counted.join(", ")}`);
  }

  /** It is taken; returns what the app gets. */
  takes(bytes: Uint8Array, expected?: Uint8Array): Uint8Array {
    const result = this.send("access", bytes);
    const taken = result.counted.includes("take_uplink") || result.counted.includes("take_routed");
    assert.ok(taken, `should be taken: ${describe(bytes)}\ncounted ${result.counted.join(", ")}`);
    if (expected) sameFrame(result.frame, expected, "what the app gets");
    return result.frame;
  }

  /** It is put back into a tunnel; returns the outer frame. */
  replies(bytes: Uint8Array): Uint8Array {
    const result = this.send("return", bytes);
    assert.ok(
      result.counted.includes("reply_downlink"),
      `should be sent to the UE: ${describe(bytes)}\ncounted ${result.counted.join(", ")}`,
    );
    return result.frame;
  }

  close(): void {
    this.bench.close();
  }
}

/** A frame from the base station in the UE's tunnel. */
export const uplink = (inner: Layers, g: Gtpu = {}, from = station, to = gateway): Uint8Array =>
  frame([
    eth(),
    ip(from, to),
    udp({ sport: 2152, dport: 2152, checksum: from.includes(":") ? "auto" : "zero" }),
    gtpu({ teid: up, ...g }),
    inner,
  ]);

/** A frame from the gateway in the UE's tunnel. */
export const downlink = (inner: Layers, g: Gtpu = {}, from = gateway, to = station): Uint8Array =>
  frame([
    eth(),
    ip(from, to),
    udp({ sport: 2152, dport: 2152, checksum: from.includes(":") ? "auto" : "zero" }),
    gtpu({ teid: down, ...g }),
    inner,
  ]);

/** What an app sends to the UE, as it reaches the programs. */
export const fromApp = (inner: Layers): Uint8Array => frame([eth(), inner]);

export const toApp = (inner: Layers): Uint8Array =>
  frame([eth({ dst: "02:09:09:09:09:01", src: "02:08:08:08:08:01" }), inner]);

/** Packets of the UE for a service, ready to be put into a tunnel. */
export const ping = (source = ue, f: Parameters<typeof ip>[2] = {}): Layers => [
  ip(source, anyService, f),
  icmp({ id: 7 }),
  payload(8),
];
export const query = (source = ue): Layers => [ip(source, anyService), udp({ sport: 4000, dport: 53 }), payload(12)];
export const syn = (source = ue): Layers => [
  ip(source, service),
  tcp({ sport: 4001, dport: 80, flags: "S", mss: 1460 }),
];
