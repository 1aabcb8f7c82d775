/**
 * Which functions do packets pass, and what has each of them to configure (A12)?
 */
import { readFileSync } from "node:fs";
import Type from "typebox";
import { describeChains } from "../chains/describe.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const place = Type.Object(
  {
    function: Type.String({ description: "address of its tunnel end point" }),
    position: Type.Integer({ description: "in its list, from 1" }),
    vni: Type.Integer({ description: "network identifier of this place alone; with NSH the service path" }),
    encapsulation: Type.Enum(["vxlan", "nsh"]),
    state: Type.Enum(["up", "down"]),
    remote: Type.String({ description: "where it sends packets back to" }),
    port: Type.Integer(),
    interface: Type.String(),
    mac: Type.String(),
    peerMac: Type.String(),
    mtu: Type.Integer(),
    serviceIndex: Type.Optional(Type.Integer({ description: "NSH: as it gets it; it returns one less" })),
    commands: Type.Array(Type.String(), { description: "for a Linux function, as root" }),
  },
  { additionalProperties: false },
);
const chains = Type.Object({
  chains: Type.Array(
    Type.Object(
      {
        service: Type.String(),
        unreachable: Type.Enum(["bypass", "block"]),
        uplink: Type.Array(place),
        downlink: Type.Array(place),
      },
      { additionalProperties: false },
    ),
  ),
});

/** Of an adapter; 1500 where it cannot be read. */
export function mtuOf(adapter: string): number {
  try {
    return Number(readFileSync(`/sys/class/net/${adapter}/mtu`, "utf8")) || 1500;
  } catch {
    return 1500;
  }
}

export const chainRoutes: Routes = (app, { services, backend }) => {
  app.get<{ Querystring: { service?: string } }>(
    "/api/v1/chains",
    {
      schema: {
        tags: ["Management"],
        summary: "Chains, their functions, and what those have to configure",
        querystring: Type.Object({ service: Type.Optional(Type.String()) }, { additionalProperties: false }),
        response: { 200: chains, ...schemas.commonProblems },
      },
    },
    ({ query: { service } }) => {
      const { vxlan, apps } = backend;
      if (!vxlan || !apps) return { chains: [] };
      const rules = services.steering().rules.filter(({ name }) => service === undefined || name === service);
      return { chains: describeChains(rules, vxlan, mtuOf(apps.interface)) };
    },
  );
};
