/**
 * Where the guard's own process starts: `node guard-main <site.yaml>`, what `offramp guard --config <site.yaml>` does.
 *
 * A file of its own because the command's entry lies above the control plane, which may not know it.
 */
import { guard } from "./guard.ts";

await guard({ config: process.argv[2] ?? "" });
