/**
 * The platform's rules on a data plane in memory, in a process that kills itself at one step of a change, as `kill -9` would.
 *
 * Usage: node --import tsx test/mep/rules/mortal.ts <state directory> <step> <n>     dies at the n-th time of that step, from 1
 *
 * Steps: {apply,save,give}.{before,after}: the data plane's, the rules' store, the store of numbers. Each PUT that was answered
 * is a line on stdout.
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { Store } from "../../../controlplane/store/store.ts";
import { RuleStore } from "../../../mep/rules/rule-store.ts";
import { MemoryDataplane } from "../../api/memory-dataplane.ts";
import { Fate, Mortal } from "../../mortal.ts";
import { platform } from "./harness.ts";
import { changes, descriptors } from "./mortal-changes.ts";

const [stateDir = "", fatal = "", times = "1"] = process.argv.slice(2);
const fate = new Fate(join(stateDir, "fate"));
const mortal = new Mortal(fate.file);
mortal.watch(MemoryDataplane.prototype, "apply");
mortal.watch(RuleStore.prototype, "save");
mortal.watch(Store.prototype, "giveLayer", "give");

const one = await platform({ stateDir });
await one.add("a1", descriptors);
fate.at(fatal, Number(times));
for (const [index, change] of changes.entries()) {
  const { status } = await one.ask("a1", "PUT", `/traffic_rules/${change.trafficRuleId}`, change);
  writeSync(1, `${index} ${status}\n`);
}
process.exit(0);
