/**
 * Is this `site.yaml` good, and if not, what is wrong with all of it?
 *
 *   text ─yaml─▶ document ─schema─▶ SiteFile ─checks─▶ SiteConfig
 *
 * Every error has a place, `site.yaml:12:9`, and says what to do. Errors of one stage are given all at once; the semantic
 * checks also run on those parts that the schema found good.
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { TSchema } from "typebox";
import { Settings } from "typebox/system";
import { Value } from "typebox/value";
import { type Document, isMap, isSeq, LineCounter, type Node, type Pair, parseDocument } from "yaml";
import { messageOf } from "../errors.ts";
import { nearest } from "../intents/spelling.ts";
import { check, type Finding } from "./checks.ts";
import { type SiteFile, siteSchema } from "./schema.ts";
import { type SiteConfig, siteConfig } from "./site.ts";

// All errors at once; by default the validator stops after a few.
Settings.Set({ maxErrors: 10_000 });

export type Path = readonly (string | number)[];

export interface ConfigError {
  /** From 1. */
  line: number;
  column: number;
  /** `dataplanes[0].access`; "" is the whole file. */
  path: string;
  message: string;
}

/** The file is not a valid configuration; exit code 2. */
export class ConfigurationError extends Error {
  constructor(
    readonly file: string,
    readonly errors: ConfigError[],
  ) {
    super(errors.map((error) => formatError(file, error)).join("\n"));
  }
}

export const formatError = (file: string, { line, column, path, message }: ConfigError): string =>
  `${file}:${line}:${column}: ${path ? `${path} ` : ""}${message}`;

export const formatPath = (path: Path): string =>
  path.map((part, index) => (typeof part === "number" ? `[${part}]` : `${index > 0 ? "." : ""}${part}`)).join("");

const pointer = (text: string): string[] =>
  text === ""
    ? []
    : text
        .slice(1)
        .split("/")
        .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));

/** Finds where in the text a path stands: the value, or with `key` the name in front of it. */
function locate(document: Document, lines: LineCounter, path: Path, key: boolean): { line: number; column: number } {
  let node: Node | Pair | null | undefined = document.contents;
  let offset = 0;
  for (const [index, part] of path.entries()) {
    let keyNode: Node | undefined;
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find((item) => String(item.key) === String(part));
      keyNode = pair?.key as Node | undefined;
      node = pair?.value as Node | undefined;
    } else if (isSeq(node)) {
      node = node.items[Number(part)] as Node | undefined;
    } else break;
    const wantsKey = key && index === path.length - 1;
    offset = (wantsKey ? keyNode?.range?.[0] : node?.range?.[0]) ?? keyNode?.range?.[0] ?? node?.range?.[0] ?? offset;
  }
  if (path.length === 0) offset = (node as Node | null)?.range?.[0] ?? 0;
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** The part of the schema that speaks about a path. */
function schemaAt(whole: TSchema, path: Path): Record<string, unknown> | undefined {
  let schema: unknown = whole;
  for (const part of path) {
    const { properties, items } = (schema ?? {}) as { properties?: Record<string, TSchema>; items?: TSchema };
    schema = /^\d+$/.test(String(part)) && items ? items : properties?.[String(part)];
  }
  return schema as Record<string, unknown> | undefined;
}

const withIndexes = (path: string[], value: unknown): Path => {
  let at = value;
  return path.map((part) => {
    const index = Array.isArray(at);
    at = (at as Record<string, unknown> | undefined)?.[part];
    return index ? Number(part) : part;
  });
};

const kinds: Record<string, string> = {
  object: "a group of settings",
  array: "a list",
  string: "text",
  integer: "a whole number",
  boolean: "true or false",
};

/** A pattern says nothing to a reader; this says it in words. */
function patternMessage(schema: Record<string, unknown> | undefined): string {
  if (typeof schema?.says === "string") return `must be ${schema.says}`;
  const pattern = String(schema?.pattern ?? "");
  if (pattern.endsWith("(ms|s|m|h)$")) return "must be a duration such as 200ms, 300s, 5m or 1h";
  if (pattern.includes("{1,15}"))
    return "must be the name of a network adapter: 1 to 15 characters without /, : and blanks";
  if (pattern.includes("{0,31}")) return "must be 1 to 32 letters, digits, dots, dashes or underscores";
  if (pattern.includes("{43}")) return "must be the base64 of an Ed25519 public key's 32 octets";
  if (pattern === "^[!-~]+$") return "must not contain blanks or characters outside ASCII";
  return `must match ${pattern}`;
}

/** What a schema has against a value. Patterns may carry `says`: what they ask for, in words. */
export function schemaErrors(whole: TSchema, value: unknown): Finding[] {
  const found: Finding[] = [];
  for (const error of Value.Errors(whole, value)) {
    const path = withIndexes(pointer(error.instancePath), value);
    const schema = schemaAt(whole, path);
    const params = error.params as Record<string, unknown>;
    const say = (message: string) => found.push({ path, message });
    switch (error.keyword) {
      case "boolean":
        break; // said by additionalProperties
      case "additionalProperties":
        for (const key of params.additionalProperties as string[]) {
          const guess = nearest(key, Object.keys((schema?.properties as object | undefined) ?? {}));
          const hint = guess ? `did you mean "${guess}"?` : "remove it";
          found.push({ path: [...path, key], key: true, message: `is not a setting; ${hint}` });
        }
        break;
      case "required":
        for (const key of params.requiredProperties as string[]) say(`lacks "${key}"; add it`);
        break;
      case "type": {
        const wanted = kinds[String(schema?.type)] ?? String(schema?.type);
        const given =
          path.reduce<unknown>((at, part) => (at as Record<string | number, unknown>)?.[part], value) ?? null;
        if (given !== null && String(schema?.pattern).endsWith("h)$")) {
          say(patternMessage(schema));
          break;
        }
        const quote = schema?.type === "string" && typeof given !== "object" ? "; write it in quotes" : "";
        say(given === null ? `is empty, but must be ${wanted}` : `must be ${wanted}${quote}`);
        break;
      }
      case "enum":
        say(`must be one of ${(params.allowedValues as string[]).join(", ")}`);
        break;
      case "pattern":
        say(patternMessage(schema));
        break;
      case "minimum":
      case "maximum":
        say(`must be ${schema?.minimum} to ${schema?.maximum}`);
        break;
      default:
        say(error.message);
    }
  }
  return found;
}

/** Everything that is wrong with the value of a `site.yaml`. */
export function findings(value: object): Finding[] {
  const fromSchema = schemaErrors(siteSchema, value);
  const broken = fromSchema.map(({ path }) => formatPath(path));
  const fromChecks = check(value as SiteFile).filter(({ path }) => !broken.includes(formatPath(path)));
  return [...fromSchema, ...fromChecks];
}

export interface LoadOptions {
  /** As errors name it. */
  file?: string;
}

/**
 * The value of a YAML document that `judge` finds nothing wrong with.
 *
 * @param holds what it must hold, in words, for one that is empty
 * @throws ConfigurationError with all errors, each with its place
 */
export function parseChecked(text: string, file: string, holds: string, judge: (value: object) => Finding[]): object {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const errors: ConfigError[] = [];
  for (const error of [...document.errors, ...document.warnings]) {
    const { line, col } = lines.linePos(error.pos[0]);
    errors.push({ line: Math.max(1, line), column: Math.max(1, col), path: "", message: error.message });
  }
  if (errors.length > 0) throw new ConfigurationError(file, errors);

  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new ConfigurationError(file, [{ line: 1, column: 1, path: "", message: messageOf(error) }]);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const place = locate(document, lines, [], false);
    throw new ConfigurationError(file, [{ ...place, path: "", message: `must hold settings: ${holds}` }]);
  }
  for (const { path, key, message } of judge(value)) {
    errors.push({ ...locate(document, lines, path, key ?? false), path: formatPath(path), message });
  }
  if (errors.length > 0) {
    errors.sort((a, b) => a.line - b.line || a.column - b.column);
    throw new ConfigurationError(file, errors);
  }
  return value;
}

/** @throws ConfigurationError with all errors */
export function parseSite(text: string, { file = "site.yaml" }: LoadOptions = {}): SiteConfig {
  return siteConfig(parseChecked(text, file, "site, dataplanes, …", findings) as SiteFile);
}

/** @throws ConfigurationError, also when the file cannot be read */
export function loadSite(path: string): SiteConfig {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const message = `cannot be read: ${messageOf(error)}`;
    throw new ConfigurationError(basename(path), [{ line: 1, column: 1, path: "", message }]);
  }
  return parseSite(text, { file: basename(path) });
}
