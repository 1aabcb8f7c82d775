/**
 * Where is the appliance's image? Built when what it is made from has changed, else taken from the cache.
 *
 * The cache is `${XDG_CACHE_HOME:-~/.cache}/offramp/appliance-<hash of sources>`; builds wait for each other, and the last three stay.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import { repository } from "../lab/appliance.ts";
import { must } from "../lab/netns.ts";

export interface ApplianceImage {
  folder: string;
  /** qcow2 that boots; never write to it: make an overlay. */
  disk: string;
  /** What `offramp-upgrade` takes. */
  upgrade: string;
  /** The .deb. */
  package: string;
  version: string;
  /** Of the disk, hexadecimal. */
  sha256: string;
}

const sources = [
  "bin",
  "dataplane",
  "controlplane",
  "mep",
  "vagrant/build",
  "vagrant/image",
  "package.json",
  "package-lock.json",
];
const kept = 3;

export const cacheFolder = (): string => join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "offramp");

function filesOf(path: string): string[] {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesOf(join(path, name)));
}

/** Of everything that the image is made from, by name and content. */
export function sourceHash(): string {
  const hash = createHash("sha256").update(process.version);
  for (const source of sources) {
    for (const file of filesOf(join(repository, source))) {
      hash
        .update(`${relative(repository, file)}\0${statSync(file).mode & 0o111 ? "x" : "-"}\0`)
        .update(readFileSync(file))
        .update("\0");
    }
  }
  return hash.digest("hex").slice(0, 16);
}

function describe(folder: string): ApplianceImage {
  const sums = readFileSync(join(folder, "SHA256SUMS"), "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(/ +/));
  const file = (pattern: RegExp): string =>
    join(folder, sums.find(([, name]) => pattern.test(name ?? ""))?.[1] ?? "missing");
  const deb = file(/\.deb$/);
  return {
    folder,
    disk: file(/\.qcow2$/),
    upgrade: file(/\.upgrade$/),
    package: deb,
    version: /_(.*)_/.exec(deb)?.[1] ?? "",
    sha256: sums.find(([, name]) => name?.endsWith(".qcow2"))?.[0] ?? "",
  };
}

/** @throws Error with what the build said */
export async function applianceImage(): Promise<ApplianceImage> {
  const cache = cacheFolder();
  mkdirSync(cache, { recursive: true });
  const name = `appliance-${sourceHash()}`;
  const folder = join(cache, name);
  if (!existsSync(join(folder, "SHA256SUMS"))) {
    const making = `${folder}.new`;
    const build = `[ -e '${folder}/SHA256SUMS' ] || { rm -rf '${making}' && '${join(repository, "vagrant/build")}' --out '${making}'; }`;
    await must(["flock", join(cache, ".appliance"), "sh", "-c", build], { timeoutMs: 1_200_000 });
    if (!existsSync(folder)) renameSync(making, folder);
  }
  utimesSync(folder, new Date(), new Date());
  const others = readdirSync(cache)
    .filter((one) => /^appliance-[0-9a-f]{16}$/.test(one))
    .sort((a, b) => statSync(join(cache, b)).mtimeMs - statSync(join(cache, a)).mtimeMs);
  for (const old of others.slice(kept)) rmSync(join(cache, old), { recursive: true, force: true });
  return describe(folder);
}
