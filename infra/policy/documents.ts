/**
 * Where do resources of a stack say how a site is?
 *
 * Pure. `Appliance` and `SiteConfiguration` have the site's document as an input; a server of OpenStack has it in its seed. What is
 * not known yet in a preview is not there, and is judged when it is.
 */
import { parse } from "yaml";

/** A resource as a policy sees it. */
export interface Seen {
  /** `offramp:index:Appliance` */
  type: string;
  name: string;
  urn: string;
  props: Readonly<Record<string, unknown>>;
}

export interface SiteSeen {
  resource: Seen;
  /** Path of the document in the resource: `configuration`. */
  at: string;
  /** `site.yaml` */
  document: Group;
}

export type Group = Readonly<Record<string, unknown>>;

/** What stands for a value that is not known yet (Pulumi's protocol fixes it). */
const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

export const group = (value: unknown): Group =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Group) : {};
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
export const isKnown = (value: unknown): boolean => value !== unknown;

const server = "openstack:compute/instance:Instance";

function seed(userData: unknown): Group {
  if (typeof userData !== "string" || !userData.startsWith("#cloud-config")) return {};
  try {
    return group(group(group(parse(userData)).offramp).site);
  } catch {
    return {}; // of something else
  }
}

/** Undefined: it says nothing about a site. */
export function siteOf(resource: Seen): SiteSeen | undefined {
  const { type, props } = resource;
  const ours = type === "offramp:index:Appliance" || type === "offramp:index:SiteConfiguration";
  const [at, document] = ours
    ? (["configuration", group(props.configuration)] as const)
    : type === server
      ? (["userData", seed(props.userData)] as const)
      : (["", {}] as const);
  return Object.keys(document).length > 0 ? { resource, at, document } : undefined;
}

/** What the site is called; the resource's name where that is not known. */
export function nameOf({ resource, document }: SiteSeen): string {
  const { name } = group(document.site);
  return typeof name === "string" && isKnown(name) ? name : resource.name;
}
