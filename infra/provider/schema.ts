/**
 * What does Pulumi have to know of the package to write it down for other languages?
 *
 * Pulumi's package schema, made of shapes.ts: `pulumi package get-schema`, `pulumi package gen-sdk`. Pure.
 */
import type { Member, Members, ResourceShape, Shape } from "./shape.ts";
import { resourceShapes, settingShapes } from "./shapes.ts";

type Json = Record<string, unknown>;

const primitives = { text: "string", "whole number": "integer", number: "number", boolean: "boolean" } as const;

class Types {
  readonly all: Record<string, Json> = {};

  /** Of one value; types with a name of their own are noted. */
  of(shape: Shape): Json {
    if (shape === "anything") return { $ref: "pulumi.json#/Any" };
    if (typeof shape === "string") return { type: primitives[shape] };
    if ("words" in shape) return { type: "string" };
    if ("list" in shape) return { type: "array", items: this.of(shape.list) };
    if ("map" in shape) return { type: "object", additionalProperties: this.of(shape.map) };
    if ("oneOf" in shape) return { oneOf: shape.oneOf.map((one) => this.of(one)) };
    const token = `offramp:index:${shape.name}`;
    this.all[token] = { type: "object", ...this.members(shape.members) };
    return { $ref: `#/types/${token}` };
  }

  #member({ is, about, secret }: Member): Json {
    const words = typeof is === "object" && "words" in is ? `${is.words.join(" or ")}; ` : "";
    return { ...this.of(is), description: words + about, ...(secret && { secret }) };
  }

  members(members: Members): { properties: Json; required: string[] } {
    const properties = Object.fromEntries(Object.entries(members).map(([name, one]) => [name, this.#member(one)]));
    return { properties, required: Object.keys(members).filter((name) => !members[name]?.optional) };
  }

  resource({ about, inputs, outputs }: ResourceShape): Json {
    const { properties: inputProperties, required: requiredInputs } = this.members(inputs);
    return { description: about, ...this.members({ ...inputs, ...outputs }), inputProperties, requiredInputs };
  }
}

/** @param version of the package: `1.2.3` */
export function packageSchema(version: string): Json {
  const types = new Types();
  const resources = Object.entries(resourceShapes).map(([name, shape]) => [
    `offramp:index:${name}`,
    types.resource(shape),
  ]);
  const settings = types.members(settingShapes);
  return {
    name: "offramp",
    displayName: "Offramp",
    version,
    description: "Sites of Offramp, an appliance for the edge of a mobile network, as code",
    license: "Apache-2.0",
    keywords: ["category/network", "kind/native"],
    config: { variables: settings.properties, defaults: settings.required },
    provider: {
      description: "One site, as resources name it.",
      inputProperties: settings.properties,
      requiredInputs: settings.required,
    },
    resources: Object.fromEntries(resources),
    types: types.all,
    language: {},
  };
}
