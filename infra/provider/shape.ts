/**
 * Which values may a property have?
 *
 * Pure. One description (shapes.ts) from which wrong inputs are named with their paths, and Pulumi's schema of the package is
 * made (schema.ts). It says what kind of value belongs where; whether a value can be done at a site is the site's to say.
 */
import { member } from "./difference.ts";
import { type CheckFailure, unknownValue } from "./kind.ts";

export type Shape =
  | "text"
  | "whole number"
  | "number"
  | "boolean"
  | "anything"
  | { list: Shape }
  | { map: Shape }
  | { oneOf: readonly Shape[] }
  | { words: readonly string[] }
  /** A type of its own in the schema. */
  | { name: string; members: Members };

export interface Member {
  is: Shape;
  about: string;
  optional?: true;
  secret?: true;
}

export type Members = Readonly<Record<string, Member>>;

/** A resource of the package. */
export interface ResourceShape {
  about: string;
  inputs: Members;
  /** Beyond the inputs. */
  outputs: Members;
}

function wordsOf(shape: Shape): string {
  if (typeof shape === "string") return shape === "anything" ? shape : `a ${shape}`;
  if ("list" in shape) return "a list";
  if ("words" in shape) return shape.words.map((word) => `"${word}"`).join(" or ");
  if ("oneOf" in shape) return shape.oneOf.map(wordsOf).join(", or ");
  return "an object";
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function fits(shape: Shape & string, value: unknown): boolean {
  if (shape === "anything") return true;
  if (shape === "text") return typeof value === "string";
  if (shape === "boolean") return typeof value === "boolean";
  return typeof value === "number" && (shape === "number" || Number.isInteger(value));
}

/** What is wrong with a value; a list or an object is looked into. What is not known yet is not judged. */
export function failuresOf(shape: Shape, value: unknown, path: string): CheckFailure[] {
  if (value === unknownValue) return [];
  const wrong = [{ property: path, reason: `must be ${wordsOf(shape)}` }];
  if (typeof shape === "string") return fits(shape, value) ? [] : wrong;
  if ("words" in shape) return shape.words.some((word) => word === value) ? [] : wrong;
  if ("list" in shape) {
    if (!Array.isArray(value)) return wrong;
    return value.flatMap((one, index) => failuresOf(shape.list, one, `${path}[${index}]`));
  }
  if ("oneOf" in shape) {
    const tried = shape.oneOf.map((one) => failuresOf(one, value, path));
    // The one that goes furthest tells most.
    return tried.some((one) => one.length === 0) ? [] : (tried.find((one) => one[0]?.property !== path) ?? wrong);
  }
  if (!isObject(value)) return wrong;
  if ("map" in shape) {
    return Object.entries(value).flatMap(([name, one]) => failuresOf(shape.map, one, member(path, name)));
  }
  return memberFailures(shape.members, value, path);
}

/** The same of the members of an object. @param path of it; "" for the inputs of a resource */
export function memberFailures(members: Members, value: Record<string, unknown>, path = ""): CheckFailure[] {
  const has = `there are ${Object.keys(members).join(", ")}`;
  const unknown = Object.keys(value)
    .filter((name) => !Object.hasOwn(members, name))
    .map((name) => ({ property: member(path, name), reason: `is not known; ${has}` }));
  const judged = Object.entries(members).flatMap(([name, { is, about, optional }]) => {
    const one = value[name];
    if (one !== undefined) return failuresOf(is, one, member(path, name));
    return optional ? [] : [{ property: member(path, name), reason: `is required: ${about}` }];
  });
  return [...unknown, ...judged];
}
