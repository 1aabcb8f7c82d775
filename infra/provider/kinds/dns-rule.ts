/**
 * `DnsRule`: a name that phones are answered at the site, before apps' rules for it.
 *
 * Its id is its name, which is the resource's unless the program says another. The appliance judges domain and addresses, and
 * names every wrong one.
 */
import { isDeepStrictEqual } from "node:util";
import { type Site, SiteError } from "../../site.ts";
import { type Kind, made, type Properties } from "../kind.ts";

const path = "/api/v1/dns-rules";
const at = (name: string): string => `${path}/${encodeURIComponent(name)}`;

const same = (site: Site, rule: Properties) => async (): Promise<Properties | undefined> => {
  const found = await site.get<Properties>(at(String(rule.name)));
  return isDeepStrictEqual(found, rule) ? found : undefined;
};

export const dnsRule: Kind = {
  type: "DnsRule",
  fixed: ["name"],

  check: (inputs, name) => ({ inputs: { name, state: "ACTIVE", ...inputs }, failures: [] }),

  async create(site, inputs) {
    const id = String(inputs.name);
    try {
      return { id, ...(await made(() => site.change("POST", path, inputs, same(site, inputs)), same(site, inputs))) };
    } catch (error) {
      if (!(error instanceof SiteError && error.status === 404)) throw error;
      throw new Error("the site has no MEC platform, which answers names: add mep, with dns, to its configuration");
    }
  },

  async read(site, id) {
    const inputs = await site.get<Properties>(at(id));
    return inputs && { inputs };
  },

  async update(site, id, inputs) {
    await site.change("PUT", at(id), inputs, same(site, inputs));
    return {};
  },

  async remove(site, id) {
    const gone = async () => ((await site.get(at(id))) === undefined ? true : undefined);
    if (await gone()) return;
    await site.change("DELETE", at(id), undefined, gone);
  },
};
