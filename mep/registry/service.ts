/**
 * What is a service to the registry?
 *
 * What the app says of it (`about`) is kept as the JSON text that every answer contains, so that ten thousand services are
 * ten thousand strings; what changes by itself stands beside. A service is never changed, only replaced by another of the
 * same id; the time of its last heartbeat alone moves.
 */
import type {
  ServiceInfo,
  ServiceLivenessInfo,
  ServiceRequest,
  ServiceState,
  TransportInfo,
} from "../model/services.ts";
import { etagOf } from "../mp1/etag.ts";

/** What discovery and subscriptions ask of a service. */
export interface Facts {
  id: string;
  name: string;
  /** id of its category. */
  category?: string;
  scopeOfLocality: ServiceInfo["scopeOfLocality"];
  consumedLocalOnly: boolean;
  state: ServiceState;
}

export interface Representation {
  text: string;
  etag: string;
}

export interface ServiceRow {
  id: string;
  instance: string;
  about: string;
  state: ServiceState;
  /** Seconds. */
  interval: number | null;
  /** Milliseconds since the epoch. */
  heartbeat: number;
}

/** What the app says of its service. */
export type About = Pick<
  ServiceInfo,
  "serName" | "serCategory" | "version" | "transportInfo" | "serializer" | "scopeOfLocality" | "consumedLocalOnly"
>;

/** The text of what the app says, members in one order, defaults of §8.1.2.2 filled in. */
export function aboutOf(request: ServiceRequest, transportInfo: TransportInfo): string {
  const about: About = {
    serName: request.serName,
    ...(request.serCategory && { serCategory: request.serCategory }),
    version: request.version,
    transportInfo,
    serializer: request.serializer,
    scopeOfLocality: request.scopeOfLocality ?? "MEC_HOST",
    consumedLocalOnly: request.consumedLocalOnly ?? true,
  };
  return JSON.stringify(about);
}

const apiRoot = "/mec_service_mgmt/v1";

export class Service implements Facts {
  readonly id: string;
  readonly instance: string;
  readonly about: string;
  readonly state: ServiceState;
  readonly interval: number | undefined;
  readonly name: string;
  readonly category?: string;
  readonly scopeOfLocality: ServiceInfo["scopeOfLocality"];
  readonly consumedLocalOnly: boolean;
  /** Of the last heartbeat or change by the app; milliseconds since the epoch. */
  heartbeat: number;
  /** Order of registration. */
  place = 0;
  #shared: Representation | undefined;
  #own: Representation | undefined;

  constructor({ id, instance, about, state, interval, heartbeat }: ServiceRow) {
    this.id = id;
    this.instance = instance;
    this.about = about;
    this.state = state;
    this.interval = interval ?? undefined;
    this.heartbeat = heartbeat;
    const parsed = JSON.parse(about) as About;
    this.name = parsed.serName;
    if (parsed.serCategory) this.category = parsed.serCategory.id;
    this.scopeOfLocality = parsed.scopeOfLocality;
    this.consumedLocalOnly = parsed.consumedLocalOnly;
  }

  row(): ServiceRow {
    const { id, instance, about, state, heartbeat } = this;
    return { id, instance, about, state, interval: this.interval ?? null, heartbeat };
  }

  with(changed: Partial<ServiceRow>): Service {
    return new Service({ ...this.row(), ...changed });
  }

  /** Every app of this host is local to it, whatever the scope of locality is: isLocal is always true (§8.1.2.2, note 4). */
  #text(base: string, self: string): Representation {
    const links = {
      self: { href: self },
      ...(this.interval !== undefined && { liveness: { href: this.livenessUri(base) } }),
    };
    const rest = {
      state: this.state,
      isLocal: true,
      ...(this.interval !== undefined && { livenessInterval: this.interval }),
      _links: links,
    };
    const text = `{"serInstanceId":${JSON.stringify(this.id)},${this.about.slice(1, -1)},${JSON.stringify(rest).slice(1)}`;
    return { text, etag: etagOf(text) };
  }

  /** ServiceInfo as everybody sees it. `base`: `https://host:port`, always the same. */
  shared(base: string): Representation {
    this.#shared ??= this.#text(base, this.sharedUri(base));
    return this.#shared;
  }

  /** ServiceInfo as the app that offers it sees it. */
  own(base: string): Representation {
    this.#own ??= this.#text(base, this.ownUri(base));
    return this.#own;
  }

  sharedUri(base: string): string {
    return `${base}${apiRoot}/services/${this.id}`;
  }

  ownUri(base: string): string {
    return `${base}${apiRoot}/applications/${encodeURIComponent(this.instance)}/services/${this.id}`;
  }

  livenessUri(base: string): string {
    return `${this.ownUri(base)}/liveness`;
  }

  /** §8.1.2.4; of a service that requires heartbeats. */
  liveness(): ServiceLivenessInfo {
    const seconds = Math.floor(this.heartbeat / 1000);
    const timeStamp = { seconds, nanoSeconds: (this.heartbeat - seconds * 1000) * 1_000_000 };
    return { state: this.state, timeStamp, interval: this.interval ?? 0 };
  }
}
