/**
 * The agent on a data plane in memory, in a process of its own, which at one step kills itself, as `kill -9` would.
 *
 * Usage: node --import tsx test/access/mortal.ts <stateDir> <file of its fate>     prints where it listens
 *
 * Steps: {attemptTogether,outcome,add}.{before,after}: of the audit log, and of the users.
 */
import pino from "pino";
import { Audit } from "../../controlplane/access/audit.ts";
import { Users } from "../../controlplane/access/users.ts";
import { Agent } from "../../controlplane/agent.ts";
import { parseSite } from "../../controlplane/config/load.ts";
import { siteText } from "../api/harness.ts";
import { MemoryDataplane } from "../api/memory-dataplane.ts";
import { Mortal } from "../mortal.ts";

const [stateDir = "", fate = ""] = process.argv.slice(2);
const mortal = new Mortal(fate);
for (const name of ["attemptTogether", "outcome"]) mortal.watch(Audit.prototype, name);
mortal.watch(Users.prototype, "add");
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
