/**
 * What do the routes work with?
 *
 * Everything comes from outside, so that the API runs the same on a real data plane and on one in memory.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Logger } from "pino";
import type { BackendConfig, Dataplane } from "../../dataplane/dataplane.ts";
import type { SlowPath } from "../../dataplane/slow-path.ts";
import type { Audit } from "../access/audit.ts";
import type { Users } from "../access/users.ts";
import type { SiteFile } from "../config/schema.ts";
import type { Dataplanes, Reloaded } from "../dataplanes/dataplanes.ts";
import type { EndpointHealth } from "../health/endpoints.ts";
import type { DeployedCheck } from "../intents/deployed.ts";
import type { Services } from "../intents/services.ts";
import type { ServiceSets } from "../intents/sets.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { SiteChanges } from "../site/changes.ts";
import type { EventHub } from "./events.ts";

/** Changes data planes and their modes, and remembers it. All throw Problem. */
export type DataplaneSet = Pick<Dataplanes, "configured" | "origin" | "set" | "add" | "remove">;

export interface ApiContext {
  services: Services;
  sets: ServiceSets;
  deployed: DeployedCheck;
  dataplane: Dataplane;
  /** What site.yaml says of the apps' network. */
  backend: Pick<BackendConfig, "apps" | "vxlan">;
  dataplanes: DataplaneSet;
  /** Where the site remembers, and site.yaml as it is in force. */
  state(): { stateDir: string; file: SiteFile };
  /** @throws Problem */
  reload(): Promise<Reloaded>;
  /** Absent where there is no site.yaml that could be replaced. */
  site?: SiteChanges;
  health: Pick<EndpointHealth, "views" | "indexOf">;
  events: EventHub;
  metrics: Metrics;
  users: Users;
  audit: Audit;
  /** Absent where the back end cannot capture. */
  capture?: Pick<SlowPath, "capture">;
  /** What is still missing; empty when ready. */
  missing(): string[];
  /** Members of site.yaml that the site is without for the moment, ready all the same: `mep.dns`. */
  without?(): string[];
  log: Logger;
  version: string;
  /** Routes of what is built on top. */
  extensions?: readonly Routes[];
}

export type Server = FastifyInstance;

export interface RouteContext extends ApiContext {
  /** Who asks, as the history tells it. */
  who(request: FastifyRequest): string;
}

export type Routes = (app: Server, context: RouteContext) => void;
