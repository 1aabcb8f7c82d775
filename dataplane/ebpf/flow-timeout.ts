/**
 * How long may a flow be idle before it is forgotten?
 *
 *   TCP 2 h (closed: 10 s, never answered: 60 s), UDP 120 s, ICMP 30 s, queries for names 30 s, passing 60 s
 */
import * as c from "./consts.ts";

export const TCP = 6;
const ICMP = 1;
const ICMPV6 = 58;

/** Seconds. */
export const timeout = {
  closed: 10,
  icmp: 30,
  query: 30,
  halfOpen: 30,
  unanswered: 60,
  passed: 60,
  udp: 120,
  established: 7200,
} as const;

/** No other entry leads back: nothing was translated. */
export const staysItself = (action: number): boolean => action === c.ACTION_PASS || action === c.ACTION_DROP;

/** Seconds that a flow may be idle. `flags` of both entries. */
export function flowTimeout(protocol: number, action: number, flags: number): number {
  if (staysItself(action)) return timeout.passed;
  if (protocol === ICMP || protocol === ICMPV6) return timeout.icmp;
  if (protocol === c.PROTO_QUERY) return timeout.query;
  if (protocol !== TCP) return timeout.udp;
  const both = c.FLOW_FIN_UP | c.FLOW_FIN_DOWN;
  if (flags & c.FLOW_RST || (flags & both) === both) return timeout.closed;
  return timeout.established;
}
