/**
 * How is a request compared with its route's schema?
 *
 * Paths, queries and headers are text, so "10" is a number there where one is wanted. A body is JSON and says what it means: "10" is
 * a text there, and 7 is none. All that is wrong is found, nothing is left out or filled in.
 */
import AjvCompiler from "@fastify/ajv-compiler";
import type { FastifyServerOptions } from "fastify";

type Compilers = NonNullable<NonNullable<FastifyServerOptions["schemaController"]>["compilersFactory"]>;
type Validator = (route: { httpPart?: string; schema: unknown }) => (data: unknown) => unknown;

const options = (coerceTypes: boolean) => ({
  customOptions: { removeAdditional: false, coerceTypes, useDefaults: false, allErrors: true } as const,
});

/** For `schemaController.compilersFactory`. */
export function validators(): Compilers {
  const build = AjvCompiler();
  const buildValidator = (schemas: Record<string, object>): Validator => {
    const validator = (coerced: boolean) => build(schemas, options(coerced)) as unknown as Validator;
    const [text, json] = [validator(true), validator(false)];
    return (route) => (route.httpPart === "body" ? json : text)(route);
  };
  return { buildValidator } as unknown as Compilers;
}
