/**
 * The agent on a data plane in memory, in a process of its own, which at one step kills itself, as `kill -9` would.
 *
 * Usage: node --import tsx test/access/mortal.ts <stateDir> <step> <n>     dies at the n-th time of that step, from 1
 *
 * Steps: {attempt,outcome,add}.{before,after}: of the audit log, and of the users. Prints where it listens.
 */
import pino from "pino";
import { Audit } from "../../controlplane/access/audit.ts";
import { Users } from "../../controlplane/access/users.ts";
import { Agent } from "../../controlplane/agent.ts";
import { parseSite } from "../../controlplane/config/load.ts";
import { siteText } from "../api/harness.ts";
import { MemoryDataplane } from "../api/memory-dataplane.ts";

const [stateDir = "", fatal = "", times = "1"] = process.argv.slice(2);
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

for (const name of ["attempt", "outcome"]) watch(Audit.prototype, name);
watch(Users.prototype, "add");
const agent = new Agent({
  config: parseSite(siteText(stateDir)),
  backend: (backend) => {
    const dataplane = new MemoryDataplane(backend);
    return { dataplane, capture: dataplane.slow };
  },
  log: pino({ level: "silent" }),
});
await agent.start();
process.stdout.write(`${agent.address()}\n`);
