/**
 * `TofService`: a service of the TOF Service API, in either of its forms.
 *
 * Its id is its name. What fields mean and which values they take is judged by the appliance, which names every wrong one; here
 * it is only seen that one of the two forms is meant.
 */
import { isDeepStrictEqual } from "node:util";
import type { Site } from "../../site.ts";
import { type CheckFailure, type Kind, made, type Properties, unknownProperties } from "../kind.ts";

const firstForm = ["serviceIP", "applicationIP"];
const known = ["name", ...firstForm, "appInitiated", "rules", "chain", "mirror", "rate", "health"];

const pathOf = (name: string) => `/service/${encodeURIComponent(name)}`;

function failuresOf(inputs: Properties): CheckFailure[] {
  const failures = unknownProperties(inputs, known, `a service has ${known.join(", ")}`);
  if (inputs.rules === undefined) {
    for (const property of firstForm.filter((one) => inputs[one] === undefined)) {
      failures.push({ property, reason: "is required, unless the service has rules" });
    }
  } else {
    for (const property of firstForm.filter((one) => inputs[one] !== undefined)) {
      failures.push({ property, reason: "says the same as rules in another form: give one of both" });
    }
  }
  return failures;
}

const same = (site: Site, service: Properties) => async (): Promise<Properties | undefined> => {
  const found = await site.get<Properties>(pathOf(String(service.name)));
  return isDeepStrictEqual(found, service) ? found : undefined;
};

export const service: Kind = {
  type: "TofService",
  fixed: ["name"],

  check(inputs, name) {
    const filled = { name, ...inputs };
    return { inputs: filled, failures: failuresOf(filled) };
  },

  async create(site, inputs) {
    const post = () => site.change("POST", "/service", inputs, same(site, inputs));
    return { id: String(inputs.name), ...(await made(post, same(site, inputs))) };
  },

  async read(site, id) {
    const inputs = await site.get<Properties>(pathOf(id));
    return inputs && { inputs };
  },

  async update(site, id, inputs) {
    await site.change("PUT", pathOf(id), inputs, same(site, inputs));
    return {};
  },

  async remove(site, id) {
    const gone = async () => ((await site.get(pathOf(id))) === undefined ? true : undefined);
    if (await gone()) return;
    await site.change("DELETE", pathOf(id), undefined, gone);
  },
};
