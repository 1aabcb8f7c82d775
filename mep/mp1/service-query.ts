/**
 * Which services does a query of discovery ask for (GS MEC 011 §8.2.3.3.1, table of query parameters)?
 *
 * A parameter with several values is repeated, or has them separated by commas. Of ser_instance_id, ser_name and
 * ser_category_id at most one may be there. Parameters that are not known are refused by the server before.
 */
import Type from "typebox";
import type { FieldError } from "../../controlplane/intents/model.ts";
import { invalid } from "../model/read.ts";
import { localities } from "../model/services.ts";
import type { ServiceQuery } from "../registry/directory.ts";

const several = (description: string) =>
  Type.Optional({
    ...Type.Union([Type.String(), Type.Array(Type.String())]),
    description: `${description}; several by repeating it or separated by commas`,
  });
const flag = (description: string) => Type.Optional({ ...Type.Enum(["true", "false"]), description });

export const serviceQuery = Type.Object(
  {
    ser_instance_id: several("serInstanceId"),
    ser_name: several("serName"),
    ser_category_id: Type.Optional(Type.String({ minLength: 1, description: "id of serCategory" })),
    scope_of_locality: Type.Optional(Type.Enum([...localities])),
    consumed_local_only: flag("consumedLocalOnly"),
    is_local: flag("isLocal; every service of this host is local to its apps"),
  },
  { additionalProperties: false },
);

type Given = Record<string, string | string[] | undefined>;

const exclusive = ["ser_instance_id", "ser_name", "ser_category_id"] as const;

/** @throws Problem 400 */
export function readServiceQuery(given: Given): ServiceQuery {
  const errors: FieldError[] = [];
  const there = exclusive.filter((name) => given[name] !== undefined);
  if (there.length > 1) {
    errors.push({ field: `querystring.${there[1]}`, message: `only one of ${exclusive.join(", ")} may be there` });
  }
  const values = (name: string): string[] | undefined => {
    if (given[name] === undefined) return undefined;
    const list = [given[name]].flat().flatMap((value) => value.split(","));
    if (list.some((value) => value === ""))
      errors.push({ field: `querystring.${name}`, message: "has an empty value" });
    return list;
  };
  const one = (name: string): string | undefined => [given[name]].flat()[0];
  const flagOf = (name: string): boolean | undefined =>
    given[name] === undefined ? undefined : given[name] === "true";
  const ids = values("ser_instance_id");
  const names = values("ser_name");
  if (errors.length > 0) throw invalid(errors);
  const [category, scopeOfLocality] = [one("ser_category_id"), one("scope_of_locality")];
  const [consumedLocalOnly, isLocal] = [flagOf("consumed_local_only"), flagOf("is_local")];
  return {
    ...(ids && { ids }),
    ...(names && { names }),
    ...(category !== undefined && { category }),
    ...(scopeOfLocality !== undefined && { scopeOfLocality }),
    ...(consumedLocalOnly !== undefined && { consumedLocalOnly }),
    ...(isLocal !== undefined && { isLocal }),
  };
}
