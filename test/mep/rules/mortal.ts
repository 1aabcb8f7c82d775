/**
 * The platform's rules on a data plane in memory, in a process that kills itself at one step of a change, as `kill -9` would.
 *
 * Usage: node --import tsx test/mep/rules/mortal.ts <state directory> <step> <n>     dies at the n-th time of that step, from 1
 *
 * Steps: {apply,save,give}.{before,after}: the data plane's, the rules' store, the store of numbers. Each PUT that was answered
 * is a line on stdout.
 */
import { writeSync } from "node:fs";
import { Store } from "../../../controlplane/store/store.ts";
import { RuleStore } from "../../../mep/rules/rule-store.ts";
import { MemoryDataplane } from "../../api/memory-dataplane.ts";
import { platform } from "./harness.ts";
import { changes, descriptors } from "./mortal-changes.ts";

const [stateDir = "", fatal = "", times = "1"] = process.argv.slice(2);
const seen = new Map<string, number>();
let armed = false;

function step(name: string): void {
  if (!armed) return;
  const count = (seen.get(name) ?? 0) + 1;
  seen.set(name, count);
  if (name === fatal && count === Number(times)) process.kill(process.pid, "SIGKILL");
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

function watch(prototype: object, method: string, name: string): void {
  const methods = prototype as Record<string, Method>;
  const original = methods[method] as Method;
  methods[method] = function (...args) {
    step(`${name}.before`);
    const result = original.apply(this, args);
    if (!(result instanceof Promise)) {
      step(`${name}.after`);
      return result;
    }
    return result.then((value: unknown) => {
      step(`${name}.after`);
      return value;
    });
  };
}

watch(MemoryDataplane.prototype, "apply", "apply");
watch(RuleStore.prototype, "save", "save");
watch(Store.prototype, "giveLayer", "give");

const one = await platform({ stateDir });
await one.add("a1", descriptors);
armed = true;
for (const [index, change] of changes.entries()) {
  const { status } = await one.ask("a1", "PUT", `/traffic_rules/${change.trafficRuleId}`, change);
  writeSync(1, `${index} ${status}\n`);
}
process.exit(0);
