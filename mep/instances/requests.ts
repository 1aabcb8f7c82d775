/**
 * May this be done with the instance now, and how long has the app to say goodbye?
 *
 * Pure: an instance's state and a request in, a Problem or nothing out. GS MEC 010-2 §5.4, §6.2.2.
 */
import { Problem } from "../../controlplane/errors.ts";
import type { FieldError } from "../../controlplane/intents/model.ts";
import type { AppD } from "../model/appd.ts";
import type { OperateAppRequest, TerminateAppRequest } from "../model/lcm.ts";
import type { OperationAction } from "../parts.ts";
import type { InstanceRecord, Operation, OperationKind } from "./record.ts";

const conflict = (why: string): never => {
  throw new Problem("conflict", why);
};

/** @throws Problem conflict */
export function checkAllowed(kind: OperationKind, instance: InstanceRecord, params: Record<string, unknown>): void {
  const { instantiationState, operationalState } = instance;
  const instantiated = instantiationState === "INSTANTIATED";
  if (kind === "INSTANTIATE" && instantiated) conflict("the instance is instantiated already");
  if (kind === "TERMINATE" && !instantiated) conflict("the instance is not instantiated");
  if (kind === "OPERATE") {
    if (!instantiated) conflict("the instance is not instantiated");
    const wanted = (params as unknown as OperateAppRequest).changeStateTo;
    if (wanted === operationalState) conflict(`the instance is ${wanted} already`);
  }
}

/** Does the operation start an app? */
export const isStart = ({ kind, params }: Pick<Operation, "kind" | "params">): boolean =>
  kind === "INSTANTIATE" || (kind === "OPERATE" && params.changeStateTo === "STARTED");

/** @throws Problem conflict that names all that is missing */
export function checkRequirements(missing: readonly FieldError[] = []): void {
  if (missing.length === 0) return;
  const said = missing.map(({ field, message }) => `${field}: ${message}`).join("; ");
  throw new Problem("conflict", `the app requires what is not there: ${said}`, { errors: [...missing] });
}

export interface End {
  action: OperationAction;
  /** Seconds that the app has; absent: none. */
  seconds?: number;
}

/** Where nobody says how long. */
const usualSeconds = 60;

/** What an operation ends, if it ends something. */
export function endOf({ kind, params }: Pick<Operation, "kind" | "params">, appd: AppD): End | undefined {
  const seconds = (given: number | undefined, config: { min?: number; max?: number }) =>
    given ?? config.max ?? Math.max(usualSeconds, config.min ?? 0);
  if (kind === "TERMINATE") {
    const { terminationType, gracefulTerminationTimeout } = params as unknown as TerminateAppRequest;
    const config = appd.terminateAppInstanceOpConfig;
    const limits = {
      min: config?.minGracefulTerminationTimeout,
      max: config?.maxRecommendedGracefulTerminationTimeout,
    };
    const graceful = terminationType === "GRACEFUL";
    return { action: "TERMINATING", ...(graceful && { seconds: seconds(gracefulTerminationTimeout, limits) }) };
  }
  const { changeStateTo, stopType, gracefulStopTimeout } = params as unknown as OperateAppRequest;
  if (kind !== "OPERATE" || changeStateTo !== "STOPPED") return undefined;
  const config = appd.changeAppInstanceStateOpConfig;
  const limits = { min: config?.minGracefulStopTimeout, max: config?.maxRecommendedGracefulStopTimeout };
  return { action: "STOPPING", ...(stopType === "GRACEFUL" && { seconds: seconds(gracefulStopTimeout, limits) }) };
}

/** Less time than the AppD asks for. @throws Problem invalid-request */
export function checkTime(operation: Pick<Operation, "kind" | "params">, appd: AppD): void {
  const end = endOf(operation, appd);
  if (end?.seconds === undefined) return;
  const [field, least] =
    operation.kind === "TERMINATE"
      ? ["gracefulTerminationTimeout", appd.terminateAppInstanceOpConfig?.minGracefulTerminationTimeout]
      : ["gracefulStopTimeout", appd.changeAppInstanceStateOpConfig?.minGracefulStopTimeout];
  if (least === undefined || end.seconds >= least) return;
  const message = `must be at least ${least}: its AppD says so`;
  throw new Problem("invalid-request", `${field}: ${message}`, { errors: [{ field: field ?? "", message }] });
}
