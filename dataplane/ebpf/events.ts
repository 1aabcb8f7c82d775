/**
 * What does a record of the programs' event ring mean?
 */

import { addressText, isMapped, isStation, stationText } from "../address.ts";
import type { DataplaneEvent, EventType } from "../dataplane.ts";
import * as c from "./consts.ts";
import { event as eventCodec } from "./layout.ts";

const types = new Map<number, EventType>([
  [c.EVENT_SESSION_NEW, "session-new"],
  [c.EVENT_DOWNLINK_LEARNT, "downlink-learnt"],
  [c.EVENT_MOVED, "moved"],
  [c.EVENT_BEARER_NEW, "bearer-new"],
  [c.EVENT_OWNER_CHANGED, "owner-changed"],
  [c.EVENT_CANDIDATE, "candidate"],
  [c.EVENT_WANTED, "wanted"],
  [c.EVENT_STALE, "stale"],
  [c.EVENT_PINGER_ANSWER, "pinger-answer"],
  [c.EVENT_TABLE_FULL, "table-full"],
  [c.EVENT_OVERLAP, "overlap"],
]);

/** `10.45.0.2`, or the /64 of an IPv6 address; at a station (on Ethernet) the whole of it. */
export function ueText(octets: Uint8Array, station?: Uint8Array): string {
  if (isMapped(octets) || (station && isStation(station))) return addressText(octets);
  const prefix = octets.slice();
  prefix.fill(0, 8);
  return `${addressText(prefix) || "::"}/64`;
}

/** Undefined for a record of a kind that is not known. */
export function renderEvent(record: Uint8Array, nameOf: (dataplane: number) => string): DataplaneEvent | undefined {
  if (record.length < eventCodec.size) return undefined;
  const e = eventCodec.decode(record);
  const type = types.get(e.type);
  if (!type) return undefined;
  // The record carries CLOCK_MONOTONIC, as hrtime does.
  const age = Number(process.hrtime.bigint() - e.time) / 1e6;
  const baseStation = stationText(e.base_station);
  const gateway = stationText(e.gateway);
  return {
    type,
    dataplane: nameOf(e.dataplane),
    time: Math.round(Date.now() - age),
    session: e.session,
    epoch: e.epoch,
    ue: ueText(e.ue, e.base_station),
    teid: e.teid,
    ...(baseStation && { baseStation }),
    ...(gateway && { gateway }),
    cause: e.cause,
    ...(type === "overlap" ? { slot: 0, other: nameOf(e.slot) } : { slot: e.slot }),
  };
}
