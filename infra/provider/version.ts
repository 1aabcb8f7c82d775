/** Which release is this? package.json says, whether this runs from the sources or from dist/. */
import { createRequire } from "node:module";

export const version = (createRequire(import.meta.url)("#package") as { version: string }).version;
