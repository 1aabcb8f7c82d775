/**
 * `ApplianceKeys`: token and certificate of an appliance that others make the VM of.
 *
 * Where Pulumi's own resources make the server, as with OpenStack, its seed has to be there before it. Made once and kept
 * in the stack, as secrets; another name is another certificate.
 */
import { fingerprintOf, makeCertificate, makeToken, nameIn } from "../../appliance/keys.ts";
import { hostnameProblems } from "../../appliance/user-data.ts";
import { type Kind, unknownProperties, unknownValue } from "../kind.ts";

const known = ["hostname"];

export const applianceKeys: Kind = {
  type: "ApplianceKeys",
  makesSite: true,
  fixed: known,
  kept: ["token", "certificate", "privateKey", "serverName", "fingerprint"],

  check(inputs, name) {
    const filled = { hostname: name, ...inputs };
    const failures = unknownProperties(inputs, known, `keys have ${known.join(", ")}`);
    const problems = filled.hostname === unknownValue ? [] : hostnameProblems(filled.hostname);
    return {
      inputs: filled,
      failures: [...failures, ...problems.map(({ path, reason }) => ({ property: path, reason }))],
    };
  },

  async create(_, { hostname }) {
    const { cert, key } = await makeCertificate(String(hostname));
    const serverName = nameIn(cert);
    const made = { certificate: cert, privateKey: key, serverName, fingerprint: fingerprintOf(cert) };
    return { id: String(hostname), outputs: { ...made, token: makeToken() } };
  },

  /** They are nowhere but in the stack. */
  async read(_, _id, had, state) {
    return state.token === undefined ? undefined : { inputs: had };
  },

  async update() {
    return {};
  },

  async remove() {},
};
