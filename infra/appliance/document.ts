/**
 * What does `site.yaml` look like to a program?
 *
 * As in docs/site.example.yaml, which the appliance judges; the members that decisions are made from here are typed, the
 * others are passed on as they are. `offramp check --schema` prints all of it.
 */

type Section = Readonly<Record<string, unknown>>;

export interface DataplaneDocument {
  name: string;
  plugin?: "gtp" | "ethernet";
  backend?: "ebpf" | "ovs";
  /** Adapter toward the base stations; in the appliance VM `acc0`. */
  access?: string;
  /** Adapter toward the core; in the appliance VM `cor0`. */
  core?: string;
  /** One shared adapter, instead of both. */
  adapter?: string;
  accessPeers?: readonly string[];
  corePeers?: readonly string[];
  uePools?: readonly string[];
  /** `300s` */
  idleTimeout?: string;
  pinger?: Section;
  interface?: "s1u" | "n3";
  mode?: "offload" | "observe" | "bypass";
}

export interface SiteDocument {
  site: { name: string; stateDir?: string };
  dataplanes: readonly DataplaneDocument[];
  limits?: Readonly<Record<string, number>>;
  protect?: readonly string[];
  /** The apps' network; in the appliance VM its interface is `apps0`. */
  apps?: { interface: string; address?: string; address6?: string };
  vxlan?: Section;
  api?: Section;
  mep?: Section;
}
