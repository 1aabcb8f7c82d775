/**
 * Why does this happen to this packet? One packet, by its fields or as a frame; nothing live changes.
 */
import Type from "typebox";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import { Problem } from "../errors.ts";
import { AddressError, parseAddress } from "../intents/prefix.ts";
import { explain, type TraceRequest } from "../trace/explain.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const closed = { additionalProperties: false };
const within = (maximum: number, description?: string) =>
  Type.Optional(Type.Integer({ minimum: 0, maximum, ...(description !== undefined && { description }) }));
const address = Type.String({ maxLength: 64 });
const mac = Type.Optional(Type.String({ pattern: "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$" }));

const body = Type.Object(
  {
    way: Type.Optional(
      Type.Enum(["uplink", "downlink", "apps"], { description: "which side it comes from; of a frame: found out" }),
    ),
    dataplane: Type.Optional(Type.String({ maxLength: 64 })),
    frame: Type.Optional(
      Type.String({
        pattern: "^([0-9a-fA-F]{2})*$",
        maxLength: 19_000,
        description: "hexadecimal, from the Ethernet header on",
      }),
    ),
    raw: Type.Optional(Type.Boolean({ description: "the frame is an IP packet without link layer and tunnel" })),
    packet: Type.Optional(
      Type.Object(
        {
          source: address,
          destination: address,
          protocol: Type.Integer({ minimum: 0, maximum: 255 }),
          sourcePort: within(65_535),
          destinationPort: within(65_535),
          dscp: within(63),
          echo: within(65_535, "identifier of an ICMP echo"),
          tcpFlags: Type.Optional(Type.String({ pattern: "^[FSRPAU]*$", maxLength: 6, description: "absent: S" })),
        },
        { ...closed, description: "instead of a frame" },
      ),
    ),
    tunnel: Type.Optional(
      Type.Object(
        {
          teid: within(0xffff_ffff),
          source: Type.Optional(address),
          destination: Type.Optional(address),
          vlans: Type.Optional(Type.Array(Type.Integer({ minimum: 0, maximum: 4095 }), { maxItems: 2 })),
          qfi: within(63),
        },
        { ...closed, description: "what is left out is the UE's own" },
      ),
    ),
    link: Type.Optional(Type.Object({ sourceMac: mac, destinationMac: mac }, closed)),
  },
  { ...closed, title: "Trace" },
);

const open = { additionalProperties: true };
const answer = Type.Object(
  {
    way: Type.String(),
    steps: Type.Array(
      Type.Object({ rule: Type.Object({}, open), met: Type.Boolean(), because: Type.Optional(Type.String()) }, closed),
    ),
    others: Type.Integer({ minimum: 0, description: "rules that were passed over and are not among the steps" }),
    verdict: Type.String(),
    reason: Type.String({ description: "name of the counter" }),
    text: Type.String(),
    detail: Type.Array(Type.String()),
    program: Type.Optional(
      Type.Object({ verdict: Type.String() }, { ...open, description: "what the real program did with it" }),
    ),
    agrees: Type.Optional(Type.Boolean({ description: "absent where this data plane cannot try it" })),
    differences: Type.Optional(Type.Array(Type.String())),
  },
  open,
);

const invalid = (field: string, message: string) =>
  new Problem("invalid-request", `${field}: ${message}`, { errors: [{ field, message }] });

/** @throws Problem */
function check({ frame, packet, tunnel, dataplane }: TraceRequest, planes: readonly string[]): void {
  if ((frame === undefined) === (packet === undefined)) throw invalid("frame", "give either a frame or a packet");
  if (dataplane !== undefined && !planes.includes(dataplane)) {
    throw new Problem("not-found", `there is no data plane "${dataplane}"`);
  }
  const addresses: [string, string | undefined][] = [
    ["packet.source", packet?.source],
    ["packet.destination", packet?.destination],
    ["tunnel.source", tunnel?.source],
    ["tunnel.destination", tunnel?.destination],
  ];
  const families = new Map<string, number>();
  for (const [field, text] of addresses) {
    if (text === undefined) continue;
    try {
      const { family } = parseAddress(text);
      const pair = field.split(".")[0]!;
      if ((families.get(pair) ?? family) !== family) throw invalid(field, "is of another family than the source");
      families.set(pair, family);
    } catch (error) {
      if (error instanceof AddressError) throw invalid(field, error.message);
      throw error;
    }
  }
}

export const traceRoutes: Routes = (app, { dataplane, services }) => {
  app.post<{ Body: TraceRequest }>(
    "/api/v1/trace",
    {
      schema: {
        tags: ["Management"],
        summary: "Why is this packet taken, left alone, or dropped? The rules it meets, and what the real program does",
        body,
        querystring: schemas.nothing,
        response: { 200: answer, ...schemas.commonProblems, ...schemas.notFound, ...schemas.refused },
      },
    },
    (request) => {
      check(
        request.body,
        dataplane.status().map(({ name }) => name),
      );
      try {
        return explain(services.steering(), request.body, dataplane, (index) => services.nameOf(index));
      } catch (error) {
        if (!(error instanceof DataplaneError)) throw error;
        throw new Problem("dataplane-refused", `the packet could not be tried: ${error.message}`, {}, { cause: error });
      }
    },
  );
};
