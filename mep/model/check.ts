/**
 * Is a value what a schema says, and if not, what is wrong with all of it?
 *
 * For documents that people write (AppD, configuration requests): every error at once, each with its dotted path and what to
 * do. What JSON cannot say (NaN, dates, keys that name JavaScript's own members, endless nesting) is refused first.
 */
import type { TSchema } from "typebox";
import { Settings } from "typebox/system";
import { Value } from "typebox/value";
import type { FieldError } from "../../controlplane/intents/model.ts";
import { nearest } from "../../controlplane/intents/spelling.ts";

// All errors at once; by default the validator stops after a few.
Settings.Set({ maxErrors: 10_000 });

const deepest = 32;
const mostValues = 100_000;
/** Errors that one answer names. */
const mostErrors = 100;

const kinds: Record<string, string> = {
  object: "an object",
  array: "a list",
  string: "a string",
  integer: "a whole number",
  number: "a number",
  boolean: "true or false",
};

type Node = Record<string, unknown>;

const at = (path: readonly string[]): string => path.join(".");

const pointer = (text: string): string[] =>
  text
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));

/** The part of a schema that speaks about a path. */
function schemaAt(schema: TSchema, path: readonly string[]): Node | undefined {
  let node: Node | undefined = schema as unknown as Node;
  for (const part of path) {
    const { properties, items } = (node ?? {}) as { properties?: Record<string, Node>; items?: Node };
    node = items && /^\d+$/.test(part) ? items : properties?.[part];
  }
  return node;
}

/** What no JSON document of ours may hold. */
function unfit(value: unknown): FieldError[] {
  const errors: FieldError[] = [];
  let count = 0;
  const walk = (one: unknown, path: string[]) => {
    count += 1;
    if (count > mostValues || errors.length >= mostErrors) return;
    if (path.length > deepest) {
      errors.push({ field: at(path.slice(0, 8)), message: `is nested deeper than ${deepest}` });
    } else if (typeof one === "number") {
      if (!Number.isFinite(one)) errors.push({ field: at(path), message: "is not a finite number" });
    } else if (Array.isArray(one)) {
      for (const [index, element] of one.entries()) walk(element, [...path, String(index)]);
    } else if (typeof one === "object" && one !== null) {
      if (Object.getPrototypeOf(one) !== Object.prototype) {
        errors.push({ field: at(path), message: "is of a type that JSON does not have" });
        return;
      }
      for (const key of Object.keys(one)) {
        const forbidden = key === "__proto__" || key === "constructor" || key === "prototype";
        if (forbidden) errors.push({ field: at([...path, key]), message: "is a key that no document may have" });
        else walk((one as Node)[key], [...path, key]);
      }
    } else if (one !== null && !["string", "boolean"].includes(typeof one)) {
      errors.push({ field: at(path), message: "is of a type that JSON does not have" });
    }
  };
  walk(value, []);
  if (count > mostValues) errors.push({ field: "", message: `holds more than ${mostValues} values` });
  return errors;
}

/** Everything that is wrong; empty when nothing is. Patterns are explained by the description of their schema. */
export function schemaErrors(schema: TSchema, value: unknown): FieldError[] {
  const found = unfit(value);
  if (found.length > 0) return found;
  for (const error of Value.Errors(schema, value)) {
    if (found.length >= mostErrors) break;
    const path = pointer(error.instancePath);
    const node = schemaAt(schema, path);
    const params = error.params as Record<string, unknown>;
    const say = (message: string, more: string[] = []) =>
      found.push({ field: at([...path, ...more]).slice(0, 256), message });
    switch (error.keyword) {
      case "boolean":
        break; // said by additionalProperties
      case "additionalProperties":
        for (const key of params.additionalProperties as string[]) {
          const guess = nearest(key, Object.keys((node?.properties as object | undefined) ?? {}));
          say(guess ? `is not known; did you mean "${guess}"?` : "is not known; remove it", [key]);
        }
        break;
      case "required":
        for (const key of params.requiredProperties as string[]) say("is required", [key]);
        break;
      case "type":
        say(`must be ${kinds[String(node?.type)] ?? String(node?.type)}`);
        break;
      case "enum":
        say(`must be one of ${(params.allowedValues as unknown[]).join(", ")}`);
        break;
      case "pattern":
        say(`must be ${node?.description ?? `like ${node?.pattern}`}`);
        break;
      case "minimum":
      case "maximum":
        say(
          node?.maximum === undefined
            ? `must be at least ${node?.minimum}`
            : `must be ${node?.minimum ?? "at most"}${node?.minimum === undefined ? " " : " to "}${node?.maximum}`,
        );
        break;
      case "minItems":
        say(`must have at least ${node?.minItems}`);
        break;
      case "maxItems":
        say(`has too many; ${node?.maxItems} are allowed`);
        break;
      case "minLength":
        say("must not be empty");
        break;
      case "maxLength":
        say(`is too long; ${node?.maxLength} characters are allowed`);
        break;
      default:
        say(error.message);
    }
  }
  return found;
}
