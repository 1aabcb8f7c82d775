/**
 * The agent as `offramp run` starts it, but for one thing: at one step of a change it kills itself, as `kill -9` would.
 *
 * Usage: node --import tsx test/changes/mortal.ts <site.yaml> <step> <n>     dies at the n-th time of that step, from 1
 *
 * Steps: {arm,apply,commit,disarm}.{before,after}, where `apply` is the data plane's and the others are the store's.
 */
import { run } from "../../controlplane/cli/run.ts";
import { Store } from "../../controlplane/store/store.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";

const [config = "", fatal = "", times = "1"] = process.argv.slice(2);
const seen = new Map<string, number>();

function step(name: string): void {
  const count = (seen.get(name) ?? 0) + 1;
  seen.set(name, count);
  if (name === fatal && count === Number(times)) process.kill(process.pid, "SIGKILL");
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

function watch(prototype: object, name: string): void {
  const methods = prototype as Record<string, Method>;
  const method = methods[name] as Method;
  methods[name] = function (...args) {
    step(`${name}.before`);
    const result = method.apply(this, args);
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

for (const name of ["arm", "commit", "disarm"]) watch(Store.prototype, name);
watch(EbpfDataplane.prototype, "apply");
await run({ config, logLevel: "info" });
