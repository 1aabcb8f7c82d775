/**
 * How fast is a phone answered by the platform's name server?
 *
 * Section `dns`. `bin/offramp run` with Unbound, a name with a rule, and one client that asks by three ways in turns:
 *
 *   taken    a UE's query in its tunnel ─▶ the data plane ─▶ Unbound ─▶ the data plane ─▶ back in the tunnel
 *   direct   the same question from the apps' network to Unbound, without a data plane in between (the yardstick)
 *   passes   a UE's query for another name: through the data plane to the core, where a script sends it back as an answer
 *
 * One at a time for the latency; many at a time for the rate, which contains the client, and in `passes` the script. Every
 * answer is looked at: it has the name's address, or, passing, none.
 */
import { createSocket, type Socket } from "node:dgram";
import type { DnsRule } from "../../mep/model/rules.ts";
import { must } from "../lab/netns.ts";
import { inNamespace, roomy } from "../lab/setns.ts";
import { concat, get16, gtpu, ipv4, packet, payload, u16, udp } from "../packets/frame.ts";
import { type Failed, type Figure, figure, quantile, ratios, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";
import { fillState } from "./mep-state.ts";
import { APP, GATEWAY, Rig, STATION, UE } from "./rig.ts";

const appliance = "10.60.0.1";
/** What the phone believes to be its resolver. */
const resolver = "203.0.113.53";
const ruled = "shop.example.com";
const other = "www.example.com";
const answer = "203.0.113.99";
const atOnce = 32;
/** A UE's ports, one after the other; fewer than a UE may have flows. */
const ports = 2048;
const patienceMs = 3000;
/** Of those that were asked: UDP may lose some on a machine that has no time. */
const lossAllowed = 0.01;

const rule: DnsRule = {
  ...{ dnsRuleId: "name", domainName: ruled, ipAddressType: "IP_V4", ipAddress: answer, ttl: 60, state: "ACTIVE" },
} as DnsRule;

/** RFC 1035 §4.1: one question, type A, class IN. */
function question(name: string): Uint8Array {
  const labels = name.split(".").map((label) => concat(Uint8Array.of(label.length), new TextEncoder().encode(label)));
  return concat(u16(0), u16(0x0100), u16(1), u16(0), u16(0), u16(0), ...labels, Uint8Array.of(0), u16(1), u16(1));
}

function socketIn(namespace: string, address: string, port: number): Socket {
  const socket = createSocket({
    type: "udp4",
    // The socket is made while the thread is in the namespace.
    lookup: (host, _options, done) => done(null, host, 4),
  });
  socket.on("error", () => undefined);
  inNamespace(namespace, () => socket.bind(port, address));
  socket.on("listening", () => roomy(socket));
  return socket;
}

/** Where the T-PDU of a G-PDU begins (TS 29.281 §5.1). */
const bodyAt = (raw: Uint8Array): number => ((raw[0] ?? 0) & 7 ? 12 : 8);
/** IPv4 without options, UDP. */
const headers = 28;

interface Way {
  socket: Socket;
  to: string;
  port: number;
  /** The whole message, made before; `number` is put into it. */
  message: Buffer;
  /** Of the DNS message within it. */
  at: number;
  /** In a tunnel the UE has ports of its own. */
  tunnelled: boolean;
  /** The answer holds this address. Undefined: none. */
  address?: Uint8Array;
}

interface Asked {
  rate: number;
  latencies: number[];
  lost: number;
}

/** Asks `count` times, so many at a time. @throws Error on an answer that is not the expected one */
function ask({ socket, to, port, message, at, tunnelled, address }: Way, count: number, width: number): Promise<Asked> {
  const pending = new Map<number, { sent: number; timer: NodeJS.Timeout }>();
  const latencies: number[] = [];
  let next = 0;
  let lost = 0;
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const end = (error?: Error): void => {
      socket.off("message", heard);
      for (const { timer } of pending.values()) clearTimeout(timer);
      if (error) reject(error);
      else resolve({ rate: (latencies.length * 1000) / (performance.now() - began), latencies, lost });
    };
    const send = (): void => {
      if (next === count) {
        if (pending.size === 0) end();
        return;
      }
      const number = next++;
      const octets = Buffer.from(message);
      octets.writeUInt16BE(number & 0xffff, at);
      // No checksum: RFC 768 has 0 for that.
      if (tunnelled) octets.writeUInt16BE(1024 + (number % ports), at - 8);
      const timer = setTimeout(() => {
        pending.delete(number & 0xffff);
        lost += 1;
        send();
      }, patienceMs);
      pending.set(number & 0xffff, { sent: performance.now(), timer });
      socket.send(octets, port, to);
    };
    const heard = (raw: Buffer): void => {
      const dns = raw.subarray(tunnelled ? bodyAt(raw) + headers : 0);
      const one = pending.get(get16(dns, 0));
      if (!one) return;
      const has = address !== undefined && dns.indexOf(address) >= 0;
      if ((get16(dns, 2) & 0x800f) !== 0x8000 || has !== (address !== undefined)) {
        end(new Error(`an answer that is none: ${dns.toString("hex")}`));
        return;
      }
      latencies.push(performance.now() - one.sent);
      clearTimeout(one.timer);
      pending.delete(get16(dns, 0));
      send();
    };
    socket.on("message", heard);
    for (let i = 0; i < Math.min(width, count); i += 1) send();
  });
}

/** As a resolver behind the core would be seen: the query comes back as an answer without records. */
function answerAtCore(socket: Socket): void {
  socket.on("message", (raw) => {
    const at = bodyAt(raw);
    const back = Buffer.from(raw);
    raw.copy(back, at + 12, at + 16, at + 20);
    raw.copy(back, at + 16, at + 12, at + 16);
    raw.copy(back, at + 20, at + 22, at + 24);
    raw.copy(back, at + 22, at + 20, at + 22);
    back[at + headers + 2] = (back[at + headers + 2] ?? 0) | 0x80;
    socket.send(back, 2152, STATION);
  });
}

const tunnelled = (name: string): Buffer =>
  Buffer.from(
    packet([
      gtpu({ teid: 1 }),
      ipv4({ src: UE, dst: resolver }),
      udp({ sport: 1024, dport: 53, checksum: "zero" }),
      payload(question(name)),
    ]),
  );

/** The machines of the rig get what a kernel needs for UDP sockets. */
async function address(rig: Rig): Promise<void> {
  const { machines } = rig;
  const sides = [
    { name: "ran", own: STATION, peer: GATEWAY, mac: rig.mac("core eth0") },
    { name: "core", own: GATEWAY, peer: STATION, mac: rig.mac("ran eth0") },
  ];
  for (const { name, own, peer, mac } of sides) {
    await machines.ip(
      name,
      `addr add ${own}/32 dev eth0`,
      `route add ${peer}/32 dev eth0`,
      `neigh replace ${peer} lladdr ${mac} dev eth0 nud permanent`,
    );
  }
  await must(["ip", "netns", "exec", machines.ns("app"), "ping", "-c1", "-W2", appliance]).catch(() => undefined);
}

const names = ["direct", "taken", "passes"] as const;
type Name = (typeof names)[number];
const said: Record<Name, string> = {
  direct: "Unbound asked directly",
  taken: "a UE's query, taken",
  passes: "a UE's query that passes, answered by a script",
};

interface Measured {
  p50: number[];
  p99: number[];
  rates: number[];
  lost: number;
  asked: number;
}

interface Sizes {
  rounds: number;
  /** Queries of a round, one at a time and many at a time. */
  single: number;
  many: number;
}

const sizesOf = (quick: boolean): Sizes =>
  quick ? { rounds: 3, single: 300, many: 3000 } : { rounds: 11, single: 1000, many: 20_000 };

async function measure(ways: Record<Name, Way>, { rounds, single, many }: Sizes, say: Effort["say"]) {
  const measured = Object.fromEntries(
    names.map((name): [Name, Measured] => [name, { p50: [], p99: [], rates: [], lost: 0, asked: 0 }]),
  ) as Record<Name, Measured>;
  // The first round finds everything cold.
  for (let round = -1; round < rounds; round += 1) {
    say(`round ${round + 1}`);
    for (const name of names) {
      const one = await ask(ways[name], single, 1);
      const crowd = await ask(ways[name], many, atOnce);
      if (round < 0) continue;
      const own = measured[name];
      own.p50.push(quantile(one.latencies, 0.5) * 1000);
      own.p99.push(quantile(one.latencies, 0.99) * 1000);
      own.rates.push(crowd.rate);
      own.lost += one.lost + crowd.lost;
      own.asked += single + many;
    }
  }
  return measured;
}

function rowsOf(measured: Record<Name, Measured>): (Figure | Failed)[] {
  const { direct } = measured;
  return names.flatMap((name): (Figure | Failed)[] => {
    const { lost, asked, ...own } = measured[name];
    if (lost > asked * lossAllowed) return [{ what: said[name], failed: `${lost} of ${asked} had no answer` }];
    const row = (which: "p50" | "p99" | "rates", text: string, unit: string): Figure =>
      figure(`${said[name]}: ${text}`, unit, own[which], {
        ...(name !== "direct" && { ratios: ratios(own[which], direct[which]) }),
      });
    return [
      row("rates", `${atOnce} at a time`, "queries/s"),
      row("p50", "one at a time, p50", "µs"),
      row("p99", "one at a time, p99", "µs"),
    ];
  });
}

export async function dns({ quick, say }: Effort, sizes = sizesOf(quick)): Promise<Section> {
  const rows: (Figure | Failed)[] = [];
  const options = {
    mep: { dns: { listen: `${appliance}:53` } },
    fill: async (stateDir: string) => {
      await fillState(stateDir, {
        ...{ base: "", apps: 1, servicesOfEach: 0, address: APP, tokens: 0 },
        rulesOf: () => [],
        namesOf: () => [rule],
      });
    },
  };
  await Rig.with(options, async (rig) => {
    const sockets: Socket[] = [];
    const open = (machine: string, own: string, port: number): Socket => {
      const socket = socketIn(rig.machines.ns(machine), own, port);
      sockets.push(socket);
      return socket;
    };
    try {
      await rig.learn();
      await address(rig);
      const station = open("ran", STATION, 2152);
      answerAtCore(open("core", GATEWAY, 2152));
      const found = Uint8Array.from(answer.split(".").map(Number));
      const inTunnel = { socket: station, to: GATEWAY, port: 2152, at: 8 + headers, tunnelled: true };
      const ways: Record<Name, Way> = {
        direct: {
          ...{ socket: open("app", APP, 0), to: appliance, port: 53, at: 0, tunnelled: false },
          message: Buffer.from(question(ruled)),
          address: found,
        },
        taken: { ...inTunnel, message: tunnelled(ruled), address: found },
        passes: { ...inTunnel, message: tunnelled(other) },
      };
      rows.push(...rowsOf(await measure(ways, sizes, say)));
    } finally {
      for (const socket of sockets) socket.close();
    }
  }).catch((error: Error) => rows.push({ what: "all", failed: error.message }));
  return { name: "dns", title: "Queries for a name, one client; ratio to Unbound asked directly", rows };
}
