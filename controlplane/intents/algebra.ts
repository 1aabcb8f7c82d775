/**
 * Do two sets of packets meet, is one the other, and which packets are in both?
 *
 * Exact arithmetic on boxes (dataplane/space.ts): a box is a product, so two of them meet exactly when they meet in every
 * dimension, and what they share is again a box. Data planes are numbered in the order in which their names first came up;
 * a name that no data plane has is a number as well, which no packet has.
 */
import {
  type Box,
  boxOf,
  dimensionIndex,
  dimensions,
  type Interval,
  type Intervals,
  outsideIn,
  type Point,
} from "../../dataplane/space.ts";
import type { Match } from "../../dataplane/steering.ts";

const numbers = new Map<string, number>();

export function dataplaneNumber(name: string): number {
  const known = numbers.get(name);
  if (known !== undefined) return known;
  numbers.set(name, numbers.size);
  return numbers.size - 1;
}

/** Name of a number that `dataplaneNumber` gave. */
export const dataplaneOf = (number: number): string | undefined => [...numbers.keys()][number];

/** Matches never change, so each becomes a box once. */
const known = new WeakMap<Match, Box>();

export function boxOfMatch(match: Match): Box {
  const made = known.get(match);
  if (made) return made;
  const box = boxOf(match, dataplaneNumber);
  known.set(match, box);
  return box;
}

const UPLINK_ONLY: Intervals = [[0n, 0n]];

/** Where a rule acts: one for flows where their uplink packets are, for the downlink goes with them. */
export function reachOf(match: Match): Box {
  const box = boxOfMatch(match);
  if (match.direction) return box;
  return box.map((intervals, at) => (at === dimensionIndex.direction ? UPLINK_ONLY : intervals));
}

export function intervalsMeet(a: Intervals | undefined, b: Intervals | undefined): boolean {
  if (!a || !b || a === b) return true;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [left, right] = [a[i]!, b[j]!];
    if (left[1] < right[0]) i += 1;
    else if (right[1] < left[0]) j += 1;
    else return true;
  }
  return false;
}

export function intersectIntervals(a: Intervals | undefined, b: Intervals | undefined): Intervals | undefined {
  if (!a || !b) return a ?? b;
  const shared: Interval[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [left, right] = [a[i]!, b[j]!];
    const leftBegins = left[0] < right[0];
    const low = leftBegins ? right[0] : left[0];
    const leftEnds = left[1] < right[1];
    const high = leftEnds ? left[1] : right[1];
    if (low <= high) shared.push([low, high]);
    if (leftEnds) i += 1;
    else j += 1;
  }
  return shared;
}

/** Is there a packet in both? */
export function boxesMeet(a: Box, b: Box): boolean {
  for (let at = 0; at < dimensions.length; at += 1) if (!intervalsMeet(a[at], b[at])) return false;
  return true;
}

/** Is the point in the box? */
export const holds = (box: Box, point: Point): boolean => outsideIn(box, point) === undefined;

/** Undefined when they do not meet. */
export function intersect(a: Box, b: Box): Box | undefined {
  const shared = dimensions.map((_, at) => intersectIntervals(a[at], b[at]));
  return shared.some((intervals) => intervals?.length === 0) ? undefined : shared;
}

const intervalsEqual = (a: Intervals | undefined, b: Intervals | undefined): boolean =>
  a === b ||
  (a !== undefined &&
    b !== undefined &&
    a.length === b.length &&
    a.every(([low, high], index) => b[index]?.[0] === low && b[index]?.[1] === high));

/** Do both hold the same packets? Matches are canonical, so nothing else is equal. */
export const boxesEqual = (a: Box, b: Box): boolean => dimensions.every((_, at) => intervalsEqual(a[at], b[at]));
