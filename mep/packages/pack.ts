/**
 * How does a folder become a package?
 *
 * All its files go into a zip, with a manifest of their hashes (manifest.ts), written last and first in the zip. The same
 * files make the same zip. The package is then read back as the platform would read it, so that what is packed is good.
 */
import { createHash, type KeyObject, sign } from "node:crypto";
import { type EventEmitter, once } from "node:events";
import { createReadStream, createWriteStream, lstatSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { ZipFile } from "yazl";
import { parseAppD } from "../model/read-appd.ts";
import { nameRefusal, type PackageContent, readPackage } from "./archive.ts";
import { formatManifest } from "./manifest.ts";
import { signatureFile } from "./signature.ts";

/** Dates in the zip: the earliest that a zip can say, whatever the zone. */
const date = new Date(1980, 0, 1);
const mode = 0o100644;

export interface PackOptions {
  /** Ed25519 private key: the manifest is signed. */
  key?: KeyObject;
}

/** Files of a folder, relative, in order. @throws Error that names what cannot be packed */
function filesOf(folder: string, below = ""): string[] {
  return readdirSync(join(folder, below))
    .sort()
    .flatMap((name) => {
      const path = below === "" ? name : `${below}/${name}`;
      const found = lstatSync(join(folder, path));
      if (found.isDirectory()) return filesOf(folder, path);
      const refusal = found.isFile() ? nameRefusal(path) : "is neither a file nor a directory";
      if (refusal !== undefined) throw new Error(`${path} ${refusal}`);
      return [path];
    });
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/**
 * Writes the package.
 * @throws Problem invalid-package when the platform would refuse it, Error when a file cannot be read or written
 */
export async function pack(folder: string, output: string, { key }: PackOptions = {}): Promise<PackageContent> {
  const found = filesOf(folder).filter((path) => resolve(folder, path) !== resolve(output));
  const old = found.filter((path) => /^[^/]+\.mf(\.sig)?$/i.test(path));
  const files = found.filter((path) => !old.includes(path));
  const hashes = new Map<string, string>();
  for (const path of files) hashes.set(path, await hashOf(join(folder, path)));

  const appdFile = files.find((path) => /^appd\.(json|ya?ml)$/i.test(path));
  let appd: Record<string, unknown> = {};
  if (appdFile !== undefined)
    appd = (parseAppD(readFileSync(join(folder, appdFile), "utf8"), appdFile) ?? {}) as typeof appd;
  const metadata = {
    app_product_name: textOf(appd.appName) || basename(resolve(folder)),
    app_provider_id: textOf(appd.appProvider),
    app_package_version: textOf(appd.appSoftVersion),
  };
  const manifest = Buffer.from(formatManifest(metadata, hashes));
  const name = "package.mf";

  const zip = new ZipFile();
  const options = { mtime: date, mode, forceDosTimestamp: true };
  zip.addBuffer(manifest, name, options);
  if (key)
    zip.addBuffer(Buffer.from(`${sign(null, manifest, key).toString("base64")}\n`), signatureFile(name), options);
  // What is packed already (an OCI archive of compressed layers) is only stored.
  for (const path of files)
    zip.addFile(join(folder, ...path.split("/")), path, { ...options, compress: !/\.(tar|tgz|gz|zst)$/.test(path) });
  zip.end();
  const part = `${output}.${process.pid}.part`;
  try {
    const failed = once(zip as EventEmitter, "error").then(([error]) => Promise.reject(error));
    await Promise.race([pipeline(zip.outputStream, createWriteStream(part)), failed]);
    const content = await readPackage(part);
    renameSync(part, output);
    return content;
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}
