/**
 * Which of ten thousand boxes meet a given one?
 *
 * Bounds of every dimension are numbered in their order, so that small integers are compared. The dimension with the
 * fewest meetings in it is an interval tree: intervals in the order of their lower bounds, the middle one of each part being
 * its root, which knows the highest upper bound of its part.
 */
import { type Box, dimensions, type Intervals } from "../../dataplane/space.ts";

/** Inclusive, as numbers of bounds: low, high, low, high, … */
type Cells = Int32Array;

const touches = (a: Cells | undefined, b: Cells | undefined): boolean => {
  if (!a || !b) return true;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i + 1]! < b[j]!) i += 2;
    else if (b[j + 1]! < a[i]!) j += 2;
    else return true;
  }
  return false;
};

/** Numbers of the bounds of one dimension. */
function numbered(boxes: readonly Box[], dimension: number): (Cells | undefined)[] {
  const bounds = new Set<bigint>();
  for (const box of boxes) for (const [low, high] of box[dimension] ?? []) bounds.add(low).add(high);
  if (bounds.size === 0) return [];
  const places = new Map([...bounds].sort((a, b) => (a < b ? -1 : 1)).map((bound, place) => [bound, place]));
  const cells = (intervals: Intervals | undefined) =>
    intervals && Int32Array.from(intervals.flatMap(([low, high]) => [places.get(low)!, places.get(high)!]));
  return boxes.map((box) => cells(box[dimension]));
}

export class Meeting {
  /** By dimension and box; dimensions in which no box has a condition are left out. */
  readonly #cells: (Cells | undefined)[][];
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  readonly #highest: Int32Array;
  readonly #box: Int32Array;
  readonly #key: (Cells | undefined)[];

  constructor(readonly boxes: readonly Box[]) {
    this.#cells = dimensions.map((_, dimension) => numbered(boxes, dimension)).filter((cells) => cells.length > 0);
    this.#key = this.#cells.reduce<(Cells | undefined)[]>(
      (best, cells) => (spread(cells) < spread(best) ? cells : best),
      this.#cells[0] ?? boxes.map(() => undefined),
    );
    const everything = Int32Array.of(0, 0x7fffffff);
    const entries = this.#key.flatMap((cells = everything, box) =>
      Array.from({ length: cells.length / 2 }, (_, at) => [cells[2 * at]!, cells[2 * at + 1]!, box] as const),
    );
    entries.sort((a, b) => a[0] - b[0]);
    this.#low = Int32Array.from(entries, ([low]) => low);
    this.#high = Int32Array.from(entries, ([, high]) => high);
    this.#box = Int32Array.from(entries, ([, , box]) => box);
    this.#highest = new Int32Array(entries.length);
    this.#fill(0, entries.length);
  }

  #fill(from: number, to: number): number {
    if (from >= to) return -1;
    const middle = (from + to) >> 1;
    const highest = Math.max(this.#high[middle]!, this.#fill(from, middle), this.#fill(middle + 1, to));
    this.#highest[middle] = highest;
    return highest;
  }

  /** Positions of the others that the box at `at` meets, ascending. */
  of(at: number): number[] {
    const found = new Set<number>();
    const key = this.#key[at] ?? Int32Array.of(0, 0x7fffffff);
    for (let i = 0; i < key.length; i += 2) this.#look(0, this.#box.length, key[i]!, key[i + 1]!, found);
    found.delete(at);
    return [...found]
      .filter((other) => this.#cells.every((cells) => cells === this.#key || touches(cells[at], cells[other])))
      .sort((a, b) => a - b);
  }

  #look(from: number, to: number, low: number, high: number, found: Set<number>): void {
    if (from >= to) return;
    const middle = (from + to) >> 1;
    if (this.#highest[middle]! < low) return;
    this.#look(from, middle, low, high, found);
    if (this.#low[middle]! > high) return;
    if (this.#high[middle]! >= low) found.add(this.#box[middle]!);
    this.#look(middle + 1, to, low, high, found);
  }
}

/** About how many boxes share a place of this dimension: those without a condition, and overlaps of the others. */
function spread(cells: readonly (Cells | undefined)[]): number {
  let places = 0;
  let covered = 0;
  let free = 0;
  for (const one of cells) {
    if (!one) free += 1;
    else
      for (let i = 0; i < one.length; i += 2) {
        places = Math.max(places, one[i + 1]! + 1);
        covered += one[i + 1]! - one[i]! + 1;
      }
  }
  return free + covered / Math.max(1, places);
}
