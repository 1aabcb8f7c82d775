/**
 * What is remembered of an app instance, and of what was done to it (GS MEC 010-2 §6.2.2.3, §6.2.2.13)?
 */
import type { ProblemDocument } from "../../controlplane/errors.ts";
import type { Instance } from "../parts.ts";

export interface InstanceRecord extends Instance {
  /** Id of its package. */
  package: string;
  description?: string;
  /** Milliseconds since the epoch. */
  created: number;
  /** What configure_platform_for_app said instead of the AppD, as it was given. */
  configuration?: object;
}

export type OperationKind = "INSTANTIATE" | "OPERATE" | "TERMINATE" | "CONFIGURE_PLATFORM_FOR_APP";
export type OperationState = "STARTING" | "PROCESSING" | "COMPLETED" | "FAILED" | "FAILED_TEMP";

/** An "LCM operation occurrence". */
export interface Operation {
  id: string;
  /** appInstanceId */
  instance: string;
  kind: OperationKind;
  state: OperationState;
  /** The request, as it was given. */
  params: Record<string, unknown>;
  /** Milliseconds since the epoch. */
  started: number;
  /** When `state` was entered. */
  entered: number;
  /** How often it was begun: more than once after the agent was killed, or on retry. */
  attempts: number;
  /** Why it failed. */
  error?: ProblemDocument;
  /** Of one in PROCESSING that was told to give up. */
  cancel?: "GRACEFUL" | "FORCEFUL";
  /** Of an end: when the app's time is up, milliseconds since the epoch; gone when the time of grace has ended. */
  deadline?: number;
  /** Of an end: the app's time is over, and there is no way back. */
  ending?: boolean;
}

export const isOpen = ({ state }: Operation): boolean => state === "STARTING" || state === "PROCESSING";
