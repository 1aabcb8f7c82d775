/**
 * The agent as `offramp run` starts it, but for one thing: at one step of a change it kills itself, as `kill -9` would.
 *
 * Usage: node dist/test/changes/mortal.js <site.yaml> <file of its fate>
 *
 * Steps: {arm,apply,commit,disarm}.{before,after}, where `apply` is the data plane's and the others are the store's.
 */
import { run } from "../../controlplane/cli/run.ts";
import { Store } from "../../controlplane/store/store.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { Mortal } from "../mortal.ts";

const [config = "", fate = ""] = process.argv.slice(2);
const mortal = new Mortal(fate);
for (const name of ["arm", "commit", "disarm"]) mortal.watch(Store.prototype, name);
mortal.watch(EbpfDataplane.prototype, "apply");
await run({ config, logLevel: "info" });
