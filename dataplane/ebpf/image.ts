/**
 * What does the classifier's image look like, octet by octet?
 *
 *   line 0, 1     struct root: of the uplink rules, of the rules by which apps speak first
 *   dimensions    a line each (struct dimension), per root
 *   words, groups what the vectors of both roots consist of (vectors.ts)
 *   trees         ends of intervals, 8 or 4 to a line, and the numbers of their vectors, 16 to a line
 *   outcomes      a line for each rule, in order
 *   slots         256 octets, and their members, for each set of several endpoints
 *
 * A tree's level holds the last end of each line of the level below. An end is the last number of its interval, so the
 * first end that is not less than a number shows where the number lies, and every line is filled up with the largest.
 */
import { type Box, dimensions, type Intervals, largest } from "../space.ts";
import { DIMENSIONS_WIDE, LEVELS_MAX } from "./consts.ts";
import * as layout from "./layout.ts";
import { TooLarge, Vectors } from "./vectors.ts";

export const LINE = 64;
/** Octets that an image may have; while rules are swapped there are two. */
export const IMAGE_MOST = 64 << 20;

export type Outcome = Partial<layout.Values<typeof layout.outcome.fields>>;
export type Member = Partial<layout.Values<typeof layout.member.fields>>;

/** One rule as the classifier has it. */
export interface Entry {
  box: Box;
  outcome: Outcome;
  /** Where there are several endpoints: equal `key`, equal slots and members. */
  several?: { key: string; slots: Uint8Array; members: Member[] };
}

interface Sweep {
  dimension: number;
  any: number;
  /** Last number of each interval: 32-bit words, least first but for the halves of wide ones, as in the line. */
  ends: Uint32Array;
  vectors: number[];
}

const MAX = 0xffff_ffff;

/** Writes numbers as lines have them. */
class Ends {
  private words: number[] = [];

  constructor(private readonly wide: boolean) {}

  /** All up to the one before this. */
  before(value: number | bigint): void {
    if (typeof value === "bigint") {
      const end = value - 1n;
      if (this.wide) this.push(end >> 64n);
      this.push(BigInt.asUintN(64, end));
    } else {
      if (this.wide) this.words.push(0, 0);
      this.words.push(((value - 1) % 2 ** 32) >>> 0, Math.floor((value - 1) / 2 ** 32));
    }
  }

  private push(word: bigint): void {
    this.words.push(Number(word & 0xffff_ffffn), Number(word >> 32n));
  }

  /** The last interval ends with the largest number there is. */
  finish(): Uint32Array {
    this.words.push(MAX, MAX);
    if (this.wide) this.words.push(MAX, MAX);
    return Uint32Array.from(this.words);
  }
}

const isWide = (dimension: number): boolean => ((DIMENSIONS_WIDE >> dimension) & 1) === 1;

interface Boundaries {
  values: ArrayLike<number | bigint>;
  rules: ArrayLike<number>;
}

/** First number and the one behind the last, of each interval; Infinity behind the largest of all. By box, which stays. */
const known = new WeakMap<Intervals, Float64Array>();

/** Undefined where numbers are not exact. */
function numbersOf(intervals: Intervals, dimension: number): Float64Array | undefined {
  let numbers = known.get(intervals);
  if (!numbers) {
    const top = largest(dimension);
    if (intervals.some(([low, high]) => low >= SAFE || (high >= SAFE && high !== top))) return undefined;
    numbers = new Float64Array(intervals.length * 2);
    for (let i = 0; i < intervals.length; i++) {
      const [low, high] = intervals[i]!;
      numbers[i * 2] = Number(low);
      numbers[i * 2 + 1] = high === top ? Number.POSITIVE_INFINITY : Number(high) + 1;
    }
    known.set(intervals, numbers);
  }
  return numbers;
}

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const RULES = 65536;

/** Where rules begin and cease to hold, in order: as numbers, or as bigints where those are not exact. */
function boundaries(entries: readonly Entry[], dimension: number): Boundaries {
  let count = 0;
  for (const { box } of entries) count += (box[dimension]?.length ?? 0) * 2;
  const values = new Float64Array(count);
  const rules = new Uint32Array(count);
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  let at = 0;
  for (let rule = 0; rule < entries.length; rule++) {
    const intervals = entries[rule]!.box[dimension];
    if (!intervals) continue;
    const numbers = numbersOf(intervals, dimension);
    if (!numbers) return largeBoundaries(entries, dimension);
    for (let i = 0; i < numbers.length; i++, at++) {
      const number = numbers[i]!;
      values[at] = number;
      rules[at] = rule;
      if (number === Number.POSITIVE_INFINITY) continue;
      if (number < least) least = number;
      if (number > most) most = number;
    }
  }
  // Near each other, as IPv4 addresses are, number and rule fit into one number, and that is sorted natively.
  if ((most - least + 2) * RULES < Number.MAX_SAFE_INTEGER) {
    const beyond = most + 1;
    for (let i = 0; i < count; i++) values[i] = (Math.min(values[i]!, beyond) - least) * RULES + rules[i]!;
    values.sort();
    for (let i = 0; i < count; i++) {
      const key = values[i]!;
      const value = Math.floor(key / RULES) + least;
      rules[i] = key % RULES;
      values[i] = value === beyond ? Number.POSITIVE_INFINITY : value;
    }
    return { values, rules };
  }
  const order = Uint32Array.from(values.keys());
  order.sort((a, b) => (values[a]! < values[b]! ? -1 : values[a]! > values[b]! ? 1 : 0));
  return { values: Float64Array.from(order, (i) => values[i]!), rules: order.map((i) => rules[i]!) };
}

function largeBoundaries(entries: readonly Entry[], dimension: number): Boundaries {
  const bounds: { value: bigint; rule: number }[] = [];
  for (const [rule, { box }] of entries.entries()) {
    for (const [low, high] of box[dimension] ?? []) bounds.push({ value: low, rule }, { value: high + 1n, rule });
  }
  bounds.sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
  return { values: bounds.map(({ value }) => value), rules: bounds.map(({ rule }) => rule) };
}

function sweep(entries: readonly Entry[], dimension: number, vectors: Vectors): Sweep {
  const indifferent = [...entries.keys()].filter((rule) => entries[rule]!.box[dimension] === undefined);
  for (const rule of indifferent) vectors.toggle(rule);
  const any = vectors.note();
  for (const rule of indifferent) vectors.toggle(rule);
  const { values, rules } = boundaries(entries, dimension);
  const beyond = largest(dimension) + 1n;
  const ends = new Ends(isWide(dimension));
  const own: number[] = [];
  let at = 0;
  while (at < values.length) {
    const value = values[at]!;
    const isBeyond = value === Number.POSITIVE_INFINITY || value === beyond;
    if (!isBeyond && value > 0) {
      ends.before(value);
      own.push(vectors.note());
    }
    if (isBeyond) break;
    for (; at < values.length && values[at] === value; at++) vectors.toggle(rules[at]!);
  }
  own.push(vectors.note());
  for (; at < values.length; at++) vectors.toggle(rules[at]!);
  return { dimension, any, ends: ends.finish(), vectors: own };
}

/** Dimensions that some rule says something about; G-PDUs alone say nothing while there is nothing else. */
function dimensionsOf(entries: readonly Entry[], signalling: boolean): number[] {
  return [...dimensions.keys()].filter((index) =>
    dimensions[index]!.name === "message" ? signalling : entries.some(({ box }) => box[index] !== undefined),
  );
}

/** Levels of the tree over these ends, the top first. */
function levels(ends: Uint32Array, wide: boolean): Uint32Array[] {
  const stride = wide ? 4 : 2;
  const found = [ends];
  for (let below = ends; below.length > 16; ) {
    const lines = Math.ceil(below.length / 16);
    const level = new Uint32Array(lines * stride);
    for (let line = 0; line < lines; line++) {
      const last = Math.min(line * 16 + 16, below.length) - stride;
      level.set(below.subarray(last, last + stride), line * stride);
    }
    found.unshift(level);
    below = level;
  }
  return found;
}

/** Lines one behind the other. */
class Lines {
  private parts: { at: number; octets: Uint8Array }[] = [];
  count = 0;

  constructor(private readonly most: number) {}

  /** Returns the number of its first line. `fill`: what the last line is filled up with. @throws TooLarge */
  add(octets: Uint8Array, fill = 0): number {
    const at = this.count;
    const lines = Math.ceil(octets.length / LINE);
    let whole = octets;
    if (fill !== 0 && octets.length % LINE !== 0) {
      whole = new Uint8Array(lines * LINE).fill(fill);
      whole.set(octets);
    }
    this.parts.push({ at: at * LINE, octets: whole });
    this.count += lines;
    if (this.count * LINE > this.most) throw new TooLarge();
    return at;
  }

  octets(): Uint8Array {
    const all = new Uint8Array(this.count * LINE);
    for (const { at, octets } of this.parts) all.set(octets, at);
    return all;
  }
}

const octetsOf = (words: Uint32Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

/** One root and all that hangs on it. */
function addRoot(
  lines: Lines,
  entries: readonly Entry[],
  signalling: boolean,
  shared: Map<string, { slots: number; members: number }>,
  most: number,
): Uint8Array {
  const vectors = new Vectors(entries.length, most - lines.count * LINE);
  const sweeps = dimensionsOf(entries, signalling).map((dimension) => sweep(entries, dimension, vectors));
  const described = sweeps.map(() => new Uint8Array(LINE));
  const first = lines.count;
  for (const line of described) lines.add(line);
  const words = lines.add(octetsOf(vectors.words.octets.subarray(0, vectors.words.length))) * 8;
  const groups = vectors.groups.octets.slice(0, vectors.groups.length);
  for (let at = 2; at < groups.length; at += 4) groups[at]! += words;
  const base = lines.add(octetsOf(groups)) * 4;
  const numberOf = (vector: number): number => (vector === 0 ? 0 : base + vector);
  for (const [i, { dimension, any, ends, vectors: own }] of sweeps.entries()) {
    const tree = levels(ends, isWide(dimension));
    if (tree.length > LEVELS_MAX) throw new TooLarge();
    const level = new Uint32Array(LEVELS_MAX);
    for (const [depth, one] of tree.entries()) level[depth] = lines.add(octetsOf(one), 0xff);
    described[i]!.set(
      layout.dimension.encode({
        index: dimension,
        levels: tree.length,
        any: numberOf(any),
        own: lines.add(octetsOf(Uint32Array.from(own, numberOf))),
        level: octetsOf(level),
      }),
    );
  }
  const outcomes = new Uint8Array(entries.length * LINE);
  const firstOutcome = lines.add(outcomes);
  for (const [rule, { outcome, several }] of entries.entries()) {
    const octets = several
      ? layout.outcome.encode({ ...outcome, ...severalOf(lines, several, shared) })
      : outcomeOctets(outcome);
    outcomes.set(octets, rule * LINE);
  }
  return layout.root.encode({ rules: entries.length, outcomes: firstOutcome, dimensions: sweeps.length, first });
}

/** Outcomes are the same objects from one image to the next where nothing changed. */
const encoded = new WeakMap<Outcome, Uint8Array>();

function outcomeOctets(outcome: Outcome): Uint8Array {
  let octets = encoded.get(outcome);
  if (!octets) {
    octets = layout.outcome.encode(outcome);
    encoded.set(outcome, octets);
  }
  return octets;
}

function severalOf(
  lines: Lines,
  { key, slots, members }: NonNullable<Entry["several"]>,
  shared: Map<string, { slots: number; members: number }>,
): { slots: number; members: number } {
  let place = shared.get(key);
  if (!place) {
    const octets = new Uint8Array(members.length * layout.member.size);
    for (const [i, member] of members.entries()) octets.set(layout.member.encode(member), i * layout.member.size);
    place = { slots: lines.add(slots), members: lines.add(octets) };
    shared.set(key, place);
  }
  return place;
}

/**
 * Entries ordered, highest priority first. `signalling`: some of them are about other messages than G-PDUs.
 * @throws TooLarge beyond `most` octets
 */
export function renderImage(
  uplink: readonly Entry[],
  app: readonly Entry[],
  signalling: boolean,
  most = IMAGE_MOST,
): Uint8Array {
  const lines = new Lines(most);
  const roots = new Uint8Array(2 * LINE);
  lines.add(roots);
  const shared = new Map<string, { slots: number; members: number }>();
  if (uplink.length > 0) roots.set(addRoot(lines, uplink, signalling, shared, most));
  if (app.length > 0) roots.set(addRoot(lines, app, false, shared, most), LINE);
  return lines.octets();
}
