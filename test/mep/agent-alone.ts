/**
 * An agent with the platform, on a data plane in memory: does it start?
 *
 * Usage: node --import tsx test/mep/agent-alone.ts <state directory> <section mep of site.yaml>
 * Prints `ready`, or `refused: ` and why.
 */
import { start } from "../api/harness.ts";

const [stateDir = "", mep = "{}"] = process.argv.slice(2);
try {
  const running = await start({ extra: `api: { listen: 127.0.0.1:0 }\nmep: ${mep}`, stateDir });
  console.log("ready");
  await running.stop();
} catch (error) {
  console.log(`refused: ${(error as Error).message}`);
  process.exitCode = 1;
}
