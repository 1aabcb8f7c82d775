/**
 * What do the parts of the platform ask of each other?
 *
 * Interfaces only. Each part lives in a folder of its own and knows the others by what stands here; platform.ts puts them
 * together.
 */
import type { FastifyRequest } from "fastify";
import type { AppD } from "./model/appd.ts";
import type { TransportInfo } from "./model/services.ts";

export type OperationAction = "STOPPING" | "TERMINATING";

/** An app instance, as far as other parts look at it (GS MEC 010-2 AppInstanceInfo, GS MEC 011 §5.2). */
export interface Instance {
  /** appInstanceId: a UUID unless a management user has chosen another. */
  id: string;
  appDId: string;
  name: string;
  /** appProvider of its package: the tenant. */
  provider: string;
  instantiationState: "NOT_INSTANTIATED" | "INSTANTIATED";
  operationalState: "STARTED" | "STOPPED";
  /** The platform has taken on what its package asks for. */
  configured: boolean;
  /** It has said confirm_ready since it was started. */
  ready: boolean;
  /** It has been told to end, and has until then; milliseconds since the epoch. */
  terminating?: { operationAction: OperationAction; deadline: number };
  /** Its addresses toward the traffic offloading function. */
  addresses: string[];
  /** Runs on a machine of its own on the apps' network; the platform neither starts nor stops it. */
  external: boolean;
}

export type InstanceEvent =
  | "created"
  | "configured"
  | "started"
  | "ready"
  | "terminating"
  | "stopped"
  | "terminated"
  | "deleted";

export interface Instances {
  get(id: string): Instance | undefined;
  list(): Instance[];
  /** @throws Problem conflict while it is not configured */
  confirmReady(id: string): Promise<void>;
  /** @throws Problem conflict when nothing ends, or something else does */
  confirmTermination(id: string, action: OperationAction): Promise<void>;
  /** Returns how to stop. */
  on(listener: (event: InstanceEvent, instance: Instance) => void): () => void;
}

/**
 * A part that keeps something for instances. Beginning: `configure` of each in order, all or nothing (those that were done are
 * undone by `remove`, or by `configure` with what was before); `ready` when the app has confirmed. `absent` when its program has
 * ended by itself: what leads to it stands aside until `ready`, at once and with nothing forgotten. End: `deactivate` of all, the
 * last first, also where the instance is only stopped: a start is another `configure`. Then, of one that is terminated, `remove`
 * of all, the last first. Everything is durable when it resolves, and may be called again.
 */
export interface InstancePart {
  configure?(instance: Instance, appd: AppD): Promise<void>;
  ready?(instance: Instance): Promise<void>;
  absent?(instance: Instance): Promise<void>;
  deactivate?(instance: Instance): Promise<void>;
  remove?(instance: Instance): Promise<void>;
}

/** Where the notifications of a subscription go. */
export interface Subscriber {
  /** Of the subscription; unique over all kinds. */
  id: string;
  /** appInstanceId of whose it is; absent: of a management user. */
  instance?: string;
  callbackReference?: string;
  /** Notifications go over the WebSocket that belongs to the subscription. */
  websocket?: boolean;
}

export interface Notifier {
  /** Queues it; never throws, never waits. */
  send(subscriber: Subscriber, body: object): void;
  /** Why nothing may be sent there. Undefined: it may, as far as is known now. Resolves names, within a time limit. */
  refusal(instance: string | undefined, callbackReference: string): Promise<string | undefined>;
  /** A TestNotification (MEC 009 §6.12a), in its turn. @param href of the subscription */
  test(subscriber: Subscriber, href: string): void;
  /** Lets the app connect its WebSocket. To be said when the subscription is made, and after each start. */
  admit(subscriber: Subscriber): void;
  /** Nothing more is sent; what waits is dropped, and a WebSocket closed. */
  forget(id: string): void;
}

/** Who sends a request to Mp1. */
export interface Identity {
  /** client_id */
  client: string;
  /** The instance that the client is; absent: a client of its own, for registrations. */
  instance?: string;
  scopes: ReadonlySet<string>;
}

export interface Authority {
  /** @throws Problem unauthorized, too-many-requests */
  authenticate(request: FastifyRequest): Promise<Identity>;
  /** @throws Problem forbidden, when it is not its own instance or the scope is missing; not-found, when there is none */
  authorise(identity: Identity, wanted: { scope?: string; appInstanceId?: string }): void;
}

/** A record that UEs are answered. */
export interface DnsRecord {
  /** In lower case, without the dot at the end (model/domain-name.ts). */
  name: string;
  type: "A" | "AAAA";
  address: string;
  /** Seconds that resolvers may keep it, 0..2^31-1. Absent: `defaultTtl` (dns/records.ts). */
  ttl?: number;
}

export interface DnsActivation {
  /** There is no name server at this site, so nothing can be active. */
  missing?: boolean;
  /** What is active when the agent starts. Where the name server is not up yet, it is answered as soon as it is. */
  begin(active: readonly DnsRecord[]): Promise<void>;
  /**
   * These records and no others are answered to UEs from now on. Changes are made one after the other.
   * @throws Problem, DataplaneError and what was in force is
   */
  apply(active: readonly DnsRecord[]): Promise<void>;
}

/** What somebody offers: of a transport of the platform nobody knows the serializers, so any is taken to be there. */
export interface Binding {
  transport: Pick<TransportInfo, "type" | "protocol" | "version">;
  serializer?: string;
}

export interface OfferedService extends Binding {
  version: string;
  /** id of its category. */
  category?: string;
}

/** What apps may require before they begin. */
export interface Provided {
  /** In state ACTIVE. */
  services(name: string): readonly OfferedService[];
  transports(): readonly Binding["transport"][];
}
