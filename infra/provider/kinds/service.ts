/**
 * `TofService`: a service of the TOF Service API, in either of its forms.
 *
 * Its id is its name. What fields mean and which values they take is judged by the appliance, which names every wrong one; here
 * it is only seen that one of the two forms is meant.
 */
import { type CheckFailure, type Kind, type Properties, unknownProperties } from "../kind.ts";
import { named } from "./named.ts";

const firstForm = ["serviceIP", "applicationIP"];
const known = ["name", ...firstForm, "appInitiated", "rules", "chain", "mirror", "rate", "health"];

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

export const service: Kind = {
  ...named("/service"),
  type: "TofService",

  check(inputs, name) {
    const filled = { name, ...inputs };
    return { inputs: filled, failures: failuresOf(filled) };
  },
};
