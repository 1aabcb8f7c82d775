/**
 * Is every packet of a set in one of some other sets, and if not, which packet is in none?
 *
 * Exact: no sampling. One dimension after the other is cut where a set begins or ends. Within a piece between two cuts
 * each set is either there or not, so the dimension is done with, and the question is the same one with a dimension less
 * and fewer sets:
 *
 *     sets   |----a----|        |--c--|            pieces of one dimension, and who is there
 *                 |----b----|                      a · ab · b · nobody ◀ a packet that is in none · c
 *
 * A piece in which a set has no condition left is covered by it. The question is hard in principle (it contains
 * satisfiability), so work is counted, and beyond `workLimit` the answer is that there is none.
 */
import { type Box, dimensions, type Interval, type Intervals, largest } from "../../dataplane/space.ts";
import { intersectIntervals } from "./algebra.ts";

export type Answer =
  /** The intervals from which any packet is in none of the sets. */
  | { uncovered: Interval[] }
  /** Positions of sets that are enough together; none of them can be left out. */
  | { by: number[] }
  | { undecided: true };

/** Steps, of the order of ten nanoseconds. */
export const workLimit = 30_000_000;

class TooMuch extends Error {}

/** A set within the target: its conditions by dimension; a dimension that it fills is not there. */
interface Owner {
  at: number;
  sets: Map<number, Intervals>;
}

/** Names of data planes that have gone are numbers as well, so there may be more than the kernel can have. */
const every = dimensions.map(({ name }, at): Intervals => [[0n, name === "dataplane" ? 0xffffffffn : largest(at)]]);

const sameIntervals = (a: Intervals, b: Intervals): boolean =>
  a === b || (a.length === b.length && a.every(([low, high], i) => low === b[i]![0] && high === b[i]![1]));

/** Undefined when they do not meet. */
function within(target: readonly Intervals[], box: Box, at: number): Owner | undefined {
  const sets = new Map<number, Intervals>();
  for (const [dimension, whole] of target.entries()) {
    const given = box[dimension];
    if (!given) continue;
    const shared = intersectIntervals(whole, given) as Intervals;
    if (shared.length === 0) return undefined;
    if (!sameIntervals(shared, whole)) sets.set(dimension, shared);
  }
  return { at, sets };
}

/** A piece of one dimension with those that are there by a condition. */
interface Piece {
  interval: Interval;
  owners: Owner[];
}

class Search {
  readonly used = new Set<number>();
  readonly point: Interval[];
  #work = 0;

  constructor(
    private readonly target: readonly Intervals[],
    private readonly limit: number,
  ) {
    this.point = target.map((intervals) => intervals[0]!);
  }

  /** Does a packet of the target lie outside all owners? Then `point` says where. */
  run(owners: readonly Owner[], done: ReadonlySet<number>): boolean {
    this.#count(owners.length);
    if (owners.length === 0) {
      for (const [at, intervals] of this.target.entries()) if (!done.has(at)) this.point[at] = intervals[0]!;
      return true;
    }
    if (this.#filled(owners, done)) return false;
    const dimension = this.#busiest(owners, done);
    const rest = new Set(done).add(dimension);
    const free = owners.filter(({ sets }) => !sets.has(dimension));
    const seen = new Set<string>();
    for (const { interval, owners: there } of this.#pieces(owners, dimension)) {
      // Pieces with the same owners have the same answer.
      const key = there.length <= 64 ? there.map(({ at }) => at).join() : undefined;
      if (key !== undefined && seen.has(key)) continue;
      if (key !== undefined) seen.add(key);
      this.point[dimension] = interval;
      if (this.run(free.length === 0 ? there : [...free, ...there], rest)) return true;
    }
    return false;
  }

  /** Notes an owner that has no condition left; one that was noted before is preferred. */
  #filled(owners: readonly Owner[], done: ReadonlySet<number>): boolean {
    let found: Owner | undefined;
    for (const owner of owners) {
      if (found && !this.used.has(owner.at)) continue;
      let open = 0;
      for (const dimension of owner.sets.keys()) if (!done.has(dimension)) open += 1;
      if (open > 0) continue;
      found = owner;
      if (this.used.has(owner.at)) break;
    }
    if (found) this.used.add(found.at);
    return found !== undefined;
  }

  /** The dimension in which most owners have a condition. */
  #busiest(owners: readonly Owner[], done: ReadonlySet<number>): number {
    const counts = new Array<number>(dimensions.length).fill(0);
    for (const { sets } of owners) for (const dimension of sets.keys()) counts[dimension]! += 1;
    let best = -1;
    for (const [dimension, count] of counts.entries()) {
      if (!done.has(dimension) && (best < 0 || count > counts[best]!)) best = dimension;
    }
    return best;
  }

  /** Those with the fewest owners first: a packet that is in none is found there, if anywhere. */
  #pieces(owners: readonly Owner[], dimension: number): Piece[] {
    const cuts = new Set<bigint>();
    for (const { sets } of owners) {
      for (const [low, high] of sets.get(dimension) ?? []) cuts.add(low).add(high + 1n);
    }
    const ordered = [...cuts].sort((a, b) => (a < b ? -1 : 1));
    this.#count(ordered.length);
    const pieces: Piece[] = [];
    let next = 0;
    const places = new Map<bigint, number>();
    for (const [low, high] of this.target[dimension]!) {
      let from = low;
      while (next < ordered.length && ordered[next]! <= low) next += 1;
      for (;;) {
        const cut = next < ordered.length && ordered[next]! <= high ? ordered[next++]! : high + 1n;
        places.set(from, pieces.length);
        pieces.push({ interval: [from, cut - 1n], owners: [] });
        if (cut > high) break;
        from = cut;
      }
    }
    for (const owner of owners) {
      for (const [low, high] of owner.sets.get(dimension) ?? []) {
        for (let at = places.get(low)!; at < pieces.length && pieces[at]!.interval[0] <= high; at += 1) {
          pieces[at]!.owners.push(owner);
          this.#count(1);
        }
      }
    }
    return pieces.sort((a, b) => a.owners.length - b.owners.length);
  }

  #count(steps: number): void {
    this.#work += steps;
    if (this.#work > this.limit) throw new TooMuch();
  }
}

function ask(target: readonly Intervals[], owners: readonly Owner[], limit: number): Search | Interval[] {
  const search = new Search(target, limit);
  return search.run(owners, new Set()) ? search.point : search;
}

/** Leaves out what is not needed, one after the other. */
function needed(target: readonly Intervals[], owners: readonly Owner[], limit: number): number[] {
  let kept = [...owners];
  for (const owner of owners.length <= 64 ? [...owners].reverse() : []) {
    if (kept.length === 1) break;
    const rest = kept.filter((one) => one !== owner);
    if (!Array.isArray(ask(target, rest, limit))) kept = rest;
  }
  return kept.map(({ at }) => at).sort((a, b) => a - b);
}

/** Is all of `target` in the union of `boxes`? `limit` counts steps. */
export function cover(target: Box, boxes: readonly Box[], limit = workLimit): Answer {
  const whole = dimensions.map((_, at) => target[at] ?? every[at]!);
  const owners = boxes.flatMap((box, at) => within(whole, box, at) ?? []);
  const alone = owners.find(({ sets }) => sets.size === 0);
  if (alone) return { by: [alone.at] };
  try {
    const found = ask(whole, owners, limit);
    if (Array.isArray(found)) return { uncovered: found };
    return {
      by: needed(
        whole,
        owners.filter(({ at }) => found.used.has(at)),
        limit,
      ),
    };
  } catch (error) {
    if (error instanceof TooMuch) return { undecided: true };
    throw error;
  }
}
