/**
 * What must happen to one frame at one port?
 *
 * The reference model: a second implementation of docs/packet-path.md, in plain TypeScript, that shares nothing with the
 * programs. Given state and frame it says verdict, output octets and the counter's name, and changes the state.
 * Numbers that are free to choose (an IPv4 identification, a port) it reads from the programs' answer, and checks that
 * they are permitted; everything else it computes.
 */
import { get16 } from "../packets/bytes.ts";
import { downlink } from "./downlink.ts";
import { downlinkEthernet, uplinkEthernet } from "./ethernet.ts";
import { reply } from "./reply.ts";
import { count, type Outcome, type Port, type State } from "./state.ts";
import { uplink } from "./uplink.ts";

/** Where a taken packet has the UE's port: behind Ethernet and IP. */
function takenPort(actual: Uint8Array): number {
  const v4 = get16(actual, 12) === 0x0800;
  const l4 = 14 + (v4 ? 20 : 40 + (actual[20] === 44 ? 8 : 0));
  const protocol = v4 ? actual[23] : actual[20] === 44 ? actual[54] : actual[20];
  return get16(actual, l4 + (protocol === 1 || protocol === 58 ? 4 : 0));
}

/** `actual`: what the programs made of the frame; `rose`: did they count it under this name? */
export function model(
  state: State,
  port: Port,
  frame: Uint8Array,
  actual: Uint8Array,
  rose: (counter: string) => boolean = () => false,
): Outcome {
  const oracle = {
    otherPort: () => takenPort(actual),
    outerId: (l3: number) => get16(actual, l3 + 4),
    outerChecksum: (udp: number) => get16(actual, udp + 6),
    serverIsSilent: () => rose("pass_dns_aside"),
    outerPort: (udp: number) => get16(actual, udp),
  };
  const { ethernet } = state.config;
  const outcome =
    port === "access"
      ? (ethernet ? uplinkEthernet : uplink)(state, frame, oracle)
      : port === "core"
        ? (ethernet ? downlinkEthernet : downlink)(state, frame, oracle)
        : reply(state, frame, oracle);
  if (!outcome.or) count(state, outcome.counter);
  return outcome;
}
