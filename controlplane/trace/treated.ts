/**
 * What does a treatment do with packets on their way: rate, chain, copy?
 */
import { copiesOf, type SteeringRule } from "../../dataplane/steering.ts";
import { outletText } from "../../dataplane/steering-text.ts";

/** What a treatment does with the packets of a rule in one direction. */
export function treated(
  { treatment }: SteeringRule,
  direction: "uplink" | "downlink",
): { detail: string[]; verdicts: string[] } {
  const detail: string[] = [];
  const verdicts: string[] = [];
  const rate = treatment?.rate?.[direction];
  if (rate !== undefined) {
    detail.push(`rate: at most ${rate} bit/s ${direction}; what is more is dropped`);
    verdicts.push("drop_rate");
  }
  const chain = treatment?.chain?.[direction] ?? [];
  const down = chain.filter((hop) => hop.state === "down");
  for (const [place, { address, vni, encapsulation, state }] of chain.entries()) {
    const skipped =
      state === "down" ? (treatment?.chain?.unreachable === "block" ? ", down: ends here" : ", down: left out") : "";
    detail.push(`chain ${direction} ${place + 1}: ${address} ${encapsulation} ${vni}${skipped}`);
  }
  if (down.length > 0 && treatment?.chain?.unreachable === "block") verdicts.unshift("drop_chain_blocked");
  else if (chain.length > down.length) verdicts.unshift(`chain_${direction}`);
  const copy = copiesOf(treatment?.mirror)[direction];
  if (copy) detail.push(`mirror: a copy ${copy.form} to ${outletText(copy)}`);
  return { detail, verdicts };
}
