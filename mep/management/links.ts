/**
 * How do answers of the management APIs name resources and times (GS MEC 009 §6.12; GS MEC 010-2 §6.2.2)?
 */
import type { FastifyRequest } from "fastify";

export interface Link {
  href: string;
}

export interface TimeStamp {
  /** Since the epoch. */
  seconds: number;
  nanoSeconds: number;
}

/** `http://host:port`, as whoever asks knows us. */
export const baseOf = (request: Pick<FastifyRequest, "protocol" | "host">): string =>
  `${request.protocol}://${request.host}`;

export const link = (base: string, path: string): Link => ({ href: `${base}${path}` });

/** @param time milliseconds since the epoch */
export const timeStamp = (time: number): TimeStamp => ({
  seconds: Math.floor(time / 1000),
  nanoSeconds: (time % 1000) * 1_000_000,
});
