/**
 * How is a field of a body read, and everything that is wrong with it kept?
 *
 * Every reader returns undefined where the field is absent or wrong; what is wrong is in `errors`, so that one answer names
 * all of it. Values are strings in the seeds; numbers are taken as well.
 */
import type { Range } from "../../dataplane/steering.ts";
import type { FieldError } from "./model.ts";
import {
  type Address,
  AddressError,
  formatAddress,
  isUnicast,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "./prefix.ts";
import { nearest } from "./spelling.ts";

export type Fields = Record<string, unknown>;

export const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Values that one field may list. */
const listLimit = 1024;

/** A number as JSON has it, or written in a string: decimal or 0x…. Undefined when it is neither. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isInteger(value) ? value : undefined;
  if (typeof value !== "string" || !/^(\d{1,10}|0[xX][\da-fA-F]{1,8})$/.test(value)) return undefined;
  return Number(value);
}

export class Reader {
  readonly errors: FieldError[] = [];

  fail(field: string, message: string): undefined {
    this.errors.push({ field, message });
    return undefined;
  }

  /** Reports keys that the form does not have. */
  known(object: Fields, path: string, keys: readonly string[]): void {
    for (const key of Object.keys(object)) {
      if (keys.includes(key)) continue;
      const guess = nearest(key, keys);
      this.fail(`${path}${key.slice(0, 64)}`, `unknown field${guess ? `; did you mean "${guess}"?` : ""}`);
    }
  }

  name(value: unknown): string | undefined {
    if (value === undefined) return this.fail("name", "is required");
    if (typeof value !== "string") return this.fail("name", "must be a string");
    // Names stand in paths, logs, tables and metric labels.
    if (!/^[^\p{C}\p{Z}/\\](?:[^\p{C}/\\]{0,62}[^\p{C}\p{Z}/\\])?$/u.test(value) || value === "." || value === "..") {
      return this.fail(
        "name",
        "must be 1 to 64 printable characters without / and \\, not beginning or ending in a space",
      );
    }
    return value;
  }

  /** One value or a list of values, each read on its own. Undefined when absent, or when one of them is wrong. */
  list<T>(value: unknown, field: string, read: (value: unknown, field: string) => T | undefined): T[] | undefined {
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) {
      const only = read(value, field);
      return only === undefined ? undefined : [only];
    }
    if (value.length === 0) return this.fail(field, "is an empty list, which nothing matches: leave the field out");
    if (value.length > listLimit) return this.fail(field, `lists ${value.length} values; ${listLimit} are allowed`);
    const values = value.map((one, index) => read(one, `${field}.${index}`));
    return values.some((one) => one === undefined) ? undefined : (values as T[]);
  }

  address(value: unknown, field: string): Address | undefined {
    if (value === undefined) return this.fail(field, "is required");
    if (typeof value !== "string") return this.fail(field, "must be a string with an IP address");
    const address = this.attempt(field, () => parseAddress(value));
    return address && this.unicast(address, field);
  }

  unicast(address: Address, field: string): Address | undefined {
    if (isUnicast(address)) return address;
    return this.fail(field, `${formatAddress(address)} is not an address that packets can be sent to`);
  }

  prefix(value: unknown, field: string): Prefix | undefined {
    if (typeof value !== "string") return this.fail(field, 'must be a string: an IP address, or "address/mask"');
    return this.attempt(field, () => parsePrefix(value));
  }

  integer(value: unknown, field: string, low: number, high: number): number | undefined {
    const number = typeof value === "string" && /^\d{1,10}$/.test(value) ? Number(value) : value;
    if (typeof number !== "number" || !Number.isInteger(number) || number < low || number > high) {
      return this.fail(field, `must be a whole number ${low}..${high}`);
    }
    return number;
  }

  /** `80`, `"80"`, `"8000-8099"`, `"0x10-0x20"`, or a name. */
  range(
    value: unknown,
    field: string,
    { low, high, said, names = {} }: { low: number; high: number; said: string; names?: Record<string, number> },
  ): Range | undefined {
    const one = (text: unknown): number | undefined => {
      const word = typeof text === "string" ? text.toLowerCase() : "";
      return Object.hasOwn(names, word) ? names[word] : numberOf(text);
    };
    const whole = one(value);
    const [from, to] = typeof value === "string" && whole === undefined ? value.split("-") : [];
    const first = whole ?? numberOf(from);
    const last = whole ?? numberOf(to);
    const twoDashes = typeof value === "string" && whole === undefined && value.split("-").length !== 2;
    if (first === undefined || last === undefined || twoDashes || first < low || last > high || first > last) {
      return this.fail(field, `must be ${said}`);
    }
    return [first, last];
  }

  oneOf<T extends string>(value: unknown, field: string, words: readonly T[]): T | undefined {
    if (value === undefined) return undefined;
    const found = words.find((word) => word === value);
    return found ?? this.fail(field, `must be ${words.map((word) => `"${word}"`).join(" or ")}`);
  }

  boolean(value: unknown, field: string): boolean {
    if (value !== undefined && typeof value !== "boolean") this.fail(field, "must be true or false");
    return value === true;
  }

  /** Name of a network adapter, as the kernel takes it. */
  adapter(value: unknown, field: string): string | undefined {
    if (value === undefined) return this.fail(field, "is required");
    if (typeof value === "string" && /^(?!\.{1,2}$)[^/:\s]{1,15}$/.test(value)) return value;
    return this.fail(field, "must be the name of an adapter, 1 to 15 characters without / : and blanks");
  }

  /** Lower case, with colons. */
  mac(value: unknown, field: string): string | undefined {
    if (typeof value === "string" && /^[\da-fA-F]{2}([:-])([\da-fA-F]{2}\1){4}[\da-fA-F]{2}$/.test(value)) {
      return value.toLowerCase().replaceAll("-", ":");
    }
    return this.fail(field, 'must be a MAC address such as "02:00:00:00:00:01"');
  }

  /** Runs a parser of addresses; reports what it refuses. */
  attempt<T>(field: string, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (error instanceof AddressError) return this.fail(field, error.message);
      throw error;
    }
  }
}
