/**
 * The agent as `offramp run` starts it, but for one thing: at one step of a change of site.yaml it kills itself, as `kill -9` would.
 *
 * Usage: node --import tsx test/site/mortal.ts <site.yaml> <file of its fate>
 *
 * Steps: {write,settle,reload,ready}.{before,after}, where `write` is each file's and `ready` is when the agent has come up.
 */
import { run } from "../../controlplane/cli/run.ts";
import { Dataplanes } from "../../controlplane/dataplanes/dataplanes.ts";
import { SiteChanges } from "../../controlplane/site/changes.ts";
import { SiteYaml } from "../../controlplane/site/file.ts";
import { Mortal } from "../mortal.ts";

const [config = "", fate = ""] = process.argv.slice(2);
const mortal = new Mortal(fate);
mortal.watch(SiteYaml.prototype, "write");
mortal.watch(SiteYaml.prototype, "settle");
mortal.watch(Dataplanes.prototype, "reload");
mortal.watch(SiteChanges.prototype, "started", "ready");
await run({ config, logLevel: "info" });
