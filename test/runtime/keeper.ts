/**
 * Which runtime can be killed?
 *
 * A process with a runtime in it: `keeper.ts <state directory> <specs as JSON>` starts the instances, says `started`, and waits
 * for its end. With `half` as third argument it says `starting` and is to be killed before the start is over.
 */
import { HostRuntime } from "../../mep/runtime/host-runtime.ts";
import type { InstanceSpec } from "../../mep/runtime/runtime.ts";
import { configOf } from "./host.ts";

const [, , stateDir = "", specs = "[]", half] = process.argv;
const runtime = new HostRuntime(configOf(stateDir));
await runtime.open();
if (half) console.log("starting");
for (const spec of JSON.parse(specs) as InstanceSpec[]) await runtime.start(spec);
console.log("started");
setInterval(() => undefined, 1000);
