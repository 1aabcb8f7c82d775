/**
 * Which resources of a list are wanted, and which of their attributes (GS MEC 009 §6.18, §6.19)?
 *
 *   filter=(eq,appName,cache);(in,instantiatedAppState/operationalState,STARTED,STOPPED)
 *   fields=appName,_links/self      exclude_fields=…      all_fields      exclude_default
 *
 * Conditions are joined by and. Through a list an attribute has several values: one that fits is enough. Texts may stand in
 * single quotes, a quote in them twice. Whatever is asked, required attributes are answered.
 */
import Type from "typebox";
import { Problem } from "../../controlplane/errors.ts";

type Node = Record<string, unknown>;

export interface Condition {
  operator: "eq" | "neq" | "gt" | "lt" | "gte" | "lte" | "in" | "nin" | "cont" | "ncont";
  path: string[];
  values: string[];
}

export interface Selection {
  filter?: string;
  fields?: string;
  exclude_fields?: string;
  all_fields?: string;
  exclude_default?: string;
}

const text = (description: string) => Type.Optional(Type.String({ maxLength: 4096, description }));

export const selectionQuery = Type.Object(
  {
    filter: text("GS MEC 009 §6.19: (eq,attribute,value);…"),
    fields: text("attributes to answer, separated by commas"),
    exclude_fields: text("attributes not to answer"),
    all_fields: text("answer all attributes"),
    exclude_default: text("leave out what is left out where nothing is asked"),
  },
  { additionalProperties: false },
);

const single = ["eq", "neq", "gt", "lt", "gte", "lte"];
const several = ["in", "nin", "cont", "ncont"];
const mostConditions = 32;

function refuse(why: string): never {
  throw new Problem("invalid-request", `filter: ${why}`, { errors: [{ field: "querystring.filter", message: why }] });
}

/** Words between commas; what stands in single quotes is one word. Returns how far it has read. */
function words(text: string, from: number): { words: string[]; end: number } {
  const found: string[] = [];
  let at = from;
  for (;;) {
    let word = "";
    if (text[at] === "'") {
      for (at += 1; ; at += 1) {
        if (at >= text.length) refuse("a quote that does not end");
        if (text[at] !== "'") word += text[at];
        else if (text[at + 1] === "'") {
          word += "'";
          at += 1;
        } else break;
      }
      at += 1;
    } else {
      while (at < text.length && text[at] !== "," && text[at] !== ")") {
        word += text[at];
        at += 1;
      }
    }
    found.push(word);
    if (text[at] === ")") return { words: found, end: at };
    if (text[at] !== ",") refuse('a condition must look like "(eq,attribute,value)"');
    at += 1;
  }
}

/** @throws Problem invalid-request */
export function parseFilter(text: string): Condition[] {
  const conditions: Condition[] = [];
  let at = 0;
  for (;;) {
    if (text[at] !== "(") refuse('a condition must look like "(eq,attribute,value)"');
    const { words: read, end } = words(text, at + 1);
    const [operator = "", attribute = "", ...values] = read;
    const one = single.includes(operator);
    if (!one && !several.includes(operator))
      refuse(`${[...single, ...several].join(", ")} are known, not "${operator.slice(0, 32)}"`);
    if (attribute === "") refuse("a condition without an attribute");
    if (values.length === 0 || (one && values.length > 1)) refuse(`${operator} takes ${one ? "one value" : "values"}`);
    conditions.push({ operator: operator as Condition["operator"], path: attribute.split("/"), values });
    if (conditions.length > mostConditions) refuse(`more than ${mostConditions} conditions`);
    at = end + 1;
    if (at === text.length) return conditions;
    if (text[at] !== ";") refuse('conditions are joined by ";"');
    at += 1;
  }
}

const isObject = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function valuesAt(value: unknown, path: readonly string[]): unknown[] {
  if (Array.isArray(value)) return value.flatMap((one) => valuesAt(one, path));
  const [name, ...rest] = path;
  if (name === undefined) return [value];
  return isObject(value) && Object.hasOwn(value, name) ? valuesAt(value[name], rest) : [];
}

/** Less than 0, 0, or more; numbers as numbers, everything else as text. */
function compare(value: unknown, wanted: string): number {
  if (typeof value === "number") return value - Number(wanted);
  const text = String(value);
  return text < wanted ? -1 : text > wanted ? 1 : 0;
}

function holds(value: unknown, { operator, values }: Condition): boolean {
  const [first = ""] = values;
  switch (operator) {
    case "eq":
      return compare(value, first) === 0;
    case "neq":
      return compare(value, first) !== 0;
    case "gt":
      return compare(value, first) > 0;
    case "lt":
      return compare(value, first) < 0;
    case "gte":
      return compare(value, first) >= 0;
    case "lte":
      return compare(value, first) <= 0;
    case "in":
      return values.some((wanted) => compare(value, wanted) === 0);
    case "nin":
      return values.every((wanted) => compare(value, wanted) !== 0);
    case "cont":
      return values.some((wanted) => String(value).includes(wanted));
    case "ncont":
      return values.every((wanted) => !String(value).includes(wanted));
  }
}

/** An attribute that is absent fits no condition. */
export const matches = (resource: object, conditions: readonly Condition[]): boolean =>
  conditions.every((condition) => valuesAt(resource, condition.path).some((value) => holds(value, condition)));

const paths = (text: string): string[][] => text.split(",").map((path) => path.trim().split("/"));

function without(value: unknown, path: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((one) => without(one, path));
  const [name, ...rest] = path;
  if (!isObject(value) || name === undefined || !Object.hasOwn(value, name)) return value;
  const { [name]: inner, ...others } = value;
  return rest.length === 0 ? others : { ...others, [name]: without(inner, rest) };
}

function only(value: unknown, wanted: readonly (readonly string[])[], required: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((one) => only(one, wanted, required));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, inner]): [string, unknown][] => {
      const below = wanted.filter(([first]) => first === name).map((path) => path.slice(1));
      if (below.length === 0) return required.has(name) ? [[name, inner]] : [];
      return [[name, below.some((path) => path.length === 0) ? inner : only(inner, below, new Set())]];
    }),
  );
}

export interface Attributes {
  /** Answered whatever is asked. */
  required: readonly string[];
  /** Left out of lists where nothing is asked: `a/b`. */
  excluded?: readonly string[];
}

/** What of a resource is answered. */
export function select(resource: object, query: Selection, { required, excluded = [] }: Attributes): object {
  const must = new Set(required);
  const drop = (list: readonly string[][]) =>
    list
      .filter(([first, ...rest]) => rest.length > 0 || !must.has(first ?? ""))
      .reduce<unknown>((value, path) => without(value, path), resource) as object;
  if (query.all_fields !== undefined) return resource;
  if (query.fields !== undefined) return only(resource, paths(query.fields), must) as object;
  if (query.exclude_fields !== undefined) return drop(paths(query.exclude_fields));
  return drop(excluded.map((path) => path.split("/")));
}

/** Those of a list that are wanted, with the attributes that are. @throws Problem invalid-request */
export function selectAll(resources: readonly object[], query: Selection, attributes: Attributes): object[] {
  const conditions = query.filter === undefined ? [] : parseFilter(query.filter);
  return resources.filter((one) => matches(one, conditions)).map((one) => select(one, query, attributes));
}
