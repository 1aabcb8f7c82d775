/**
 * Who looks after the sessions while packets flow?
 *
 * Wires the parts of this folder to a data plane: its events start and stop the pinger and end holds, its slow port is
 * read whenever something waits, timers do the rest. The kernel's maps are the truth about sessions: nothing here must
 * survive a restart, and every decision is checked against the session as it is now, so that a lost event costs time
 * and nothing else.
 *
 *   wanted, stale, candidate ──▶ Pinger ──▶ PingerSocket ──▶ pinger device ──▶ UE's uplink tunnel ──▶ core
 *   downlink-learnt, moved, pinger-answer, owner-changed ◀── kernel ◀── the core's answer
 *        └──▶ Pinger stops, SlowDispatch sends what is held and ends the hold
 *   no answer in time ──▶ what is held is dropped, the UE's traffic goes to the core for a while (DESIGN 7)
 */
import type { Dataplane, DataplaneEvent } from "../../dataplane/dataplane.ts";
import type { PingerSetup, SlowPath } from "../../dataplane/slow-path.ts";
import { buildEcho, CANDIDATE_BIT } from "./echo.ts";
import { Hold, type HoldLimits } from "./hold.ts";
import { Pinger, type PingerLimits, type PingNow, type PingTrack } from "./pinger.ts";
import { PingerSocket, type PingSender } from "./pinger-socket.ts";
import { SlowDispatch } from "./slow.ts";

const DEFAULT_HOLD_MS = 5000;
const ASIDE_MS = 30_000;
/** DataplaneEvent.slot of an answer that came through the claim's tunnel (SLOT_CANDIDATE). */
const SLOT_CANDIDATE = 4;

export interface SessionsOptions {
  dataplane: Pick<Dataplane, "on">;
  slow: SlowPath;
  /** Milliseconds that a UE's traffic goes to the core after the pinger gave up. */
  asideMs?: number;
  pinger?: PingerLimits;
  hold?: HoldLimits;
  /** Tells what the operator should know, once per cause. */
  warn?: (message: string) => void;
  /** Milliseconds, never going back; and what sends echo requests. Both for tests. */
  now?: () => number;
  sender?: (device: string) => PingSender;
}

export class SessionsRuntime {
  private readonly slow: SlowPath;
  private readonly dispatch: SlowDispatch;
  private readonly pinger: Pinger;
  private readonly now: () => number;
  private readonly senders = new Map<string, PingSender>();
  /** Claims that the core did not answer: not asked for again before. Ordered by time. */
  private readonly refuted = new Map<number, { until: number }>();
  private readonly warned = new Set<string>();
  private readonly counts = { pingsFailed: 0, answered: 0, aside: 0, untargeted: 0 };
  private unsubscribe: (() => void) | undefined;
  private timer: NodeJS.Timeout | undefined;
  private soon: NodeJS.Immediate | undefined;

  constructor(private readonly options: SessionsOptions) {
    this.slow = options.slow;
    this.now = options.now ?? (() => performance.now());
    this.pinger = new Pinger(options.pinger);
    this.dispatch = new SlowDispatch(options.slow, {
      now: this.now,
      holdMs: (dataplane) => this.slow.pinger(dataplane)?.giveUpMs ?? DEFAULT_HOLD_MS,
      hold: new Hold(options.hold),
    });
  }

  /** Begins to listen. Frames that wait already are read at once. */
  start(): void {
    this.unsubscribe = this.options.dataplane.on((event) => this.onEvent(event));
    this.slow.onReadable(() => {
      this.dispatch.service();
      this.poke();
    });
    this.dispatch.service();
    this.poke();
  }

  /** Stops listening and closes the sockets. What is held is lost; the kernel's maps go on without us. */
  stop(): void {
    this.unsubscribe?.();
    this.unsubscribe = undefined;
    this.slow.onReadable(() => {});
    clearTimeout(this.timer);
    clearImmediate(this.soon);
    this.timer = this.soon = undefined;
    for (const sender of this.senders.values()) sender.close();
    this.senders.clear();
  }

  /** Plain numbers, growing; the last four are levels. */
  counters(): Record<string, number> {
    const { counts: pinger } = this.pinger;
    const { counts: slow, hold, reassembler, reorder } = this.dispatch;
    return {
      pinger_started: pinger.started,
      pinger_sent: pinger.sent,
      pinger_send_failed: this.counts.pingsFailed,
      pinger_answered: this.counts.answered,
      pinger_stopped: pinger.stopped,
      pinger_gave_up: pinger.gaveUp,
      pinger_delayed: pinger.delayed,
      pinger_no_target: this.counts.untargeted,
      sessions_aside: this.counts.aside,
      hold_received: slow.held,
      hold_sent: slow.replies,
      hold_released: slow.releases,
      hold_lost: slow.lost,
      hold_dropped_full: hold.dropped.full,
      hold_dropped_expired: hold.dropped.expired,
      hold_dropped_gave_up: hold.dropped.gaveUp,
      hold_dropped_gone: hold.dropped.gone,
      fragments_received: slow.fragments,
      fragments_reassembled: slow.reassembled,
      fragments_returned: slow.returned,
      fragments_passed: slow.passed,
      fragments_dropped_timeout: slow.timeout,
      fragments_dropped_full: slow.full,
      fragments_dropped_overlap: slow.overlap,
      fragments_dropped_malformed: slow.malformed,
      inner_fragments_received: reorder.counts.received,
      inner_fragments_retried: reorder.counts.retried,
      inner_fragments_settled: reorder.counts.settled,
      inner_fragments_gave_up: reorder.counts.gaveUp,
      inner_fragments_full: reorder.counts.full,
      too_big_received: slow.tooBig,
      too_big_fragments_sent: slow.cut,
      too_big_dropped: slow.notCut,
      slow_write_failed: slow.unwritten,
      pinger_active: this.pinger.size,
      hold_packets: hold.packets,
      hold_octets: hold.bytes,
      fragments_waiting: reassembler.size,
    };
  }

  private onEvent(event: DataplaneEvent): void {
    const { session, epoch } = event;
    switch (event.type) {
      case "wanted":
      case "stale":
      case "candidate":
        this.ping(event, event.type);
        break;
      case "pinger-answer":
        this.counts.answered++;
        if (event.slot === SLOT_CANDIDATE) this.pinger.stop(session, true);
        else if (!this.unusable(session, epoch)) this.stopPings(session, epoch);
        this.dispatch.learnt(session, epoch);
        break;
      case "downlink-learnt":
      case "moved":
      case "owner-changed":
        this.stopPings(session, epoch);
        this.dispatch.learnt(session, epoch);
        break;
      case "bearer-new":
        this.dispatch.learnt(session, epoch);
        break;
      case "session-idle":
        this.pinger.stop(session, false);
        this.pinger.stop(session, true);
        this.dispatch.hold.forget(session);
        return;
      default:
        return;
    }
    this.poke();
  }

  private ping(event: DataplaneEvent, cause: PingTrack["cause"]): void {
    const { session, epoch, dataplane } = event;
    const setup = this.slow.pinger(dataplane);
    const ue = event.ue.split("/")[0] ?? "";
    if (!setup || !targetFor(setup, ue)) {
      this.counts.untargeted++;
      return;
    }
    const { intervalMs, giveUpMs } = setup;
    const candidate = cause === "candidate";
    if (candidate && (this.refuted.get(session)?.until ?? 0) > this.now()) return;
    const track = { session, epoch, dataplane, ue, candidate, cause, intervalMs, giveUpMs };
    if (this.needed(track)) this.pinger.start(track, this.now());
  }

  /** Asks the session itself, so that lost or late events do no harm. */
  private needed(track: PingTrack): boolean {
    const session = this.slow.session(track.session, track.epoch);
    if (!session) return false;
    if (track.candidate) return session.candidate;
    if (!session.uplink || session.aside) return false;
    return track.cause === "stale" || session.moving || !session.downlink;
  }

  /** Answered, and yet not usable: a bearer that was refused before is trusted again only after a second answer. */
  private unusable(session: number, epoch: number): boolean {
    const now = this.slow.session(session, epoch);
    return now !== undefined && (now.moving || !now.downlink);
  }

  /** A claim goes on being asked for until the session says that it is settled. */
  private stopPings(session: number, epoch: number): void {
    this.pinger.stop(session, false);
    if (!this.slow.session(session, epoch)?.candidate) this.pinger.stop(session, true);
  }

  private tick(): void {
    const { pings, gaveUp } = this.pinger.tick(this.now());
    for (const ping of pings) this.send(ping);
    for (const track of gaveUp) this.giveUp(track);
    for (const [session, { until }] of this.refuted) {
      if (until > this.now()) break;
      this.refuted.delete(session);
    }
    this.dispatch.tick();
    this.arm();
  }

  private send({ track, count }: PingNow): void {
    const setup = this.slow.pinger(track.dataplane);
    const target = setup && targetFor(setup, track.ue);
    if (!setup || !target || !this.needed(track)) {
      this.pinger.stop(track.session, track.candidate);
      return;
    }
    const { id, cookie, device } = setup;
    const { session, epoch } = track;
    // Only a prefix is known: any interface id in it is the UE's.
    const ue = track.ue.endsWith("::") ? `${track.ue}1` : track.ue;
    const sequence = count | (track.candidate ? CANDIDATE_BIT : 0);
    const packet = buildEcho({ ue, target, id, sequence, cookie, session, epoch });
    if (!packet) return;
    let sender = this.senders.get(device);
    if (!sender) {
      sender = (this.options.sender ?? ((name) => new PingerSocket(name)))(device);
      this.senders.set(device, sender);
    }
    sender.send(packet, (error) => {
      if (!error) return;
      this.counts.pingsFailed++;
      this.warnOnce(`pinger device ${device}: ${error.message}`);
    });
  }

  /** The core does not answer: the UE's traffic goes to it for a while, and shows where the UE is on its way back. */
  private giveUp(track: PingTrack): void {
    const asideMs = this.options.asideMs ?? ASIDE_MS;
    if (track.candidate) {
      this.refuted.delete(track.session);
      this.refuted.set(track.session, { until: this.now() + asideMs });
      return;
    }
    if (!this.needed({ ...track, cause: "wanted" })) return;
    this.dispatch.hold.forget(track.session, "gaveUp");
    this.slow.clearWanted(track.session, track.epoch);
    if (this.slow.setAside(track.session, track.epoch, asideMs)) this.counts.aside++;
  }

  /** Once per turn of the event loop, however many events came. */
  private poke(): void {
    if (!this.unsubscribe) return;
    this.soon ??= setImmediate(() => {
      this.soon = undefined;
      this.tick();
    });
  }

  private arm(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.unsubscribe) return;
    const now = this.now();
    const next = Math.min(this.pinger.next(now) ?? Infinity, this.dispatch.next() ?? Infinity);
    if (next === Infinity) return;
    this.timer = setTimeout(() => this.tick(), Math.max(1, next - now));
    this.timer.unref();
  }

  private warnOnce(message: string): void {
    if (this.warned.has(message)) return;
    this.warned.add(message);
    this.options.warn?.(message);
  }
}

const targetFor = (setup: PingerSetup, ue: string): string | undefined =>
  ue.includes(":") ? setup.target6 : setup.target;
