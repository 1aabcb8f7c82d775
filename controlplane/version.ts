/** Which release is this? package.json says; it lies beside the sources and beside dist/. */
import { readFileSync } from "node:fs";

function find(): string {
  for (const up of ["../package.json", "../../package.json"]) {
    try {
      const found = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8")) as {
        name?: string;
        version?: string;
      };
      if (found.name === "offramp") return found.version ?? "unknown";
    } catch {
      // not at this distance
    }
  }
  return "unknown";
}

export const version = find();
