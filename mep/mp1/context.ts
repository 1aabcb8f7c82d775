/**
 * What do the routes of service management and application support work with?
 */
import type { FastifyReply } from "fastify";
import type { TransportInfo } from "../model/services.ts";
import type { Instances, Notifier } from "../parts.ts";
import type { Announcements } from "../registry/announcements.ts";
import type { Registrations } from "../registry/registrations.ts";
import type { Registry } from "../registry/registry.ts";
import type { Representation } from "../registry/service.ts";
import type { Subscriptions } from "../registry/subscriptions.ts";
import type { Timing } from "../timing/timing.ts";
import type { Mp1Server } from "./server.ts";

export interface Mp1Context {
  registry: Registry;
  subscriptions: Subscriptions;
  announcements: Announcements;
  registrations: Registrations;
  instances: Pick<Instances, "confirmReady" | "confirmTermination">;
  notifier: Pick<Notifier, "refusal">;
  timing: Timing;
  transports: () => readonly TransportInfo[];
  /** `https://host:port` as apps reach Mp1; links in answers and notifications begin with it. */
  base: () => string;
}

export type Mp1Routes = (server: Mp1Server, context: Mp1Context) => void;

const json = "application/json; charset=utf-8";

/** Sends what is JSON already. */
export const sendJson = (reply: FastifyReply, text: string | Buffer): FastifyReply => reply.type(json).send(text);

/** A resource with its ETag, as it is (RFC 9110 §8.8.3). */
export const sendResource = (reply: FastifyReply, { text, etag }: Representation): FastifyReply =>
  sendJson(reply.header("etag", etag), text);
