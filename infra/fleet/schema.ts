/**
 * What may a fleet.yaml say?
 *
 * The shape; what fields mean together is checked in file.ts. Of `metric`, `rate`, `share`, `steady` a gate has one, as a step
 * of `waves` has one field; that is said there, because a schema of alternatives cannot say which of them was meant.
 */
import { type Static, type TProperties, Type } from "typebox";

const object = <T extends TProperties>(properties: T) => Type.Object(properties, { additionalProperties: false });
const text = () => Type.String({ minLength: 1, maxLength: 4096 });
const name = () => Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" });
const duration = () => Type.String({ pattern: "^\\d{1,9}(ms|s|m|h)$" });
const count = (least: number, most: number) => Type.Integer({ minimum: least, maximum: most });
const many = () => Type.Number({ minimum: 0 });

/** Secrets are never in the file itself. */
const secret = () => object({ env: Type.Optional(text()), file: Type.Optional(text()) });

const access = {
  api: Type.Optional(text()),
  ca: Type.Optional(text()),
  token: Type.Optional(secret()),
  patience: Type.Optional(duration()),
};

const step = object({
  sites: Type.Optional(Type.Array(text(), { minItems: 1 })),
  percent: Type.Optional(Type.Number()),
  region: Type.Optional(text()),
  rest: Type.Optional(Type.Literal(true)),
});

const gate = object({
  metric: Type.Optional(text()),
  rate: Type.Optional(text()),
  share: Type.Optional(text()),
  of: Type.Optional(text()),
  steady: Type.Optional(text()),
  most: Type.Optional(Type.Number()),
  least: Type.Optional(Type.Number()),
  mostTimes: Type.Optional(many()),
  leastTimes: Type.Optional(many()),
});

const stack = object({
  /** Folder with Pulumi.yaml. */
  program: text(),
  name: Type.Optional(text()),
  config: Type.Optional(Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]))),
  secrets: Type.Optional(Type.Record(Type.String(), secret())),
  /** Folder whose bin/pulumi is the engine; absent: the one of PATH. */
  pulumi: Type.Optional(text()),
  atOnce: Type.Optional(count(1, 256)),
});

export const fleetSchema = Type.Object(
  {
    fleet: name(),
    journal: Type.Optional(text()),
    defaults: Type.Optional(object(access)),
    sites: Type.Array(object({ name: name(), region: Type.Optional(name()), ...access }), {
      minItems: 1,
      maxItems: 100_000,
    }),
    waves: Type.Array(step, { minItems: 1, maxItems: 1000 }),
    parallel: Type.Optional(count(1, 10_000)),
    soak: Type.Optional(duration()),
    baseline: Type.Optional(duration()),
    looks: Type.Optional(count(0, 1000)),
    allowed: Type.Optional(
      object({
        count: Type.Optional(count(0, 100_000)),
        percent: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
      }),
    ),
    catchUp: Type.Optional(count(0, 1000)),
    gates: Type.Optional(Type.Array(gate, { maxItems: 1000 })),
    change: object({
      /** A list, or the path of a file with one. */
      services: Type.Optional(Type.Unknown()),
      stack: Type.Optional(stack),
    }),
  },
  { additionalProperties: false },
);

export type FleetFile = Static<typeof fleetSchema>;
export type Secret = Static<ReturnType<typeof secret>>;
