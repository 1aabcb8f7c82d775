/**
 * Which rules hold in which interval of one dimension?
 *
 * A sweep over the ends of all rules' intervals keeps the set of rules that hold, as bits, and writes it down once per
 * different set: numbers of vectors, which are groups of 4096 rules and the words of 64 that are not zero (struct group
 * in bpf/structs.h). Most sets differ from the one before by a rule, so a hash of the set is kept along with it.
 */

/** Grows as it is filled. */
class Words {
  octets = new Uint32Array(1 << 12);
  length = 0;

  reserve(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.octets.length) {
      const larger = new Uint32Array(2 ** Math.ceil(Math.log2(this.length)));
      larger.set(this.octets);
      this.octets = larger;
    }
    return at;
  }
}

/** Thrown when there is more to write down than an image may have. */
export class TooLarge extends Error {}

const GROUP = 4; // 32-bit words of struct group

export class Vectors {
  /** 64-bit words, low half first. */
  readonly words = new Words();
  /** struct group, `first` counted in 64-bit words from the first of `words`. */
  readonly groups = new Words();
  private readonly known = new Map<number, number[]>();
  private readonly bits: Uint32Array;
  /** Which 64-bit words of `bits` are not zero, 64 of them per group. */
  private readonly summary: Uint32Array;
  private readonly keys: Uint32Array;
  private hashLow = 0;
  private hashHigh = 0;
  private held = 0;

  /** `most`: octets that words and groups may have together. */
  constructor(
    readonly rules: number,
    private readonly most: number,
  ) {
    const groups = Math.max(1, Math.ceil(rules / 4096));
    this.bits = new Uint32Array(groups * 128);
    this.summary = new Uint32Array(groups * 2);
    this.keys = new Uint32Array(rules * 2);
    // xorshift: the same keys each time, so that the same rules give the same image.
    let state = 0x2545f491;
    for (let i = 0; i < this.keys.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      this.keys[i] = state;
    }
    this.groups.reserve(groups * GROUP); // vector 0 is empty
    this.known.set(0, [0]);
  }

  get perVector(): number {
    return this.summary.length / 2;
  }

  /** This rule holds from here on, or no longer. */
  toggle(rule: number): void {
    const word = rule >>> 5;
    this.bits[word]! ^= 1 << (rule & 31);
    const now = this.bits[word]!;
    this.held += (now >>> (rule & 31)) & 1 ? 1 : -1;
    const pair = word >>> 1;
    const bit = 1 << (pair & 31);
    if (now !== 0 || this.bits[word ^ 1] !== 0) this.summary[pair >>> 5]! |= bit;
    else this.summary[pair >>> 5]! &= ~bit;
    this.hashLow ^= this.keys[rule * 2]!;
    this.hashHigh ^= this.keys[rule * 2 + 1]!;
  }

  /** The number of the vector of those that hold. @throws TooLarge */
  note(): number {
    if (this.held === 0) return 0;
    const hash = (this.hashLow >>> 0) + (this.hashHigh & 0x1f_ffff) * 0x1_0000_0000;
    const same = this.known.get(hash);
    const found = same?.find((vector) => this.isNow(vector));
    if (found !== undefined) return found;
    const vector = this.write();
    if (same) same.push(vector);
    else this.known.set(hash, [vector]);
    return vector;
  }

  private write(): number {
    const { groups, words, summary, bits } = this;
    const at = groups.reserve(this.perVector * GROUP);
    for (let g = 0; g < this.perVector; g++) {
      const low = summary[g * 2]!;
      const high = summary[g * 2 + 1]!;
      const first = words.length / 2;
      for (let half = 0; half < 2; half++) {
        for (let rest = half === 0 ? low : high; rest !== 0; rest &= rest - 1) {
          const pair = g * 64 + half * 32 + (31 - Math.clz32(rest & -rest));
          const to = words.reserve(2);
          words.octets[to] = bits[pair * 2]!;
          words.octets[to + 1] = bits[pair * 2 + 1]!;
        }
      }
      groups.octets[at + g * GROUP] = low;
      groups.octets[at + g * GROUP + 1] = high;
      groups.octets[at + g * GROUP + 2] = first;
    }
    if ((groups.length + words.length) * 4 > this.most) throw new TooLarge();
    return at / GROUP;
  }

  private isNow(vector: number): boolean {
    const { groups, words, summary, bits } = this;
    for (let g = 0; g < this.perVector; g++) {
      const at = (vector + g) * GROUP;
      for (let half = 0; half < 2; half++) {
        if (groups.octets[at + half] !== summary[g * 2 + half]) return false;
      }
    }
    for (let g = 0; g < this.perVector; g++) {
      let from = groups.octets[(vector + g) * GROUP + 2]! * 2;
      for (let half = 0; half < 2; half++) {
        for (let rest = summary[g * 2 + half]!; rest !== 0; rest &= rest - 1) {
          const pair = g * 64 + half * 32 + (31 - Math.clz32(rest & -rest));
          if (words.octets[from++] !== bits[pair * 2] || words.octets[from++] !== bits[pair * 2 + 1]) return false;
        }
      }
    }
    return true;
  }
}
