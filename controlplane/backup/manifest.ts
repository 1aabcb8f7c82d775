/**
 * What is in a backup?
 *
 *   site.yaml            as it is in force; its token only in a sealed one
 *   state/…              from the state directory: stores, packages, records of instances; Mp1's key only in a sealed one
 *   named/<n>            files that site.yaml names, certificates and keys: only in a sealed one
 *   manifest.json        the last entry: what, by whom, with the SHA-256 of each
 */
import { posix } from "node:path";
import Type, { type Static } from "typebox";
import { Value } from "typebox/value";

export const manifestName = "manifest.json";
export const format = 1;
/** More no manifest has. */
export const manifestOctets = 16 << 20;

const closed = { additionalProperties: false };
const entry = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 1024 }),
    size: Type.Integer({ minimum: 0 }),
    sha256: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  },
  closed,
);
const schema = Type.Object(
  {
    format: Type.Integer(),
    /** Of the release that wrote it. */
    offramp: Type.String(),
    site: Type.String(),
    time: Type.String(),
    sealed: Type.Boolean(),
    files: Type.Array(entry, { maxItems: 100_000 }),
    /** Where files that site.yaml names were. */
    named: Type.Array(Type.Object({ name: Type.String(), path: Type.String(), mode: Type.Integer() }, closed)),
  },
  closed,
);

export type Manifest = Static<typeof schema>;
export type BackupEntry = Static<typeof entry>;

/** In the state directory: relative paths that belong into a backup. */
const stores = /^(offramp|mep|audit)\.sqlite$/;
const content = /^packages\/[A-Za-z0-9-]{1,64}\/content\.zip$/;
const records = /^apps\/instances\.json$/;
const secret = /^mp1\/[A-Za-z0-9._-]{1,64}$/;

export const isStore = (path: string): boolean => stores.test(path);
export const isContent = (path: string): boolean => content.test(path) || records.test(path);
export const isSecret = (path: string): boolean => secret.test(path);

const belongs = (name: string): boolean => {
  if (posix.normalize(name) !== name) return false;
  if (name === "site.yaml" || /^named\/\d{1,3}$/.test(name)) return true;
  const path = name.startsWith("state/") ? name.slice("state/".length) : "";
  return isStore(path) || isContent(path) || isSecret(path);
};

/** @throws Error that says what is wrong with it */
export function readManifest(text: string): Manifest {
  const value: unknown = JSON.parse(text);
  const found = (value as { format?: unknown } | null)?.format;
  if (found !== format) throw new Error(`its format is ${String(found)}, this release knows ${format}`);
  const wrong = Value.Errors(schema, value)[0];
  if (wrong) throw new Error(`${manifestName}: ${wrong.instancePath || "/"} ${wrong.message}`);
  const manifest = value as Manifest;
  const strange = manifest.files.find(({ name }) => !belongs(name));
  if (strange) throw new Error(`${manifestName}: ${strange.name.slice(0, 80)} belongs into no backup`);
  if (new Set(manifest.files.map(({ name }) => name)).size < manifest.files.length) {
    throw new Error(`${manifestName}: a file is in it twice`);
  }
  return manifest;
}
