/**
 * `SiteConfiguration`: the whole of a site's `site.yaml`, over its API.
 *
 * Its id is the site's name. There is always one, so create takes over what is there, and remove leaves the site as it is. What
 * is wrong with a document is said by the appliance, with every path.
 */
import type { SiteDocument } from "../../appliance/document.ts";
import { type Configured, configurationOf, configure, usualConfirm } from "../../configure.ts";
import type { Site } from "../../site.ts";
import { type CheckFailure, type Kind, type Properties, unknownProperties, unknownValue } from "../kind.ts";

const known = ["configuration", "confirm"];

const isGroup = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function failuresOf(inputs: Properties): CheckFailure[] {
  const failures = unknownProperties(inputs, known, `a configuration has ${known.join(" and ")}`);
  const { configuration, confirm } = inputs;
  if (configuration !== unknownValue) {
    const { site } = isGroup(configuration) ? configuration : {};
    if (!isGroup(configuration))
      failures.push({ property: "configuration", reason: "is required: what site.yaml says" });
    else if (site !== unknownValue && (!isGroup(site) || site.name === undefined)) {
      failures.push({ property: "configuration.site.name", reason: "is required: the site's name" });
    }
  }
  if (confirm !== unknownValue && !(Number.isInteger(confirm) && Number(confirm) >= 1 && Number(confirm) <= 604_800)) {
    failures.push({ property: "confirm", reason: "must be whole seconds, 1 to 604800" });
  }
  return failures;
}

const documentOf = ({ configuration }: Properties) => configuration as SiteDocument;

/** As a program would say it that says as much as this one did. */
export function said({ site, secrets }: Configured, had: SiteDocument | undefined): SiteDocument {
  const { api, ...rest } = site;
  const { stateDir, ...named } = site.site;
  const token = secrets.includes("api.token") ? had?.api?.token : undefined;
  return {
    ...rest,
    site: had && had.site.stateDir === undefined ? named : { ...named, stateDir },
    ...((!had || had.api !== undefined) && api && { api: { ...api, ...(token !== undefined && { token }) } }),
  };
}

async function put(site: Site, inputs: Properties) {
  const { revision } = await configure(site, documentOf(inputs), Number(inputs.confirm));
  return { outputs: { revision } };
}

export const siteConfiguration: Kind = {
  type: "SiteConfiguration",
  fixed: [],
  aside: ["confirm"],

  check(inputs) {
    const filled = { confirm: usualConfirm, ...inputs };
    return { inputs: filled, failures: failuresOf(filled) };
  },

  async create(site, inputs) {
    const { name } = documentOf(inputs).site;
    return { id: name, ...(await put(site, inputs)) };
  },

  async read(site, id, had) {
    const now = await configurationOf(site);
    // Imported by the site's name; another name is another site.
    if (had.configuration === undefined && now.site.site.name !== id) return undefined;
    const { confirm = usualConfirm } = had;
    return {
      inputs: { confirm, configuration: said(now, had.configuration as SiteDocument | undefined) },
      outputs: { revision: now.revision },
    };
  },

  update: (site, _id, inputs) => put(site, inputs),

  async remove() {
    // A site without a configuration is none: it stays as it is.
  },
};
