/**
 * Where do random tests get numbers that can be had again?
 *
 * xoshiro128** seeded through splitmix32. A test prints its seed; OFFRAMP_SEED repeats the run.
 */
export interface Random {
  readonly seed: number;
  /** 0 .. 2^32-1. */
  next(): number;
  /** 0 .. n-1. */
  below(n: number): number;
  /** low .. high, both included. */
  between(low: number, high: number): number;
  /** True once in `n` times. */
  oneIn(n: number): boolean;
  pick<T>(list: readonly T[]): T;
  bytes(n: number): Uint8Array;
}

export function random(seed: number = Number(process.env.OFFRAMP_SEED ?? 1)): Random {
  let mix = seed >>> 0;
  const split = () => {
    mix = (mix + 0x9e3779b9) >>> 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  let a = split();
  let b = split();
  let c = split();
  let d = split();
  const rotate = (x: number, k: number) => ((x << k) | (x >>> (32 - k))) >>> 0;
  const next = () => {
    const result = Math.imul(rotate(Math.imul(b, 5) >>> 0, 7), 9) >>> 0;
    const t = (b << 9) >>> 0;
    c = (c ^ a) >>> 0;
    d = (d ^ b) >>> 0;
    b = (b ^ c) >>> 0;
    a = (a ^ d) >>> 0;
    c = (c ^ t) >>> 0;
    d = rotate(d, 11);
    return result;
  };
  const below = (n: number) => Math.floor((next() / 2 ** 32) * n);
  return {
    seed,
    next,
    below,
    between: (low, high) => low + below(high - low + 1),
    oneIn: (n) => below(n) === 0,
    pick: <T>(list: readonly T[]): T => list[below(list.length)] as T,
    bytes: (n) => Uint8Array.from({ length: n }, () => next() & 0xff),
  };
}
