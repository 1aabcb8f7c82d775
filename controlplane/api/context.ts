/**
 * What do the routes work with?
 *
 * Everything comes from outside, so that the API runs the same on a real data plane and on one in memory.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Logger } from "pino";
import type { Dataplane, Mode } from "../../dataplane/dataplane.ts";
import type { SlowPath } from "../../dataplane/slow-path.ts";
import type { Services } from "../intents/services.ts";
import type { ServiceSets } from "../intents/sets.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { EventHub } from "./events.ts";

/** Changes the mode of a data plane and remembers it. */
export interface Modes {
  configured(dataplane: string): Mode | undefined;
  /** @throws Problem */
  set(dataplane: string, mode: Mode | "configured"): Promise<void>;
}

export interface ApiContext {
  services: Services;
  sets: ServiceSets;
  dataplane: Dataplane;
  modes: Modes;
  events: EventHub;
  metrics: Metrics;
  /** Absent where the back end cannot capture. */
  capture?: Pick<SlowPath, "capture">;
  /** What is still missing; empty when ready. */
  missing(): string[];
  log: Logger;
  version: string;
}

export type Server = FastifyInstance;

export interface RouteContext extends ApiContext {
  /** Who asks, as the history tells it. */
  who(request: FastifyRequest): string;
}

export type Routes = (app: Server, context: RouteContext) => void;
