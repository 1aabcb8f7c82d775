/**
 * What time is it to the kernel, and does it know UTC?
 *
 * adjtimex(2) without changing anything. Whoever keeps the clock (chronyd, systemd-timesyncd, a hypervisor's agent) tells
 * the kernel; it says "unsynchronised" itself when nobody has done so for long enough.
 */
import koffi from "koffi";

const call = koffi.load("libc.so.6").func("int adjtimex(void *buffer)") as (buffer: Uint8Array) => number;

/** struct timex of 64-bit Linux, <linux/timex.h>: octets, and where its members are. */
const layout = { size: 208, maxerror: 24, status: 40, seconds: 72, fraction: 80 } as const;
const STA_UNSYNC = 0x0040;
const STA_NANO = 0x2000;
const TIME_ERROR = 5;

export interface KernelTime {
  /** Since the epoch. */
  seconds: number;
  nanoSeconds: number;
  synchronised: boolean;
  /** How far off UTC the clock is at most, as it believes; microseconds. */
  maxErrorUs: number;
}

/** @throws Error when the kernel refuses, as a sandbox may make it */
export function kernelTime(): KernelTime {
  const timex = Buffer.alloc(layout.size);
  const state = call(timex);
  if (state < 0) throw new Error("adjtimex was refused");
  const status = timex.readInt32LE(layout.status);
  const fraction = Number(timex.readBigInt64LE(layout.fraction));
  return {
    seconds: Number(timex.readBigInt64LE(layout.seconds)),
    nanoSeconds: status & STA_NANO ? fraction : fraction * 1000,
    synchronised: state !== TIME_ERROR && (status & STA_UNSYNC) === 0,
    maxErrorUs: Number(timex.readBigInt64LE(layout.maxerror)),
  };
}
