/**
 * How does a scripted base station get a tunnel from a real gateway, and take it to another base station?
 *
 * The few messages of GTP-C version 1 that this takes (TS 29.060 §7.3: Create, Update and Delete PDP Context), spoken
 * on UDP 2123 with osmo-ggsn. An Update with another user-plane address is what a gateway sees of a handover.
 */
import { createSocket, type Socket } from "node:dgram";
import { address, addressText, concat, get16, get32, u8, u16, u32 } from "../packets/bytes.ts";
import { inNamespace } from "./setns.ts";

const cause = { accepted: 128 };
/** Lengths of the TV elements a gateway sends (TS 29.060 §7.7); types from 128 up carry their length. */
const fixed: Record<number, number> = { 1: 1, 8: 1, 14: 1, 16: 4, 17: 4, 18: 5, 19: 1, 20: 1, 127: 4 };

export interface Context {
  ue: string;
  /** The gateway's TEIDs. */
  uplinkTeid: number;
  controlTeid: number;
  /** The gateway's user-plane address. */
  gateway: string;
  nsapi: number;
}

const tlv = (type: number, value: Uint8Array): Uint8Array => concat(u8(type), u16(value.length), value);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const accessPoint = (name: string): Uint8Array =>
  concat(...name.split(".").map((label) => concat(u8(label.length), text(label))));

/** Digits two to an octet, the first in the low half, filled with ones. */
const bcd = (digits: string, octets: number): Uint8Array =>
  Uint8Array.from({ length: octets }, (_, i) => {
    const digit = (at: number): number => (at < digits.length ? Number(digits[at]) : 15);
    return digit(2 * i) | (digit(2 * i + 1) << 4);
  });

const qos = tlv(135, Uint8Array.of(2, 0x0b, 0x92, 0x1f));

function elements(data: Uint8Array): Map<number, Uint8Array[]> {
  const found = new Map<number, Uint8Array[]>();
  let at = 0;
  while (at < data.length) {
    const type = data[at] ?? 0;
    const size = type >= 128 ? get16(data, at + 1) : fixed[type];
    if (size === undefined) break;
    const from = at + (type >= 128 ? 3 : 1);
    found.set(type, [...(found.get(type) ?? []), data.slice(from, from + size)]);
    at = from + size;
  }
  return found;
}

/** The control side of a base station by script. */
export class GtpControl {
  readonly address: string;
  private readonly socket: Socket;
  private seq = 1;
  private readonly waiting = new Map<number, (message: Buffer) => void>();

  constructor(namespace: string, own: string) {
    this.address = own;
    this.socket = createSocket({ type: "udp4", lookup: (host, _options, done) => done(null, host, 4) });
    this.socket.on("error", () => undefined);
    inNamespace(namespace, () => this.socket.bind(2123, own));
    this.socket.on("message", (message) => {
      const waiting = this.waiting.get(get16(message, 8));
      if (waiting && (message[1] ?? 0) % 2 === 1) waiting(message);
    });
  }

  /** Asks up to three times, a second apart, as TS 29.060 §7.6 has it. @throws unless the cause is acceptance. */
  private async ask(gateway: string, type: number, teid: number, body: Uint8Array): Promise<Map<number, Uint8Array[]>> {
    const seq = this.seq++;
    const rest = concat(u16(seq), u8(0), u8(0), body);
    const request = concat(u8(0x32), u8(type), u16(rest.length), u32(teid), rest);
    for (let times = 0; times < 3; times++) {
      const reply = await new Promise<Buffer | undefined>((resolve) => {
        const timer = setTimeout(() => resolve(undefined), 1000);
        this.waiting.set(seq, (message) => {
          clearTimeout(timer);
          resolve(message);
        });
        this.socket.send(request, 2123, gateway, () => undefined);
      });
      if (!reply) continue;
      this.waiting.delete(seq);
      const found = elements(reply.subarray(12));
      const why = found.get(1)?.[0]?.[0];
      if (why !== cause.accepted) throw new Error(`GTP-C message ${type}: cause ${why}`);
      return found;
    }
    this.waiting.delete(seq);
    throw new Error(`GTP-C message ${type}: no answer from ${gateway}`);
  }

  private peer(downlinkTeid: number, controlTeid: number, nsapi: number): Uint8Array {
    return concat(u8(16), u32(downlinkTeid), u8(17), u32(controlTeid), u8(20), u8(nsapi));
  }

  /** An IPv4 context, as a base station that expects its downlink at `address` (its own unless told). */
  async create(
    gateway: string,
    options: { imsi: string; downlinkTeid: number; userAddress?: string; apn?: string },
  ): Promise<Context> {
    const nsapi = 5;
    const user = options.userAddress ?? this.address;
    const found = await this.ask(
      gateway,
      16,
      0,
      concat(
        concat(u8(2), bcd(options.imsi, 8)),
        concat(u8(14), u8(1), u8(15), u8(0xfc)),
        this.peer(options.downlinkTeid, options.downlinkTeid, nsapi),
        tlv(128, Uint8Array.of(0xf1, 0x21)),
        tlv(131, accessPoint(options.apn ?? "internet")),
        tlv(133, address(this.address)),
        tlv(133, address(user)),
        tlv(134, concat(u8(0x91), bcd("46701234567", 6))),
        qos,
      ),
    );
    const [data] = found.get(16) ?? [];
    const [control] = found.get(17) ?? [];
    const [end] = found.get(128) ?? [];
    const addresses = found.get(133) ?? [];
    if (!data || !control || !end) throw new Error("GTP-C: incomplete answer to Create PDP Context");
    return {
      ue: addressText(end.slice(2, 6)),
      uplinkTeid: get32(data, 0),
      controlTeid: get32(control, 0),
      gateway: addressText(addresses[1] ?? address(gateway)),
      nsapi,
    };
  }

  /** The context's downlink goes to `userAddress` with `downlinkTeid` from now on. */
  async update(gateway: string, context: Context, downlinkTeid: number, userAddress: string): Promise<void> {
    await this.ask(
      gateway,
      18,
      context.controlTeid,
      concat(
        this.peer(downlinkTeid, downlinkTeid, context.nsapi),
        tlv(133, address(this.address)),
        tlv(133, address(userAddress)),
        qos,
      ),
    );
  }

  async remove(gateway: string, context: Context): Promise<void> {
    await this.ask(gateway, 20, context.controlTeid, concat(u8(19), u8(0xff), u8(20), u8(context.nsapi)));
  }

  close(): void {
    this.socket.close();
  }
}
