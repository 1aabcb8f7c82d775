/**
 * May an app's rule send packets there, and from there, whatever its package says?
 *
 * Never to the appliance itself, to a protected prefix, to UEs or along the wires; and a filter that holds protected
 * destinations only would never meet a packet. The instance's own addresses are always allowed.
 */
import { adapterTaken, leadsNowhere, type ValidationContext } from "../../controlplane/intents/context.ts";
import type { FieldError } from "../../controlplane/intents/model.ts";
import { contains, formatPrefix, host, type Prefix, parseAddress } from "../../controlplane/intents/prefix.ts";
import { rangesOf } from "../model/ranges.ts";
import type { DestinationInterface, TrafficRuleDescriptor } from "../model/rules.ts";

const protector = (prefix: Prefix, { protect }: ValidationContext): string | undefined => {
  const found = protect.find((one) => contains(one, prefix));
  return found && formatPrefix(found);
};

function addressRefusal(text: string, own: readonly string[], context: ValidationContext): string | undefined {
  const address = parseAddress(text);
  if (context.own?.some((one) => one.family === address.family && one.value === address.value)) {
    return `${text} is the appliance itself`;
  }
  const nowhere = leadsNowhere(address, "endpoint", context);
  if (nowhere !== undefined || own.includes(text)) return nowhere;
  const guarded = protector(host(address), context);
  return guarded && `${text} lies in ${guarded}, which is protected`;
}

function interfaceErrors(
  { interfaceType, tunnelInfo, dstIpAddress }: DestinationInterface,
  field: string,
  own: readonly string[],
  context: ValidationContext,
): FieldError[] {
  const found: FieldError[] = [];
  const look = (at: string, message: string | undefined) => {
    if (message !== undefined) found.push({ field: `${field}.${at}`, message });
  };
  if (interfaceType === "IP" && dstIpAddress !== undefined) {
    look("dstIpAddress", addressRefusal(dstIpAddress, own, context));
  }
  if (interfaceType === "TUNNEL" && tunnelInfo?.tunnelDstAddress !== undefined) {
    look("tunnelInfo.tunnelDstAddress", addressRefusal(tunnelInfo.tunnelDstAddress, own, context));
  }
  const { apps } = context;
  if (interfaceType === "MAC" && apps) look("interfaceType", adapterTaken(apps.interface, false, context));
  return found;
}

/** `own` are the instance's addresses. Fields are those of the rule. */
export function destinationErrors(
  { trafficFilter, dstInterface = [] }: TrafficRuleDescriptor,
  own: readonly string[],
  context: ValidationContext,
): FieldError[] {
  const filters = trafficFilter.flatMap(({ dstAddress }, index): FieldError[] => {
    const protectors = dstAddress?.flatMap(rangesOf).map((prefix) => protector(prefix, context));
    const first = protectors?.[0];
    if (first === undefined || protectors?.some((one) => one === undefined)) return [];
    const message = `lies in ${first}, which is protected from UEs: the rule would never meet a packet`;
    return [{ field: `trafficFilter.${index}.dstAddress`, message }];
  });
  const interfaces = dstInterface.flatMap((one, index) => interfaceErrors(one, `dstInterface.${index}`, own, context));
  return [...filters, ...interfaces];
}
