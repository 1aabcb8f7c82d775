/**
 * What makes package and life-cycle management of the parts?
 *
 *   packages ◀── instances ──▶ parts (credentials, registry, rules), runtime
 *       └─────────┴──▶ subscriptions ──▶ notifier
 */
import { join } from "node:path";
import type { Routes } from "../../controlplane/api/context.ts";
import { AppInstances } from "../instances/instances.ts";
import type { OperationsOptions } from "../instances/operations.ts";
import { lifecycleRoutes } from "../instances/routes.ts";
import { Runner, type RunnerOptions } from "../instances/runner.ts";
import { instanceTables } from "../instances/tables.ts";
import type { PackageLimits } from "../packages/limits.ts";
import { Packages } from "../packages/packages.ts";
import { packageRoutes } from "../packages/routes.ts";
import type { SigningKey } from "../packages/signature.ts";
import { packageTables } from "../packages/tables.ts";
import type { InstancePart, Notifier } from "../parts.ts";
import type { MepStore, PartMigration } from "../store.ts";
import { Subscriptions } from "./subscriptions.ts";
import { managementTables } from "./tables.ts";

export const onboardingTables: readonly PartMigration[] = [...managementTables, ...packageTables, ...instanceTables];

export interface OnboardingOptions {
  store: Pick<MepStore, "database" | "transaction">;
  stateDir: string;
  notifier: Notifier;
  /** In the order of the beginning; may be added to until `start`. */
  parts: readonly InstancePart[];
  runtime?: RunnerOptions["runtime"];
  credentials?: RunnerOptions["credentials"];
  announce?: OperationsOptions["announce"];
  missing?: OperationsOptions["missing"];
  failed(error: unknown, what: string): void;
  limits?: PackageLimits;
  keys?: readonly SigningKey[];
}

export class Onboarding {
  readonly packages: Packages;
  readonly instances: AppInstances;
  /** On the management API. */
  readonly routes: readonly Routes[];

  constructor(options: OnboardingOptions) {
    const { store, stateDir, notifier, parts, runtime, credentials, announce, missing, failed, limits, keys } = options;
    const subscriptions = new Subscriptions(store, notifier);
    this.packages = new Packages({
      store,
      folder: join(stateDir, "packages"),
      inUse: (id) => this.instances.inUse(id),
      ...(limits && { limits }),
      ...(keys && { keys }),
    });
    const { packages } = this;
    const runner = new Runner({ packages, ...(runtime && { runtime }), ...(credentials && { credentials }) });
    this.instances = new AppInstances({
      store,
      packages,
      parts,
      runner,
      ...(announce && { announce }),
      ...(missing && { missing }),
      failed,
    });
    this.routes = [
      packageRoutes(packages, subscriptions),
      lifecycleRoutes({ instances: this.instances, packages, subscriptions, runner }),
    ];
  }

  /** Before parts that ask what instances there are. */
  prepare(): void {
    this.packages.start();
  }

  /** After the parts: what was under way is taken up. */
  start(): void {
    this.instances.start();
  }

  async stop(): Promise<void> {
    await this.instances.stop();
  }
}
