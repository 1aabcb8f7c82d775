/**
 * Which packets of a rule would come back to the appliance, and then again?
 *
 * What is sent to an app, a function or an adapter comes back when that is the appliance itself, one of its wires, or a UE,
 * to which the apps' network sends by way of the appliance. Validation refuses that field by field; here whole intents are
 * looked at, because a site may have changed since, and what needs more than one field is looked at only here:
 *
 * - a chain whose function is all that the rule's packets are for: the function takes them for its own, or sends them back;
 * - `local` or an output to the apps for packets that are for UEs: the apps' network sends them straight back.
 */
import { adapterTaken, leadsNowhere, type ValidationContext } from "./context.ts";
import type { FieldError, Intent } from "./model.ts";
import { contains, host, parseAddress, parsePrefix } from "./prefix.ts";

/** Fields are those of the second form. */
export function loops(intent: Intent, context: ValidationContext): FieldError[] {
  const { endpoints, chain, mirror, output, action, match, appInitiated } = intent;
  const found: FieldError[] = [];
  const look = (field: string, message: string | undefined) => {
    if (message !== undefined) found.push({ field, message });
  };
  for (const [at, { address }] of endpoints?.entries() ?? []) {
    look(`rules.endpoints.${at}`, leadsNowhere(parseAddress(address), "endpoint", context));
  }
  for (const [field, list] of [
    ["chain.ue_net", chain?.uplink ?? []],
    ["chain.net_ue", chain?.downlink ?? []],
  ] as const) {
    for (const [at, { address }] of list.entries()) {
      look(`${field}.${at}`, leadsNowhere(parseAddress(address), "function", context));
      const own = match.destination?.every(
        (text) =>
          parsePrefix(text).length === host(parseAddress(address)).length &&
          contains(parsePrefix(text), host(parseAddress(address))),
      );
      if (own) look(`${field}.${at}`, `${address} is what the packets are for: the function would never send them on`);
    }
  }
  const mirrored = mirror && "form" in mirror ? [["mirror.port", mirror] as const] : [];
  const copies = mirror && !("form" in mirror) ? Object.entries(mirror) : [];
  for (const [field, copy] of [...mirrored, ...copies.map(([name, copy]) => [`mirror.${name}.port`, copy] as const)]) {
    // A copy that is addressed reaches nobody else there.
    const addressed = (copy.mac ?? copy.address ?? copy.tunnel) !== undefined;
    if (copy.port !== undefined) look(field, adapterTaken(copy.port, !addressed, context));
  }
  const leaves = action === "forward" ? "rules.forward" : "rules.output";
  if (output?.port !== undefined) look(`${leaves}.port`, adapterTaken(output.port, false, context));
  if (output?.address !== undefined) {
    look(`${leaves}.address`, leadsNowhere(parseAddress(output.address), "next hop", context));
  }
  if (output?.tunnel) {
    const end = parseAddress(output.tunnel.destination);
    look(`${leaves}.tunnel.destination`, leadsNowhere(end, "tunnel end", context));
  }
  const pools = (context.dataplanes ?? []).flatMap((one) => one.pools);
  const toUes = match.destination?.every((text) => pools.some((pool) => contains(pool, parsePrefix(text))));
  if (action === "route" && !output && toUes && !appInitiated) {
    look("rules.nw_dst", "holds UE addresses only: the apps' network would send these packets straight back");
  }
  return found;
}
