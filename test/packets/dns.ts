/**
 * What does a DNS message look like (RFC 1035 §4.1)?
 *
 * A query with everything in it free to be wrong. Names are as given, octet by octet: `wire` makes one of labels.
 */
import { concat, u8, u16 } from "./bytes.ts";
import { type Layer, payload } from "./layers.ts";

export interface Query {
  id?: number;
  /** Second word of the header: QR, opcode, AA, TC, RD, RA, Z, RCODE. */
  flags?: number;
  /** Numbers of questions, answers, authorities, additional records. */
  counts?: [number, number, number, number];
  /** A, AAAA, HTTPS … */
  type?: number;
  class?: number;
  /** Instead of the question. */
  question?: Uint8Array;
  /** Behind the question. */
  more?: Uint8Array;
}

/** A name on the wire: each label behind its length, the root at the end. */
export const wire = (name: string): Uint8Array =>
  concat(...name.split(".").map((label) => concat(u8(label.length), Buffer.from(label, "latin1"))), u8(0));

/** EDNS: an OPT record (RFC 6891 §6.1.2). */
export const opt = concat(u8(0), u16(41), u16(1232), u16(0), u16(0), u16(0));

export const message = (name: string, q: Query = {}): Uint8Array =>
  concat(
    u16(q.id ?? 0x1234),
    u16(q.flags ?? 0x0100),
    ...(q.counts ?? [1, 0, 0, q.more ? 1 : 0]).map(u16),
    q.question ?? concat(wire(name), u16(q.type ?? 1), u16(q.class ?? 1)),
    q.more ?? new Uint8Array(),
  );

export const query = (name: string, q: Query = {}): Layer => payload(message(name, q));
