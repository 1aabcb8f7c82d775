/**
 * How does the program behave at the other end of the slow port?
 *
 * A model of it for the tests of this folder, by the contract in dataplane/slow-path.ts: sessions with a hold and its
 * count, a port that is filled in order but later than the count, and, while the control plane reads and writes, other
 * things that happen in between (`meanwhile`).
 */
import type {
  CapturedPacket,
  PingerSetup,
  SlowFrame,
  SlowFromUser,
  SlowPath,
  SlowSession,
} from "../../dataplane/slow-path.ts";

export interface ModelSession {
  epoch: number;
  hold: boolean;
  held: number;
  downlink: boolean;
  moving: boolean;
  uplink: boolean;
  candidate: boolean;
  wanted: boolean;
  aside: number;
  /** Numbers of the replies that reached the UE, in order. */
  delivered: number[];
  lost: number;
}

export class ModelKernel implements SlowPath {
  readonly hz = 1000;
  readonly sessions = new Map<number, ModelSession>();
  readonly written: SlowFrame<SlowFromUser>[] = [];
  /** Counted by the program, not in the port yet. */
  readonly onTheWay: SlowFrame[] = [];
  readonly port: SlowFrame[] = [];
  /** Called before every read and write. */
  meanwhile: () => void = () => {};
  /** The port refuses what is written. */
  full = false;
  setup: PingerSetup | undefined = {
    dataplane: "s1",
    device: "pinger0",
    cookie: Uint8Array.from([9, 8, 7, 6, 5, 4, 3, 2]),
    id: 0x4f46,
    target: "203.0.113.10",
    target6: "2001:db8:ffff::10",
    intervalMs: 200,
    giveUpMs: 5000,
  };
  /** Whether held replies say which one of their hold they are. */
  sequences = true;
  /** Octets from which on a reply comes back as too big. */
  mtu = 1500;
  private listener: () => void = () => {};

  add(index: number, epoch = 1): ModelSession {
    const session: ModelSession = {
      epoch,
      hold: false,
      held: 0,
      downlink: false,
      moving: false,
      uplink: true,
      candidate: false,
      wanted: false,
      aside: 0,
      delivered: [],
      lost: 0,
    };
    this.sessions.set(index, session);
    return session;
  }

  /** An app answers. `frame` defaults to its number. */
  reply(index: number, frame: Uint8Array): void {
    const session = this.sessions.get(index);
    if (!session) return;
    if (!session.hold && session.downlink && !session.moving) {
      session.delivered.push(numberOf(frame));
      return;
    }
    if (!session.hold) session.held = 0;
    session.hold = true;
    session.wanted = true;
    session.held++;
    this.toUser("hold", index, session.epoch, this.sequences ? session.held : 0, 0, frame);
  }

  toUser(
    op: SlowFrame["op"],
    session: number,
    epoch: number,
    sequence: number,
    reason: number,
    frame: Uint8Array,
  ): void {
    this.onTheWay.push({ op, dataplane: "s1", session, epoch, sequence, reason, frame });
  }

  /** What was redirected reaches the port. */
  arrive(): void {
    this.port.push(...this.onTheWay.splice(0));
  }

  wake(): void {
    this.arrive();
    this.listener();
  }

  read(): SlowFrame | null {
    this.meanwhile();
    return this.port.shift() ?? null;
  }

  write(frame: SlowFrame<SlowFromUser>): boolean {
    this.meanwhile();
    if (this.full) return false;
    this.written.push(frame);
    const session = this.sessions.get(frame.session);
    if (!session || session.epoch !== frame.epoch) return true;
    if (frame.op === "release" && session.hold && session.held === frame.sequence) session.hold = false;
    if (frame.op === "reply") {
      if (!session.downlink || session.moving) session.lost++;
      else if (frame.frame.length > this.mtu + 14) {
        // The program answers within the write: nothing is on its way before it.
        const { session: index, epoch } = frame;
        this.port.push({ ...frame, op: "too-big", session: index, epoch, reason: this.mtu });
      } else session.delivered.push(numberOf(frame.frame));
    }
    return true;
  }

  onReadable(listener: () => void): void {
    this.listener = listener;
  }

  session(index: number, epoch?: number): SlowSession | undefined {
    const session = this.sessions.get(index);
    if (!session || (epoch !== undefined && session.epoch !== epoch)) return undefined;
    const { hold, held, downlink, moving, uplink, candidate, wanted } = session;
    const aside = session.aside > 0;
    const ue = "10.45.0.2";
    return {
      index,
      epoch: session.epoch,
      dataplane: "s1",
      ue,
      hold,
      wanted,
      moving,
      uplink,
      candidate,
      downlink,
      aside,
      held,
    };
  }

  setAside(index: number, epoch: number, ms: number): boolean {
    const session = this.sessions.get(index);
    if (session?.epoch !== epoch) return false;
    session.aside = ms;
    session.hold = false;
    return true;
  }

  clearWanted(index: number, epoch: number): boolean {
    const session = this.sessions.get(index);
    if (session?.epoch !== epoch) return false;
    session.wanted = false;
    return true;
  }

  pinger(): PingerSetup | undefined {
    return this.setup;
  }

  room(): { mtu: number; overhead: number } | undefined {
    return { mtu: this.mtu + 36, overhead: 36 };
  }

  jiffies(): number {
    return 0;
  }

  capture(_filter: unknown, _listener: (packet: CapturedPacket) => void): () => void {
    return () => {};
  }
}

/** A frame that carries a number: Ethernet, IPv4 with the number as identification, `octets` of payload. */
export function numbered(number: number, octets = 20): Uint8Array {
  const frame = new Uint8Array(34 + octets);
  frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0]);
  const view = new DataView(frame.buffer);
  view.setUint16(16, 20 + octets);
  view.setUint16(18, number);
  frame.set([64, 17], 22);
  frame.set([10, 60, 0, 2, 10, 45, 0, 2], 26);
  return frame;
}

const numberOf = (frame: Uint8Array): number => new DataView(frame.buffer, frame.byteOffset).getUint16(18);
