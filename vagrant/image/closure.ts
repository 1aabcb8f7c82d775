/**
 * Which folders of node_modules does the appliance need?
 *
 * Those that the lock file leads to from the dependencies that are not only infra's; one path a line, relative to the repository.
 * Folders that were not installed are optional packages of other platforms. A missing one that is needed is an error.
 */
import { existsSync, readFileSync } from "node:fs";

interface Locked {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/** What only the centre needs: Pulumi, and what its provider speaks. */
const central = (name: string): boolean => /^@pulumi\/|^@grpc\/|^google-protobuf$/.test(name);
/** Needed to compile add-ons, not to load them. */
const building = new Set(["prebuild-install", "nan", "node-addon-api", "@types/node"]);

export function closure(locked: Record<string, Locked>): string[] {
  const found = new Set<string>();
  const lookup = (from: string, name: string): string | undefined => {
    for (let at = from; ; ) {
      const path = `${at === "" ? "" : `${at}/`}node_modules/${name}`;
      if (locked[path]) return path;
      if (at === "") return undefined;
      const cut = at.lastIndexOf("node_modules/");
      at = cut <= 0 ? "" : at.slice(0, cut - 1);
    }
  };
  const follow = (from: string): void => {
    const { dependencies = {}, optionalDependencies = {} } = locked[from] ?? {};
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if ((from === "" && central(name)) || building.has(name)) continue;
      const path = lookup(from, name);
      if (path === undefined || found.has(path)) continue;
      if (!existsSync(path)) {
        if (name in optionalDependencies) continue;
        throw new Error(`${path} is missing: run bin/setup`);
      }
      found.add(path);
      follow(path);
    }
  };
  follow("");
  return [...found].sort();
}

const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, Locked> };
process.stdout.write(`${closure(packages).join("\n")}\n`);
