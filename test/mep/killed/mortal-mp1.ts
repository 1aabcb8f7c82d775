/**
 * Mp1 in a process of its own, which a test may kill; instances app0 to app9, whose names are their tokens.
 *
 * Usage: node --import tsx test/mep/killed/mortal-mp1.ts <state directory>     prints the port when it is ready
 */
import type { AddressInfo } from "node:net";
import { startMp1 } from "../enablement.ts";
import { makeInstance } from "../fixtures.ts";

const [stateDir = ""] = process.argv.slice(2);
const mp1 = await startMp1({ stateDir });
for (let n = 0; n < 10; n += 1) mp1.instances.set(`app${n}`, makeInstance(`app${n}`));
await mp1.server.app.listen({ host: "127.0.0.1", port: 0 });
process.stdout.write(`${(mp1.server.app.server.address() as AddressInfo).port}\n`);
