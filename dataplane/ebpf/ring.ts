/**
 * What did the programs report?
 *
 * A BPF ring buffer read in place (Documentation/bpf/ringbuf.rst): one page with the consumer's position, which we write;
 * one page with the producer's; then the data, mapped twice in a row so that no record is cut by the end.
 *
 *   record: u32 length (bit 31: still being written, bit 30: thrown away), u32, octets, padding to 8
 *
 * The event loop tells when there is something (`start`); nothing runs on another thread.
 */
import { type BpfMap, mapMemory } from "./bpf-map.ts";
import { libc, type Pointer, type Poll, pollReadable, viewOf } from "./libbpf.ts";

const PAGE = 4096;
const BUSY = 0x8000_0000;
const DISCARD = 0x4000_0000;
/** Records handled before others get their turn; the rest wait for the next round of the event loop. */
const AT_ONCE = 8192;

export class Ring {
  private readonly size: number;
  private readonly consumerAt: Pointer;
  private readonly producerAt: Pointer;
  private readonly consumer: BigInt64Array;
  private readonly producer: BigInt64Array;
  private readonly lengths: Int32Array;
  private readonly data: Uint8Array;
  private poll: Poll | undefined;
  private position: bigint;

  /** `listener` gets a view of the record that is gone when it returns. */
  constructor(
    private readonly map: BpfMap,
    private readonly listener: (record: Uint8Array) => void,
  ) {
    this.size = map.maxEntries;
    this.consumerAt = mapMemory(map.fd, PAGE, 0, true, map.name);
    this.producerAt = mapMemory(map.fd, PAGE + 2 * this.size, PAGE, false, map.name);
    this.consumer = new BigInt64Array(viewOf(this.consumerAt, PAGE));
    const shared = viewOf(this.producerAt, PAGE + 2 * this.size);
    this.producer = new BigInt64Array(shared, 0, 1);
    this.lengths = new Int32Array(shared, PAGE);
    this.data = new Uint8Array(shared, PAGE);
    this.position = Atomics.load(this.consumer, 0);
  }

  private consuming = false;
  private closed = false;

  start(): void {
    this.poll ??= pollReadable(this.map.fd, () => this.consume());
  }

  /**
   * Handles what is there, at most `AT_ONCE` records. Returns how many. A listener may call `close`, or this again: the
   * ring is left when the record at hand is done.
   */
  consume(): number {
    if (this.consuming || this.closed) return 0;
    this.consuming = true;
    try {
      return this.handle();
    } finally {
      this.consuming = false;
      if (this.closed) this.unmap();
    }
  }

  private handle(): number {
    let handled = 0;
    const produced = Atomics.load(this.producer, 0);
    while (!this.closed && this.position < produced && handled < AT_ONCE) {
      const at = Number(this.position & BigInt(this.size - 1));
      const header = Atomics.load(this.lengths, at / 4) >>> 0;
      if (header & BUSY) break;
      const length = header & ~(BUSY | DISCARD);
      if (!(header & DISCARD)) {
        handled++;
        try {
          this.listener(this.data.subarray(at + 8, at + 8 + length));
        } catch (error) {
          this.advance(length);
          throw error;
        }
      }
      this.advance(length);
    }
    return handled;
  }

  /** Passes over everything that is there. */
  skip(): void {
    this.position = Atomics.load(this.producer, 0);
    Atomics.store(this.consumer, 0, this.position);
  }

  private advance(length: number): void {
    this.position += BigInt((length + 8 + 7) & ~7);
    Atomics.store(this.consumer, 0, this.position);
  }

  stop(): void {
    this.poll?.close();
    this.poll = undefined;
  }

  /** Ends reading for good. The map is the caller's. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.stop();
    if (!this.consuming) this.unmap();
  }

  private unmap(): void {
    libc.munmap(this.consumerAt, PAGE);
    libc.munmap(this.producerAt, PAGE + 2 * this.size);
  }
}
