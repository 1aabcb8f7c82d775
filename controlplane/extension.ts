/**
 * What may be built on top of the control plane, in its process?
 *
 * The MEC platform is (mep/). The agent knows it only by this interface and calls it in this order:
 *
 *   made ─▶ prepare ─▶ (services applied) ─▶ start ─▶ (API listens, with its routes) ─▶ ready … stop
 */
import type { Logger } from "pino";
import type { Dataplane } from "../dataplane/dataplane.ts";
import type { Audit } from "./access/audit.ts";
import type { Routes } from "./api/context.ts";
import type { EventHub } from "./api/events.ts";
import type { SiteConfig } from "./config/site.ts";
import type { Services } from "./intents/services.ts";
import type { Metrics } from "./metrics/metrics.ts";

/** What the control plane offers. */
export interface Host {
  /** As it was at the start. */
  config: SiteConfig;
  /** As it is now: data planes come and go. */
  site(): SiteConfig;
  services: Services;
  dataplane: Dataplane;
  events: EventHub;
  metrics: Metrics;
  /** Every change, over whatever API, is written there. */
  audit: Audit;
  log: Logger;
  version: string;
}

export interface Extension {
  /** Its routes on the management API. */
  routes: readonly Routes[];
  /** Before services are applied: what it adds to them is there from the first steering on. */
  prepare?(): void | Promise<void>;
  /** @throws Error and the agent does not start */
  start(): Promise<void>;
  /** What of site.yaml it cannot give at this site, as members: `mep.mp1`. It goes on without, and tries again by itself. */
  missing?(): string[];
  /** `site()` says something else, and the data plane has it. What fails is said, and takes nothing back. */
  siteChanged?(): Promise<void>;
  /** Does what it can when it was never started. */
  stop(): Promise<void>;
}

export type MakeExtension = (host: Host) => Extension;
