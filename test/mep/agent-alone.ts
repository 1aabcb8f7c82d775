/**
 * An agent with the platform, on a data plane in memory: does it start?
 *
 * Usage: node --import tsx test/mep/agent-alone.ts <state directory> <section mep of site.yaml> [name server | whole]
 * Prints `ready`, with what it is without, or `refused: ` and why. With the address of the name server also `answers`, when it
 * does; with `whole` also `whole`, when it is without nothing any more.
 */
import { Resolver } from "node:dns/promises";
import { start } from "../api/harness.ts";
import { until } from "../lab/netns.ts";

const [stateDir = "", mep = "{}", next] = process.argv.slice(2);
const nameServer = next === "whole" ? undefined : next;
try {
  const running = await start({ extra: `api: { listen: 127.0.0.1:0 }\nmep: ${mep}`, stateDir });
  const without = async (): Promise<string[]> => (await running.call("GET", "/readyz")).body.without ?? [];
  const lost = await without();
  console.log(["ready", ...(lost.length > 0 ? ["without", ...lost] : [])].join(" "));
  const metrics = String((await running.call("GET", "/metrics")).body);
  for (const one of lost)
    if (!metrics.includes(`offramp_missing{member="${one}"} 1`)) console.log(`no metric of ${one}`);
  if (next === "whole") {
    await until("nothing is missing", async () => (await without()).length === 0, 120_000, 200);
    console.log("whole");
  }
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
