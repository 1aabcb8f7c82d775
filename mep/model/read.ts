/**
 * How does a request's body become a value of its data type?
 *
 *   body ─▶ schema (no coercion: "5" is no number) ─▶ members of no data type dropped ─▶ rules between members
 *
 * Members that the standard does not name are dropped, neither refused nor kept: later versions of it add some, and a
 * client of such a version must find its way here. A Problem names every wrong member with its path (check.ts).
 */
import type { TSchema } from "typebox";
import { Compile } from "typebox/compile";
import { Settings } from "typebox/system";
import { Clean } from "typebox/value";
import { Problem } from "../../controlplane/errors.ts";
import type { FieldError } from "../../controlplane/intents/model.ts";
import { schemaErrors } from "./check.ts";

// Alternatives of our data types exclude each other, so their order says nothing; to sort them anew for each body takes longer
// than all else that is done with it.
Settings.Set({ unionPrioritySort: false });

/** Objects and lists inside each other; the data types of GS MEC 011 need six. */
const deepest = 32;

function deeperThan(limit: number, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return limit === 0 || Object.values(value).some((inner) => deeperThan(limit - 1, inner));
}

/** A problem that names every one of `errors`. */
export function invalid(errors: readonly FieldError[]): Problem {
  const text = errors.map(({ field, message }) => `${field || "the body"}: ${message}`).join("; ");
  return new Problem("invalid-request", text, { errors: [...errors] });
}

/**
 * A function that reads bodies of one data type. `rules` says what is wrong between members of a body that keeps to the
 * schema. What it returns is a copy, and shares nothing with the body.
 * @throws Problem invalid-request (400)
 */
export function reader<Value>(
  schema: TSchema,
  rules: (value: Value) => FieldError[] = () => [],
): (body: unknown) => Value {
  const compiled = Compile(schema);
  return (body) => {
    // Depth first: what is deep enough would end the copying.
    if (deeperThan(deepest, body) || !compiled.Check(body)) {
      const errors = schemaErrors(schema, body);
      throw invalid(errors.length > 0 ? errors : [{ field: "", message: "is not what this resource takes" }]);
    }
    const value = Clean(schema, structuredClone(body)) as Value;
    const errors = rules(value);
    if (errors.length > 0) throw invalid(errors);
    return value;
  };
}
