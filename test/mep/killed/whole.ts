/**
 * Is what the platform remembers, runs and steers one thing, and nothing else there?
 *
 * Looks from outside, after everything that was under way has ended: mep.sqlite, files, records of the runtime, namespaces,
 * links, containers, the firewall, and the rules that steer. Every difference is a sentence; none: it is whole.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { InstanceRecord, Operation } from "../../../mep/instances/record.ts";
import type { InstanceRecord as RuntimeRecord } from "../../../mep/runtime/records.ts";
import { mepStoreFile } from "../../../mep/store.ts";
import { words } from "../../runtime/host.ts";

function differ(faults: string[], what: string, found: Iterable<string>, wanted: Iterable<string>): void {
  const [has, wants] = [new Set(found), new Set(wanted)];
  for (const one of has) if (!wants.has(one)) faults.push(`${what}: ${one} is there and belongs to nothing`);
  for (const one of wants) if (!has.has(one)) faults.push(`${what}: ${one} is missing`);
}

/** @param steered names of the rules of apps that steer */
export function faultsOf(stateDir: string, steered: readonly string[]): string[] {
  const faults: string[] = [];
  const database = new Database(join(stateDir, mepStoreFile), { readonly: true });
  const column = (sql: string) => database.prepare(sql).pluck().all() as string[];
  const parsed = <T>(sql: string) => column(sql).map((text) => JSON.parse(text) as T);
  try {
    const instances = parsed<InstanceRecord>("SELECT body FROM app_instance");
    const ids = (holds: (one: InstanceRecord) => boolean) => instances.filter(holds).map(({ id }) => id);
    const configured = ids((one) => one.configured);
    const started = ids((one) => one.operationalState === "STARTED");
    for (const { kind, state, instance } of parsed<Operation>("SELECT body FROM app_operation")) {
      if (state === "STARTING" || state === "PROCESSING") faults.push(`${kind} of ${instance} is ${state} still`);
    }
    for (const { id, ready, terminating, operationalState } of instances) {
      if (terminating) faults.push(`${id} is being ended, and no operation does it`);
      if (ready && operationalState !== "STARTED") faults.push(`${id} is ready and not STARTED`);
    }
    differ(faults, "credentials", column("SELECT client FROM auth_client WHERE instance IS NOT NULL"), configured);
    differ(faults, "rules", column("SELECT instance FROM rule_owner"), configured);
    const active = database
      .prepare("SELECT instance || '/' || id FROM traffic_rule WHERE body ->> 'state' = 'ACTIVE'")
      .pluck()
      .all() as string[];
    differ(
      faults,
      "steering",
      steered.map((name) => name.replace(/#\d+$/, "")),
      active.map((name) => `app:${name}`),
    );
    for (const table of ["mec_service", "mp1_subscription"]) {
      for (const one of column(`SELECT DISTINCT instance FROM ${table}`)) {
        if (!started.includes(one)) faults.push(`${table} has something of ${one}, which is not STARTED`);
      }
    }
    const folder = join(stateDir, "packages");
    const files = existsSync(folder)
      ? readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.(zip|part)$/.test(name))
      : [];
    differ(
      faults,
      "package",
      files,
      column("SELECT id FROM package WHERE content IS NOT NULL").map((id) => join(id, "content.zip")),
    );
    runtimeFaults(faults, stateDir, instances);
    return faults;
  } finally {
    database.close();
  }
}

function runtimeFaults(faults: string[], stateDir: string, instances: readonly InstanceRecord[]): void {
  const file = join(stateDir, "apps", "instances.json");
  const records = existsSync(file)
    ? (JSON.parse(readFileSync(file, "utf8")) as { instances: RuntimeRecord[] }).instances
    : [];
  const own = instances.filter(({ external, configured }) => !external && configured);
  differ(
    faults,
    "record of the runtime",
    records.map(({ id }) => id),
    own.map(({ id }) => id),
  );
  const running = records.filter(({ phase }) => phase === "running");
  differ(
    faults,
    "running",
    running.map(({ id }) => id),
    own.filter(({ operationalState }) => operationalState === "STARTED").map(({ id }) => id),
  );
  const count = running.length;
  const things: [string, number, string[]][] = [
    ["links", count * 2, words("ip", "-br", "link", "show", "type", "veth").filter((line) => /^oa[tp]-/.test(line))],
    ["containers", count, words("pgrep", "-f", `conmon .*${stateDir}`)],
    [
      "programs",
      count,
      running.flatMap(({ pid }) => (pid !== undefined && existsSync(`/proc/${pid}`) ? [`${pid}`] : [])),
    ],
  ];
  for (const [what, wanted, found] of things) {
    if (found.length !== wanted) faults.push(`${what}: ${found.length}, not ${wanted}: ${found.join("; ")}`);
  }
  const firewall = words("nft", "list", "tables").filter((line) => line.includes("offramp"));
  const needed = records.some(({ phase }) => phase !== "reserved");
  if (firewall.length > 0 !== needed) faults.push(`firewall: ${firewall.join()}, with ${records.length} records`);
}
