/**
 * Is this fleet.yaml good, and if not, what is wrong with all of it?
 *
 *   text ─yaml─▶ document ─schema─▶ FleetFile ─checks─▶ Fleet
 *
 * Every error has a place, `fleet.yaml:12:9`, a path, and says what to do. Files that it names are beside it. `{name}` and
 * `{region}` in a text stand for those of the site.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { Settings } from "typebox/system";
import { Value } from "typebox/value";
import { type Document, isMap, isSeq, LineCounter, type Node, parse, parseDocument } from "yaml";
import type { SiteAccess } from "../site.ts";
import { type Gate, isMetric, namesOf } from "./gates.ts";
import type { Plan } from "./rollout.ts";
import { type FleetFile, fleetSchema, type Secret } from "./schema.ts";
import { type FleetSite, PlanError, type Step, wavesOf } from "./waves.ts";

Settings.Set({ maxErrors: 10_000 });

/** The file is no fleet; exit code 2. Each line names file, line, column and path. */
export class FleetFileError extends Error {}

/** Of a Pulumi stack per site. */
export interface StackSettings {
  program: string;
  name: (site: FleetSite) => string;
  config: (site: FleetSite) => Record<string, string>;
  secrets: (site: FleetSite) => Record<string, string>;
  pulumi?: string;
  atOnce?: number;
}

export interface Fleet {
  plan: Plan;
  /** Path of the journal. */
  journal: string;
  /** @throws Error when a secret or an authority is not where the file says */
  access: (site: FleetSite) => SiteAccess;
  change: { services: readonly Readonly<Record<string, unknown>>[] } | { stack: StackSettings };
  /** Reads every secret and authority once. @throws FleetFileError with all that are not there */
  ready(): void;
}

type Path = readonly (string | number)[];
interface Finding {
  path: Path;
  message: string;
  /** The place is the name, not the value. */
  key?: boolean;
}

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
function milliseconds(text: string): number {
  const [, amount, unit = ""] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? [];
  return Number(amount) * (units[unit] ?? Number.NaN);
}

const spelled = (path: Path): string =>
  path.map((part, index) => (typeof part === "number" ? `[${part}]` : `${index > 0 ? "." : ""}${part}`)).join("");

function placeOf(document: Document, path: Path, key: boolean): number {
  let node = document.contents as Node | null | undefined;
  let offset = node?.range?.[0] ?? 0;
  for (const [index, part] of path.entries()) {
    const pair = isMap(node) ? node.items.find((item) => String(item.key) === String(part)) : undefined;
    const name = pair?.key as Node | undefined;
    node = isSeq(node) ? (node.items[Number(part)] as Node) : (pair?.value as Node | undefined);
    const wanted = key && index === path.length - 1 ? name : (node ?? name);
    offset = wanted?.range?.[0] ?? offset;
    if (!node) break;
  }
  return offset;
}

function said(keyword: string, params: Record<string, unknown>, message: string): string {
  if (keyword === "type")
    return `must be ${{ object: "a group of settings", array: "a list", string: "text" }[String(params.type)] ?? params.type}`;
  if (keyword !== "pattern") return message;
  return String(params.pattern).includes("(ms|s|m|h)")
    ? "must be a duration such as 500ms, 30s, 5m or 1h"
    : "must be 1 to 63 letters, digits, dots, dashes or underscores";
}

function bySchema(value: unknown): Finding[] {
  const found: Finding[] = [];
  for (const { keyword, instancePath, params, message } of Value.Errors(fleetSchema, value)) {
    let at: unknown = value;
    const path = instancePath
      .split("/")
      .slice(1)
      .map((part) => {
        const plain = part.replaceAll("~1", "/").replaceAll("~0", "~");
        const key = Array.isArray(at) ? Number(plain) : plain;
        at = (at as Record<string | number, unknown> | undefined)?.[key];
        return key;
      });
    const given = params as Record<string, unknown>;
    if (keyword === "additionalProperties") {
      for (const key of given.additionalProperties as string[])
        found.push({ path: [...path, key], key: true, message: "is not a setting; remove it or spell it right" });
    } else if (keyword === "required") {
      for (const key of given.requiredProperties as string[]) found.push({ path, message: `lacks "${key}"; add it` });
    } else if (keyword !== "boolean" && keyword !== "anyOf") {
      found.push({ path, message: said(keyword, given, message) });
    }
  }
  return found;
}

function oneOf(path: Path, given: object, names: readonly string[]): Finding[] {
  const has = names.filter((name) => name in given);
  return has.length === 1
    ? []
    : [{ path, message: `must say one of ${names.join(", ")}${has.length > 1 ? ", not several" : ""}` }];
}

function secretsOf({ defaults, sites, change }: FleetFile): [Path, Secret][] {
  const all: [Path, Secret | undefined][] = [[["defaults", "token"], defaults?.token]];
  for (const [index, { token }] of sites.entries()) all.push([["sites", index, "token"], token]);
  for (const [name, secret] of Object.entries(change.stack?.secrets ?? {}))
    all.push([["change", "stack", "secrets", name], secret]);
  return all.filter((one): one is [Path, Secret] => one[1] !== undefined);
}

function byMeaning(file: FleetFile, folder: string): Finding[] {
  const { sites, waves, gates = [], change, defaults } = file;
  const found: Finding[] = [];
  const say = (path: Path, message: string) => found.push({ path, message });
  found.push(...oneOf(["change"], change, ["services", "stack"]));
  for (const [path, secret] of secretsOf(file)) found.push(...oneOf(path, secret, ["env", "file"]));
  for (const [index, site] of sites.entries()) {
    const api = site.api ?? defaults?.api;
    if (api === undefined) say(["sites", index], 'lacks "api"; add it here or in defaults');
    else if (!/^https?:\/\//.test(api) || !URL.canParse(filled(api, site)))
      say(
        site.api === undefined ? ["defaults", "api"] : ["sites", index, "api"],
        "must be a URL such as https://{name}.example.net:8090",
      );
  }
  for (const [index, gate] of gates.entries()) {
    const path = ["gates", index];
    const wrong = oneOf(path, gate, ["metric", "rate", "share", "steady"]);
    found.push(...wrong);
    if ("share" in gate !== "of" in gate) say(path, "share and of go together");
    if (wrong.length > 0) continue;
    for (const name of namesOf(gate as Gate))
      if (name !== undefined && !isMetric(name))
        say(path, `"${name}" must be a metric such as offramp_ready or a{b="c"}`);
    const bounds = ["most", "least", "mostTimes", "leastTimes"].filter((name) => name in gate);
    if ("steady" in gate ? bounds.length > 0 : bounds.length === 0)
      say(path, "steady" in gate ? "steady takes no bounds" : "must say most, least, mostTimes or leastTimes");
    if (!file.baseline && !("metric" in gate) && ("mostTimes" in gate || "leastTimes" in gate))
      say(path, "compares with how it was before: set baseline, the time to watch that");
  }
  const steps = waves.flatMap((step, index) => oneOf(["waves", index], step, ["sites", "percent", "region", "rest"]));
  found.push(...steps);
  if (steps.length === 0) {
    try {
      wavesOf(sites, waves as Step[]);
    } catch (error) {
      if (!(error instanceof PlanError)) throw error;
      for (const line of error.message.split("\n")) {
        const [, where = "", index, rest = line] = /^(\w+)(?:\[(\d+)\])?(?:\.\w+)?: (.*)$/.exec(line) ?? [];
        say(where === "" ? [] : index === undefined ? [where] : [where, Number(index)], rest);
      }
    }
  }
  const { services, stack } = change;
  if (typeof services === "string") {
    if (!existsSync(resolve(folder, services))) say(["change", "services"], `there is no file ${services}`);
    else if (!isServices(parse(readFileSync(resolve(folder, services), "utf8"))))
      say(["change", "services"], `${services} must hold a list of services with names`);
  } else if (services !== undefined && !isServices(services)) {
    say(["change", "services"], "must be a list of services with names, or a file with one");
  }
  if (stack && !existsSync(resolve(folder, stack.program, "Pulumi.yaml")))
    say(["change", "stack", "program"], "must be a folder with a Pulumi.yaml");
  return found;
}

type Services = readonly Readonly<Record<string, unknown>>[];
const isServices = (value: unknown): value is Services =>
  Array.isArray(value) && value.every((one) => typeof (one as { name?: unknown } | null)?.name === "string");

const filled = (text: string, { name, region = "" }: FleetSite): string =>
  text.replaceAll("{name}", name).replaceAll("{region}", region);

function read(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    throw new Error(`${what}: the file ${path} cannot be read`);
  }
}

function secretOf(secret: Secret, site: FleetSite, folder: string, what: string): string {
  if (secret.file !== undefined) return read(resolve(folder, filled(secret.file, site)), what);
  const name = filled(secret.env ?? "", site);
  const value = process.env[name];
  if (!value) throw new Error(`${what}: the environment variable ${name} is not set`);
  return value;
}

const each = <T>(of: Record<string, T> | undefined, map: (value: T, name: string) => string): Record<string, string> =>
  Object.fromEntries(Object.entries(of ?? {}).map(([name, value]) => [name, map(value, name)]));

function fleetOf(file: FleetFile, folder: string): Fleet {
  const { services, stack } = file.change;
  const list = typeof services === "string" ? parse(readFileSync(resolve(folder, services), "utf8")) : services;
  const digest = createHash("sha256")
    .update(JSON.stringify(list ?? stack))
    .digest("hex");
  const said = new Map(file.sites.map((site) => [site.name, site]));
  const time = (text: string | undefined) => (text === undefined ? undefined : milliseconds(text));
  const apiOf = (site: FleetSite) => filled(said.get(site.name)?.api ?? file.defaults?.api ?? "", site);
  const fleet: Omit<Fleet, "ready"> = {
    journal: resolve(folder, file.journal ?? `${file.fleet}.journal`),
    plan: {
      id: file.fleet,
      sites: file.sites.map(({ name, region }) => ({ name, ...(region !== undefined && { region }) })),
      waves: file.waves as Step[],
      parallel: file.parallel,
      soak: time(file.soak),
      baseline: time(file.baseline),
      looks: file.looks,
      allowed: file.allowed,
      catchUp: file.catchUp,
      gates: (file.gates ?? []) as Gate[],
      digest,
    },
    access(site) {
      const { ca, token, patience } = { ...file.defaults, ...said.get(site.name) };
      return {
        api: apiOf(site),
        ...(ca !== undefined && { ca: read(resolve(folder, filled(ca, site)), `ca of ${site.name}`) }),
        ...(token && { token: secretOf(token, site, folder, `token of ${site.name}`) }),
        ...(patience !== undefined && { patience: milliseconds(patience) }),
      };
    },
    change: stack
      ? {
          stack: {
            program: resolve(folder, stack.program),
            name: (site) => filled(stack.name ?? "{name}", site),
            config: (site) =>
              each(stack.config, (value) => filled(String(value), site).replaceAll("{api}", apiOf(site))),
            secrets: (site) =>
              each(stack.secrets, (value, name) => secretOf(value, site, folder, `${name} of ${site.name}`)),
            ...(stack.pulumi !== undefined && { pulumi: resolve(folder, stack.pulumi) }),
            ...(stack.atOnce !== undefined && { atOnce: stack.atOnce }),
          },
        }
      : { services: list as Services },
  };
  const ready = () => {
    const faults = new Set<string>();
    for (const site of fleet.plan.sites) {
      for (const look of [fleet.access, "stack" in fleet.change ? fleet.change.stack.secrets : () => undefined]) {
        try {
          look(site);
        } catch (error) {
          faults.add((error as Error).message);
        }
      }
    }
    if (faults.size > 0) throw new FleetFileError([...faults].join("\n"));
  };
  return { ...fleet, ready };
}

/** @throws FleetFileError with every fault */
export function parseFleet(text: string, path: string): Fleet {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const tell = (offset: number, message: string) => {
    const { line, col } = lines.linePos(offset);
    return { line, col, text: `${basename(path)}:${Math.max(1, line)}:${Math.max(1, col)}: ${message}` };
  };
  const refuse = (faults: { line: number; col: number; text: string }[]) => {
    const sorted = faults.sort((a, b) => a.line - b.line || a.col - b.col).map((one) => one.text);
    if (sorted.length > 0) throw new FleetFileError([...new Set(sorted)].join("\n"));
  };
  // Whatever follows the first is mostly its consequence.
  refuse(document.errors.slice(0, 1).map((error) => tell(error.pos[0], error.message)));
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  const at = ({ path: where, key = false, message }: Finding) =>
    tell(placeOf(document, where, key), `${where.length > 0 ? `${spelled(where)} ` : ""}${message}`);
  refuse(bySchema(value).map(at));
  refuse(byMeaning(value as FleetFile, dirname(path)).map(at));
  return fleetOf(value as FleetFile, dirname(path));
}

/** @throws FleetFileError with every fault, also when it cannot be read */
export function loadFleet(path: string): Fleet {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new FleetFileError(`${path}: cannot be read: ${(error as Error).message}`);
  }
  return parseFleet(text, resolve(path));
}
