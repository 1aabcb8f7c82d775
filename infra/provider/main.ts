/**
 * The provider's process: the engine starts it, reads its port from the first line, and ends it.
 */
import { kinds } from "./kinds.ts";
import { serve } from "./server.ts";
import { version } from "./version.ts";

const { port } = await serve({ kinds, version });
process.stdout.write(`${port}\n`);
