/**
 * `DnsRule`: a name that phones are answered at the site, before apps' rules for it.
 *
 * Its id is its name, which is the resource's unless the program says another. The appliance judges domain and addresses, and
 * names every wrong one.
 */
import { SiteError } from "../../site.ts";
import type { Kind } from "../kind.ts";
import { named } from "./named.ts";

const rules = named("/api/v1/dns-rules");

export const dnsRule: Kind = {
  ...rules,
  type: "DnsRule",

  check: (inputs, name) => ({ inputs: { name, state: "ACTIVE", ...inputs }, failures: [] }),

  async create(site, inputs) {
    try {
      return await rules.create(site, inputs);
    } catch (error) {
      if (!(error instanceof SiteError && error.status === 404)) throw error;
      throw new Error("the site has no MEC platform, which answers names: add mep, with dns, to its configuration");
    }
  },
};
