/**
 * Is this zip a good package, and what is in it?
 *
 *   directory of the zip ─▶ names, types, sizes ─▶ AppD and manifest ─▶ every file's hash ─▶ AppD judged
 *
 * Nothing is written: files are read in streams. Every reason why the package is refused is named. Names are plain relative
 * paths (no `..`, no root, no backslash, no control characters), files are files and directories (no links, no devices),
 * no name is there twice whatever the case, and a file unpacks to no more than it says (packages/limits.ts).
 */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { messageOf, Problem } from "../../controlplane/errors.ts";
import type { FieldError } from "../../controlplane/intents/model.ts";
import type { AppD, AppDDocument } from "../model/appd.ts";
import { parseAppD, readAppD } from "../model/read-appd.ts";
import { type PackageLimits, packageLimits } from "./limits.ts";
import { parseManifest } from "./manifest.ts";
import { checkSignature, type SigningKey, signatureFile } from "./signature.ts";

export interface PackedFile {
  path: string;
  /** Bytes, unpacked. */
  size: number;
  sha256: string;
}

export interface PackageContent {
  appd: AppD;
  document: AppDDocument;
  /** All files, in the order of their names. */
  files: PackedFile[];
  /** Name of the key that has signed it. */
  signedBy?: string;
}

export interface ReadOptions {
  limits?: PackageLimits;
  /** With keys, a package without a good signature of one of them is refused. */
  keys?: readonly SigningKey[];
}

const typeMask = 0o170000;
const regular = 0o100000;
const directory = 0o040000;

/** Why a name may not be in a package. */
export function nameRefusal(name: string): string | undefined {
  if (name.length > 1024) return "is longer than 1024 characters";
  if (/[\p{Cc}\p{Cs}]/u.test(name)) return "holds control characters";
  if (name.includes("\\")) return "holds a backslash";
  if (/^\//.test(name) || /^[A-Za-z]:/.test(name)) return "is not relative to the package";
  const parts = name.replace(/\/$/, "").split("/");
  if (parts.some((part) => part === "..")) return "leads out of the package";
  if (parts.some((part) => part === "" || part === ".")) return "has an empty part";
  if (parts.some((part) => Buffer.byteLength(part) > 255)) return "has a part of more than 255 bytes";
  if (parts.length > 32) return "is more than 32 directories deep";
  if (name !== name.normalize("NFC")) return "is not in Unicode normal form C";
  return undefined;
}

const shown = (name: string): string => JSON.stringify(name.slice(0, 120));

/** Why an entry may not be in a package, apart from its name. */
function entryRefusal(entry: Entry, limits: PackageLimits): string | undefined {
  const type = (entry.externalFileAttributes >>> 16) & typeMask;
  const isDirectory = entry.fileName.endsWith("/");
  if (type === 0o120000) return "is a symbolic link";
  if (type !== 0 && type !== (isDirectory ? directory : regular)) return "is neither a file nor a directory";
  if (entry.isEncrypted()) return "is encrypted";
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) {
    return `is compressed by method ${entry.compressionMethod}; 0 (stored) and 8 (deflate) are known`;
  }
  if (isDirectory && entry.uncompressedSize > 0) return "is a directory with content";
  if (entry.uncompressedSize > limits.ratioFrom && entry.uncompressedSize > entry.compressedSize * limits.ratio) {
    return `unpacks to more than ${limits.ratio} times its size`;
  }
  return undefined;
}

/** Names, types and sizes. Entries of files, by path. @throws Error when the zip cannot be read */
async function directoryOf(zip: ZipFile, limits: PackageLimits, problems: string[]): Promise<Map<string, Entry>> {
  const files = new Map<string, Entry>();
  const seen = new Map<string, string>();
  let unpacked = 0;
  if (zip.entryCount > limits.files) {
    problems.push(`it has ${zip.entryCount} entries; ${limits.files} are allowed`);
    return files;
  }
  for await (const entry of zip.eachEntry()) {
    const name = entry.fileName;
    const refusal = nameRefusal(name) ?? entryRefusal(entry, limits);
    if (refusal !== undefined) problems.push(`${shown(name)} ${refusal}`);
    const plain = name.replace(/\/$/, "").toLowerCase();
    if (seen.has(plain)) problems.push(`${shown(name)} is there twice (${shown(seen.get(plain) ?? "")})`);
    seen.set(plain, name);
    unpacked += entry.uncompressedSize;
    if (!name.endsWith("/")) files.set(name, entry);
    if (problems.length > 100) break;
  }
  for (const name of files.keys()) {
    const parts = name.split("/");
    for (let depth = 1; depth < parts.length; depth += 1) {
      const parent = parts.slice(0, depth).join("/");
      const other = seen.get(parent.toLowerCase());
      if (other !== undefined && !other.endsWith("/")) problems.push(`${shown(other)} is a file and a directory`);
    }
  }
  if (unpacked > limits.unpacked) {
    problems.push(`it unpacks to ${unpacked} bytes; ${limits.unpacked} are allowed`);
  }
  return files;
}

/** @throws Error when the content is not what the zip says */
export async function readEntry(zip: ZipFile, entry: Entry): Promise<Readable> {
  return (await zip.openReadStreamPromise(entry)) as Readable;
}

async function small(zip: ZipFile, entry: Entry, limits: PackageLimits): Promise<Buffer> {
  if (entry.uncompressedSize > limits.document) throw new Error(`is larger than ${limits.document} bytes`);
  const chunks: Buffer[] = [];
  for await (const chunk of await readEntry(zip, entry)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const utf8 = (bytes: Buffer): string => new TextDecoder("utf-8", { fatal: true }).decode(bytes);

async function digests(zip: ZipFile, entry: Entry): Promise<{ sha256: string; sha512: string }> {
  const [sha256, sha512] = [createHash("sha256"), createHash("sha512")];
  for await (const chunk of await readEntry(zip, entry)) {
    sha256.update(chunk as Buffer);
    sha512.update(chunk as Buffer);
  }
  return { sha256: sha256.digest("hex"), sha512: sha512.digest("hex") };
}

const isAppD = (path: string) => /^appd\.(json|ya?ml)$/i.test(path);
const isManifest = (path: string) => /^[^/]+\.mf$/i.test(path);

/** The only one of a kind; says what is wrong otherwise. */
function single(files: Map<string, Entry>, is: (path: string) => boolean, what: string, problems: string[]) {
  const found = [...files.keys()].filter(is);
  if (found.length === 0) problems.push(`it lacks ${what}`);
  if (found.length > 1) problems.push(`it has several of ${what}: ${found.map(shown).join(", ")}`);
  return found.length === 1 ? found[0] : undefined;
}

class Refused extends Error {}

async function judge(zip: ZipFile, { limits = packageLimits, keys = [] }: ReadOptions): Promise<PackageContent> {
  const problems: string[] = [];
  const errors: FieldError[] = [];
  const refuse = () => {
    if (problems.length === 0 && errors.length === 0) return;
    const named = problems.slice(0, 100).map((message) => ({ field: "", message }));
    throw new Problem(
      "invalid-package",
      [...problems, ...errors.map((one) => `${one.field}: ${one.message}`)].slice(0, 5).join("; "),
      {
        errors: [...named, ...errors],
      },
    );
  };
  const attempt = async <T>(what: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      problems.push(`${what}: ${messageOf(error)}`);
      return undefined;
    }
  };

  const entries = await directoryOf(zip, limits, problems);
  // Before anything is unpacked.
  refuse();
  const appdFile = single(entries, isAppD, "appd.json, appd.yaml or appd.yml", problems);
  const manifestFile = single(entries, isManifest, "a manifest, <name>.mf", problems);
  refuse();

  const manifestBytes = await attempt(manifestFile ?? "", () => small(zip, entries.get(manifestFile ?? "")!, limits));
  const manifestText = manifestBytes && (await attempt(manifestFile ?? "", async () => utf8(manifestBytes)));
  refuse();
  const { hashes } = parseManifest(manifestText ?? "", problems);
  const signature = entries.get(signatureFile(manifestFile ?? ""));
  const signed = signature && (await attempt("signature", () => small(zip, signature, limits)));
  const signedBy = checkSignature(keys, manifestBytes as Buffer, signed, problems);

  const files: PackedFile[] = [];
  const listed = [...entries.keys()].filter(
    (path) => path !== manifestFile && path !== signatureFile(manifestFile ?? ""),
  );
  for (const path of hashes.keys()) {
    if (!listed.includes(path)) problems.push(`${shown(path)} is in the manifest, but not in the package`);
  }
  for (const path of listed) {
    if (!hashes.has(path)) problems.push(`${shown(path)} is not in the manifest`);
  }
  refuse();
  for (const path of [...entries.keys()].sort()) {
    const entry = entries.get(path) as Entry;
    const found = await attempt(shown(path), () => digests(zip, entry));
    if (!found) continue;
    const wanted = hashes.get(path);
    if (wanted && wanted.hash !== found[wanted.algorithm]) {
      problems.push(`${shown(path)} is not what its hash in the manifest says`);
    }
    files.push({ path, size: entry.uncompressedSize, sha256: found.sha256 });
  }
  refuse();

  const text = await attempt(appdFile ?? "", async () => utf8(await small(zip, entries.get(appdFile ?? "")!, limits)));
  const parsed =
    text !== undefined && (await attempt(appdFile ?? "", async () => ({ value: parseAppD(text, appdFile ?? "") })));
  refuse();
  const read = readAppD(parsed ? parsed.value : undefined);
  if (!read.ok) errors.push(...read.errors);
  else checkReferences(read.appd, new Map(files.map((file) => [file.path, file])), errors);
  refuse();
  if (!read.ok) throw new Refused();
  return { appd: read.appd, document: read.document, files, ...(signedBy !== undefined && { signedBy }) };
}

/** What the AppD says of files in the package is there. */
function checkReferences(appd: AppD, files: Map<string, PackedFile>, errors: FieldError[]): void {
  for (const [index, { source }] of (appd["x-offramp"]?.runtime?.files ?? []).entries()) {
    if (!files.has(source)) {
      errors.push({
        field: `x-offramp.runtime.files.${index}.source`,
        message: `there is no file ${shown(source)} in the package`,
      });
    }
  }
  for (const [index, image] of (appd.swImageDescriptor ?? []).entries()) {
    const field = `swImageDescriptor.${index}`;
    const path = typeof image.swImage === "string" ? image.swImage.replace(/^\.?\//, "") : "";
    const file = files.get(path);
    if (appd["x-offramp"]?.runtime?.kind === "container" && !file) {
      errors.push({ field: `${field}.swImage`, message: "must be the path of an OCI archive in the package" });
    }
    if (!file) continue;
    const { checksum, size } = image;
    if (checksum && /^sha-?256$/i.test(checksum.algorithm) && checksum.hash.toLowerCase() !== file.sha256) {
      errors.push({ field: `${field}.checksum.hash`, message: `is not that of ${shown(path)}` });
    }
    if (size !== undefined && size !== file.size) {
      errors.push({ field: `${field}.size`, message: `is not that of ${shown(path)}, ${file.size}` });
    }
  }
}

/**
 * What a package holds.
 * @throws Problem invalid-package with every reason
 */
export async function readPackage(path: string, options: ReadOptions = {}): Promise<PackageContent> {
  let zip: ZipFile;
  try {
    zip = await openPromise(path, { autoClose: false, strictFileNames: true, decodeStrings: true });
  } catch (error) {
    throw new Problem("invalid-package", `it is not a zip: ${messageOf(error)}`);
  }
  try {
    return await judge(zip, options);
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem("invalid-package", `it cannot be read: ${messageOf(error)}`);
  } finally {
    zip.close();
  }
}

/** The content of one file of a package that was found good. Ends the zip with the stream. Undefined: there is no such file. */
export async function openFile(path: string, file: string): Promise<{ stream: Readable; size: number } | undefined> {
  const zip = await openPromise(path, { autoClose: false, strictFileNames: true });
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName !== file || file.endsWith("/")) continue;
      const stream = await readEntry(zip, entry);
      stream.once("close", () => zip.close());
      return { stream, size: entry.uncompressedSize };
    }
  } catch (error) {
    zip.close();
    throw error;
  }
  zip.close();
  return undefined;
}
