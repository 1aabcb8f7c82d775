/**
 * An agent with the platform, on a data plane in memory: does it start?
 *
 * Usage: node --import tsx test/mep/agent-alone.ts <state directory> <section mep of site.yaml> [name server]
 * Prints `ready`, or `refused: ` and why. With the address of the name server also `answers`, when it does.
 */
import { Resolver } from "node:dns/promises";
import { start } from "../api/harness.ts";
import { until } from "../lab/netns.ts";

const [stateDir = "", mep = "{}", nameServer] = process.argv.slice(2);
try {
  const running = await start({ extra: `api: { listen: 127.0.0.1:0 }\nmep: ${mep}`, stateDir });
  console.log("ready");
  if (nameServer !== undefined) {
    const resolver = new Resolver({ timeout: 1000, tries: 1 });
    resolver.setServers([nameServer]);
    // It knows no names: any answer is one.
    const asked = () => resolver.resolve4("a.example").catch(({ code }) => code);
    await until("the name server to answer", async () => !/TIMEOUT|ECONNREFUSED/.test(await asked()), 120_000, 200);
    console.log("answers");
  }
  await running.stop();
} catch (error) {
  console.log(`refused: ${(error as Error).message}`);
  process.exitCode = 1;
}
