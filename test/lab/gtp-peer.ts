/**
 * What can a base station or gateway do that sgsnemu and osmo-ggsn cannot?
 *
 * Peers that speak GTP-U by script: any TEID, any header format (flags, PDU Session Container), IPv6 outside,
 * handover, End Marker, Error Indication, hundreds of phones. Each is a UDP socket in a namespace of the lab; frames
 * are built by test/packets. TS 29.281 §5.1, §5.2, §7.3; TS 38.415 §5.5.2.
 */
import { createSocket, type Socket } from "node:dgram";
import {
  address,
  addressText,
  endMarker,
  errorIndication,
  get16,
  get32,
  gtpu,
  icmp,
  icmpv6,
  ip,
  type Layers,
  packet,
  payload,
  psc,
  toHex,
  udp,
} from "../packets/frame.ts";
import { sleep } from "./netns.ts";
import { inNamespace, roomy, setTos, Tun } from "./setns.ts";

/** How a peer writes its G-PDUs. */
export interface Format {
  /** Sequence numbers (S flag), counting. */
  seq?: boolean;
  npdu?: boolean;
  /** PDU Session Container: type 1 uplink, 0 downlink, with this QFI. */
  qfi?: number;
  pscType?: 0 | 1;
}

/** The T-PDU as far as the tests look into it. */
export interface Inner {
  version: number;
  source: string;
  destination: string;
  protocol: number;
  /** Ports of UDP and TCP; type and code, then identifier and sequence, of ICMP echo. */
  sourcePort: number;
  destinationPort: number;
  identifier: number;
  sequence: number;
  payload: Buffer;
}

export interface Received {
  from: string;
  fromPort: number;
  /** Address of ours that it came to. */
  to: string;
  flags: number;
  type: number;
  teid: number;
  seq?: number;
  qfi?: number;
  pscType?: number;
  /** Everything after the header. */
  body: Buffer;
  inner?: Inner;
  raw: Buffer;
}

export function parseInner(data: Buffer): Inner | undefined {
  const version = (data[0] ?? 0) >> 4;
  if ((version !== 4 || data.length < 20) && (version !== 6 || data.length < 40)) return undefined;
  const header = version === 4 ? ((data[0] ?? 0) & 15) * 4 : 40;
  const end = version === 4 ? get16(data, 2) : 40 + get16(data, 4);
  const protocol = (version === 4 ? data[9] : data[6]) ?? 0;
  const text = (from: number, size: number): string => addressText(data.subarray(from, from + size));
  const l4 = data.subarray(header, Math.min(end, data.length));
  const size = protocol === 6 ? ((l4[12] ?? 0) >> 4) * 4 : 8;
  return {
    version,
    source: version === 4 ? text(12, 4) : text(8, 16),
    destination: version === 4 ? text(16, 4) : text(24, 16),
    protocol,
    sourcePort: get16(l4, 0),
    destinationPort: get16(l4, 2),
    identifier: get16(l4, 4),
    sequence: get16(l4, 6),
    payload: Buffer.from(l4.subarray(size)),
  };
}

function parse(raw: Buffer, from: string, fromPort: number, to: string): Received | undefined {
  if (raw.length < 8) return undefined;
  const flags = raw[0] ?? 0;
  const one: Received = { from, fromPort, to, flags, type: raw[1] ?? 0, teid: get32(raw, 4), body: raw, raw };
  let at = 8;
  if (flags & 7) {
    if (flags & 2) one.seq = get16(raw, 8);
    let next = flags & 4 ? (raw[11] ?? 0) : 0;
    at = 12;
    while (next !== 0 && at < raw.length) {
      const length = (raw[at] ?? 0) * 4;
      if (length === 0) return undefined;
      if (next === 0x85) {
        one.pscType = (raw[at + 1] ?? 0) >> 4;
        one.qfi = (raw[at + 2] ?? 0) & 63;
      }
      next = raw[at + length - 1] ?? 0;
      at += length;
    }
  }
  one.body = raw.subarray(at);
  if (one.type === 255) one.inner = parseInner(one.body);
  return one;
}

/**
 * Does something `count` times, `atOnce` every `everyMs`: a veth's ring has 256 places, and on a busy machine it is a
 * while until somebody empties it.
 */
export async function paced(count: number, step: (n: number) => void, atOnce = 16, everyMs = 5): Promise<void> {
  for (let n = 0; n < count; n++) {
    step(n);
    if (n % atOnce === atOnce - 1) await sleep(everyMs);
  }
}

/** One address of one peer, on UDP 2152 unless told. Everything that arrives is kept in `received`. */
export class GtpPeer {
  readonly address: string;
  readonly port: number;
  private readonly socket: Socket;
  private seq = 0;
  received: Received[] = [];
  /** Sees each message first. */
  private readonly handlers: ((message: Received) => void)[] = [];
  private readonly waiting = new Set<() => void>();

  /** @param namespace as `ip netns` lists it */
  constructor(namespace: string, address: string, port = 2152) {
    this.address = address;
    this.port = port;
    const v6 = address.includes(":");
    this.socket = createSocket({
      type: v6 ? "udp6" : "udp4",
      reuseAddr: true,
      // Without a turn through the resolver, so that the socket is made while the thread is in the namespace.
      lookup: (host, _options, done) => done(null, host, v6 ? 6 : 4),
    });
    this.socket.on("error", () => undefined);
    inNamespace(namespace, () => this.socket.bind(port, address));
    this.socket.on("listening", () => roomy(this.socket));
    this.socket.on("message", (raw, from) => {
      const message = parse(raw, from.address, from.port, address);
      if (!message) return;
      this.received.push(message);
      for (const handler of this.handlers) handler(message);
      for (const wake of this.waiting) wake();
    });
  }

  onMessage(handler: (message: Received) => void): void {
    this.handlers.push(handler);
  }

  /** A GTP-U message from this address. */
  send(to: string, bytes: Uint8Array, port = 2152): void {
    this.socket.send(bytes, port, to, () => undefined);
  }

  /** A G-PDU around an IP packet. */
  gpdu(to: string, teid: number, inner: Uint8Array | Layers, format: Format = {}): void {
    const body = inner instanceof Uint8Array ? inner : packet(inner);
    const header = gtpu({
      teid,
      ...(format.seq ? { seq: this.seq++ & 0xffff } : {}),
      ...(format.npdu ? { npdu: 0 } : {}),
      ...(format.qfi === undefined ? {} : { ext: [psc({ type: format.pscType ?? 1, qfi: format.qfi })] }),
    });
    this.send(to, packet([header, payload(body)]));
  }

  endMarker(to: string, teid: number): void {
    this.send(to, packet([endMarker(teid)]));
  }

  /** Says that `teid`, of which a G-PDU came from `to`, is unknown here. */
  errorIndication(to: string, teid: number, peer = this.address): void {
    this.send(to, packet(errorIndication({ teid, peer })));
  }

  /** Waits for a message, those already here included. @throws after `timeoutMs` with what came instead. */
  async wait(what: string, match: (message: Received) => boolean, timeoutMs = 3000): Promise<Received> {
    const found = (): Received | undefined => this.received.find(match);
    const here = found();
    if (here) return here;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(check);
        reject(new Error(`${this.address} got no ${what} in ${timeoutMs} ms; got:\n${this.describe()}`));
      }, timeoutMs);
      const check = (): void => {
        const one = found();
        if (!one) return;
        clearTimeout(timer);
        this.waiting.delete(check);
        resolve(one);
      };
      this.waiting.add(check);
    });
  }

  /** Messages that match, after waiting `ms` for all that may still come. */
  async after(ms: number, match: (message: Received) => boolean = () => true): Promise<Received[]> {
    await sleep(ms);
    return this.received.filter(match);
  }

  /** TOS octet of all that is sent from now on. */
  tos(value: number): void {
    setTos(this.socket, value);
  }

  forget(): void {
    this.received = [];
  }

  describe(): string {
    return this.received
      .slice(-20)
      .map((m) => {
        const inner = m.inner
          ? ` ${m.inner.source} > ${m.inner.destination} proto ${m.inner.protocol} ${m.inner.payload.length} octets`
          : "";
        return `  ${m.from} type ${m.type} teid 0x${m.teid.toString(16)}${inner}`;
      })
      .join("\n");
  }

  close(): void {
    this.socket.close();
  }
}

/** UDP in an IP packet, from a phone or to it. */
export const udpPacket = (
  from: string,
  to: string,
  ports: { from?: number; to?: number },
  body: string | number | Uint8Array,
): Layers => [ip(from, to), udp({ sport: ports.from ?? 40000, dport: ports.to ?? 7 }), payload(body)];

export const echoRequest = (from: string, to: string, id = 1, seq = 1): Layers => [
  ip(from, to),
  from.includes(":") ? icmpv6({ id, seq }) : icmp({ id, seq }),
  payload(56),
];

const isGpdu = (m: Received): boolean => m.type === 255 && m.inner !== undefined;

const key = (ue: string): string => toHex(address(ue).slice(0, ue.includes(":") ? 8 : 4));

/**
 * A gateway by script: knows where each UE's downlink goes, and is the Internet as well: it answers ICMP echo and UDP
 * port 7 (as server.ts does, by the name `core`), in each UE's downlink tunnel.
 */
export class FakeGateway extends GtpPeer {
  /** Downlink tunnel by UE: an IPv4 address, or the first 64 bits of an IPv6 one. */
  private readonly bearers = new Map<string, { enb: string; teid: number; format: Format }>();
  /** Answers nothing while false. */
  answering = true;
  /** Uplink TEIDs that it has given; others draw an Error Indication. Absent: any will do. */
  uplinks: Set<number> | undefined;

  constructor(namespace: string, address: string) {
    super(namespace, address);
    this.onMessage((m) => {
      if (!this.answering || !isGpdu(m) || !m.inner) return;
      if (this.uplinks && !this.uplinks.has(m.teid)) this.errorIndication(m.from, m.teid);
      else this.answer(m.inner);
    });
  }

  bearer(ue: string, enb: string, teid: number, format: Format = {}): void {
    this.bearers.set(key(ue), { enb, teid, format });
  }

  /** A packet for a UE in its downlink tunnel. */
  downlink(ue: string, inner: Uint8Array | Layers): void {
    const bearer = this.bearers.get(key(ue));
    if (!bearer) throw new Error(`no downlink for ${ue}`);
    this.gpdu(bearer.enb, bearer.teid, inner, bearer.format);
  }

  private answer(inner: Inner): void {
    if (!this.bearers.has(key(inner.source))) return;
    const back = ip(inner.destination, inner.source);
    if (inner.protocol === 1 && inner.sourcePort >> 8 === 8) {
      const { identifier, sequence } = inner;
      this.downlink(inner.source, [back, icmp({ type: 0, id: identifier, seq: sequence }), payload(inner.payload)]);
    } else if (inner.protocol === 58 && inner.sourcePort >> 8 === 128) {
      const { identifier, sequence } = inner;
      this.downlink(inner.source, [back, icmpv6({ type: 129, id: identifier, seq: sequence }), payload(inner.payload)]);
    } else if (inner.protocol === 17 && inner.destinationPort === 7) {
      const body = Buffer.concat([Buffer.from(`core ${inner.source} ${inner.sourcePort} `), inner.payload]);
      const ports = { sport: inner.destinationPort, dport: inner.sourcePort };
      this.downlink(inner.source, [back, udp(ports), payload(body)]);
    }
  }
}

/** A tunnel as a phone uses it: where its uplink goes and which TEID its downlink has. */
export interface Attachment {
  station: GtpPeer;
  gateway: string;
  uplinkTeid: number;
  downlinkTeid: number;
  format?: Format;
}

/** A phone with the kernel's own IP stack, behind base stations by script. */
export class TunPhone {
  private attachment: Attachment | undefined;
  private readonly tun: Tun;
  private readonly stations = new Set<GtpPeer>();
  /** G-PDUs that came on a TEID which is not, or no longer, this phone's. */
  strays: Received[] = [];
  /** The same TEID at the base station before: packets there still reach the phone (forwarding during handover). */
  forwarding: { station: GtpPeer; downlinkTeid: number } | undefined;

  constructor(namespace: string, device = "tun0") {
    this.tun = new Tun(namespace, device);
    this.tun.start((data) => {
      const a = this.attachment;
      if (a) a.station.gpdu(a.gateway, a.uplinkTeid, data, a.format);
    });
  }

  /** Attaches, or moves to another base station. The IP stack of the phone notices nothing. */
  use(attachment: Attachment): void {
    this.attachment = attachment;
    if (this.stations.has(attachment.station)) return;
    this.stations.add(attachment.station);
    attachment.station.onMessage((m) => {
      if (!isGpdu(m)) return;
      const a = this.attachment;
      const f = this.forwarding;
      const mine =
        (a && a.station === attachment.station && a.downlinkTeid === m.teid) ||
        (f && f.station === attachment.station && f.downlinkTeid === m.teid);
      if (mine) this.tun.write(m.body);
      else this.strays.push(m);
    });
  }

  close(): Promise<void> {
    return this.tun.close();
  }
}
