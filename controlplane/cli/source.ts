/**
 * Where do `plan` and `trace` get the services from?
 *
 * From the running agent, or with `--config` from the store of a site whose agent need not run. Either way the result is
 * plain data, and what follows is the same pure code that the agent runs.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { describe } from "../../dataplane/ebpf/describe.ts";
import type { Steering, SteeringRule } from "../../dataplane/steering.ts";
import { loadSite } from "../config/load.ts";
import { Dataplanes } from "../dataplanes/dataplanes.ts";
import { messageOf, Problem } from "../errors.ts";
import { type SiteFacts, siteFacts } from "../intents/context.ts";
import type { Service } from "../intents/model.ts";
import { Services } from "../intents/services.ts";
import { tableChanges } from "../intents/tables.ts";
import { Store, type StoredService, storeFile } from "../store/store.ts";
import type { PlansView, PlanView } from "./change-views.ts";
import { CliError, type Client } from "./client.ts";

export interface Source {
  services: StoredService[];
  protect: string[];
  /** Absent where only the agent knows. */
  site?: SiteFacts;
}

export async function fromAgent(client: Client): Promise<Source> {
  const [services, steering] = await Promise.all([
    client.get<Service[]>("/service"),
    client.get<Steering>("/api/v1/steering"),
  ]);
  return {
    protect: steering.protect,
    services: services.flatMap((service) => {
      const rule = steering.rules.find((candidate) => candidate.name === service.name);
      return rule ? [{ service, rule: rule.id, index: rule.service }] : [];
    }),
  };
}

export function fromStore(path: string): Source {
  const config = loadSite(path);
  if (!existsSync(join(config.stateDir, storeFile))) {
    return { services: [], protect: config.protect, site: siteFacts(config) };
  }
  const store = new Store(config.stateDir);
  try {
    const site = siteFacts(new Dataplanes({ config, store, warn: () => undefined }).config);
    return { services: store.services(), protect: config.protect, site };
  } finally {
    store.close();
  }
}

const planner = "plan";

/** Services that only think: no data plane, no file. */
async function inMemory({ services, protect, site }: Source): Promise<Services> {
  const store = new Store(":memory:");
  const touched = services.map((after) => ({ after }));
  const most = (pick: (entry: StoredService) => number) => Math.max(0, ...services.map(pick));
  const given = { rule: most((entry) => entry.rule), index: most((entry) => entry.index) };
  store.commit({ touched, who: planner, what: "as it is" }, { given });
  const memory = new Services({
    store,
    dataplane: { apply: async () => {}, flushServices: async () => 0, setNames: async () => {} },
    protect,
    rules: 65_535,
    ...(site && { site: () => site }),
  });
  await memory.start();
  return memory;
}

export const steeringOf = async (source: Source): Promise<Steering> => (await inMemory(source)).steering();

/** Rules stay the same objects while nothing of them changes. */
const texts = new WeakMap<SteeringRule, string>();
function ruleKey(rule: SteeringRule): string {
  const known = texts.get(rule) ?? JSON.stringify(rule);
  texts.set(rule, known);
  return known;
}

/**
 * What adding these services one after the other would change, and the entries of the kernel's tables that all of it touches.
 * @throws CliError naming the one that is refused
 */
export async function plan(source: Source, wanted: readonly unknown[]): Promise<PlansView> {
  const memory = await inMemory(source);
  const now = describe(memory.steering());
  const plans: PlanView[] = [];
  for (const [index, body] of wanted.entries()) {
    const before = memory.steering();
    try {
      const { name } = (body ?? {}) as { name?: unknown };
      const exists = typeof name === "string" && memory.get(name) !== undefined;
      const service = exists ? await memory.update(name, body, planner) : await memory.create(body, planner);
      const after = memory.steering();
      const sets = { before: new Set(before.rules.map(ruleKey)), after: new Set(after.rules.map(ruleKey)) };
      const remove = before.rules.filter((rule) => !sets.after.has(ruleKey(rule)));
      const add = after.rules.filter((rule) => !sets.before.has(ruleKey(rule)));
      plans.push({ service: service.name, change: !exists ? "add" : add.length > 0 ? "replace" : "none", remove, add });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      throw new CliError(`service ${index + 1} of ${wanted.length}: ${error.detail}`, 1, error.document());
    }
  }
  return { services: plans, tables: tableChanges(now, describe(memory.steering())) };
}

/** One service or a list of them, YAML or JSON; `none` when the list may be empty. @throws CliError */
export function readServices(path: string, none = false): unknown[] {
  let text: string;
  try {
    text = readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (error) {
    throw new CliError(`${path}: ${messageOf(error)}`, 2);
  }
  const document = parseDocument(text, { prettyErrors: true });
  const wrong = document.errors[0];
  if (wrong) throw new CliError(`${path}: ${wrong.message}`, 2);
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  const list = Array.isArray(value) ? value : [value];
  if ((list.length === 0 && !none) || list.some((entry) => typeof entry !== "object" || entry === null)) {
    throw new CliError(`${path}: must hold a service, or a list of services`, 2);
  }
  return list;
}
