/**
 * How does a site come back from its backup?
 *
 *   file ─unsealed─▶ zip ─▶ <stateDir>.restoring, each file against its hash ─▶ stores opened as a start would
 *        ─▶ files that site.yaml names, and site.yaml, where there are none ─▶ renamed to <stateDir>
 *
 * The rename is the moment at which it is restored: before it there is no state, or an empty directory; after it all of it. What
 * a killed restore has left is begun anew.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  cpSync,
  createReadStream,
  createWriteStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import Database from "better-sqlite3";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { loadSite, parseSite } from "../config/load.ts";
import { messageOf } from "../errors.ts";
import { Store } from "../store/store.ts";
import { isStore, type Manifest, manifestName, manifestOctets, readManifest } from "./manifest.ts";
import { isSealed, unseal } from "./seal.ts";

export interface RestoreOptions {
  backup: string;
  /** site.yaml: where there is one, it says where the state goes; else that of the backup is put there. */
  config: string;
  passphrase?: string | undefined;
  /** Opens what is built on top, in this directory, as a start would. @throws Error */
  check?: (stateDir: string) => void | Promise<void>;
}

export interface Restored {
  site: string;
  stateDir: string;
  time: string;
  offramp: string;
  files: number;
  /** Paths outside the state directory that were written, */
  written: string[];
  /** and those that were there, with other content, and stay. */
  left: string[];
  /** What has to be done before it can start. */
  todo: string[];
}

function flush(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** The zip itself; a sealed one is unsealed beside where it goes. @throws Error */
async function opened(path: string, passphrase: string | undefined, scratch: string): Promise<ZipFile> {
  const head = Buffer.alloc(16);
  const file = openSync(path, "r");
  try {
    readSync(file, head);
  } finally {
    closeSync(file);
  }
  const options = { strictFileNames: true, validateEntrySizes: true, autoClose: false };
  if (!isSealed(head)) return openPromise(path, options);
  if (passphrase === undefined) throw new Error("it is sealed: give its passphrase");
  const plain = join(scratch, "plain");
  await pipeline(unseal(createReadStream(path), passphrase), createWriteStream(plain, { mode: 0o600 }));
  const zip = await openPromise(plain, options);
  // It is read on, and is nowhere any more.
  rmSync(plain);
  return zip;
}

async function entriesOf(zip: ZipFile): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  for await (const entry of zip.eachEntry()) {
    if (entries.has(entry.fileName)) throw new Error(`${entry.fileName} is in it twice`);
    entries.set(entry.fileName, entry);
  }
  return entries;
}

/** @throws Error when it is not what the manifest says */
async function extract(
  zip: ZipFile,
  entry: Entry,
  to: string,
  wanted: { size: number; sha256: string },
): Promise<void> {
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
  const hash = createHash("sha256");
  let size = 0;
  const bounded = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      size += chunk.length;
      hash.update(chunk);
      next(size > wanted.size ? new Error("is longer than its manifest says") : null, chunk);
    },
  });
  await pipeline(await zip.openReadStreamPromise(entry), bounded, createWriteStream(to, { mode: 0o600 }));
  if (size !== wanted.size || hash.digest("hex") !== wanted.sha256) throw new Error("is not what its manifest says");
  flush(to);
}

async function readText(zip: ZipFile, entry: Entry): Promise<string> {
  if (entry.uncompressedSize > manifestOctets) throw new Error(`${manifestName} is too large`);
  const chunks: Buffer[] = [];
  for await (const chunk of await zip.openReadStreamPromise(entry)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** All of it below `scratch`, and every store opened. @throws Error */
async function unpack(zip: ZipFile, scratch: string, check: RestoreOptions["check"]): Promise<Manifest> {
  const entries = await entriesOf(zip);
  const last = entries.get(manifestName);
  if (!last) throw new Error(`it has no ${manifestName}: it is no backup, or not all of it`);
  const manifest = readManifest(await readText(zip, last));
  for (const wanted of manifest.files) {
    const entry = entries.get(wanted.name);
    if (!entry) throw new Error(`${wanted.name} is missing`);
    await extract(zip, entry, join(scratch, wanted.name), wanted).catch((error: unknown) => {
      throw new Error(`${wanted.name} ${messageOf(error)}`);
    });
  }
  const state = join(scratch, "state");
  mkdirSync(state, { recursive: true, mode: 0o750 });
  for (const name of readdirSync(state).filter(isStore)) {
    const store = new Database(join(state, name));
    try {
      const said = store.pragma("quick_check", { simple: true });
      if (said !== "ok") throw new Error(`state/${name}: ${String(said)}`);
    } finally {
      store.close();
    }
  }
  // Refuses what a newer release has written, and carries what an older one has written forward.
  new Store(state).close();
  await check?.(state);
  return manifest;
}

/** @throws Error that says why, and nothing was restored */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { backup, config, passphrase, check } = options;
  const there = existsSync(config) ? loadSite(config).stateDir : undefined;
  const scratch = `${there ?? dirname(config)}${there ? "" : "/site"}.restoring`;
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  try {
    const zip = await opened(backup, passphrase, scratch);
    try {
      const manifest = await unpack(zip, scratch, check);
      return place(manifest, scratch, options, there);
    } finally {
      zip.close();
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Puts a file where there is none. Returns whether it is there now with this content. */
function put(path: string, bytes: Buffer, mode: number): "written" | "left" | "same" {
  if (existsSync(path)) return readFileSync(path).equals(bytes) ? "same" : "left";
  mkdirSync(dirname(path), { recursive: true });
  const half = `${path}.new`;
  writeFileSync(half, bytes, { mode: 0o600, flush: true } as never);
  chmodSync(half, mode);
  renameSync(half, path);
  return "written";
}

/** In one step, also from another file system. */
function moveWhole(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    const beside = `${to}.restoring`;
    rmSync(beside, { recursive: true, force: true });
    cpSync(from, beside, { recursive: true });
    renameSync(beside, to);
  }
}

function place(manifest: Manifest, scratch: string, { config }: RestoreOptions, there: string | undefined): Restored {
  const text = readFileSync(join(scratch, "site.yaml"));
  const { site, time, offramp, files, named } = manifest;
  const result: Restored = { site, stateDir: "", time, offramp, files: files.length, written: [], left: [], todo: [] };
  let stateDir = there;
  if (stateDir === undefined) {
    stateDir = /^ {2}stateDir: (.*)$/m.exec(text.toString())?.[1]?.replace(/^"(.*)"$/, "$1") ?? "";
    try {
      stateDir = parseSite(text.toString()).stateDir;
    } catch (error) {
      result.todo.push(`${config} cannot be used as it is: ${messageOf(error)}`);
    }
  }
  if (!stateDir.startsWith("/")) throw new Error("site.yaml of the backup does not say where the state goes");
  if (existsSync(stateDir) && readdirSync(stateDir).length > 0) {
    throw new Error(`${stateDir} is not empty: a backup is restored into an empty directory`);
  }
  for (const { name, path, mode } of named) note(put(path, readFileSync(join(scratch, name)), mode), path);
  note(put(config, text, 0o600), config);
  function note(done: ReturnType<typeof put>, path: string) {
    if (done === "written") result.written.push(path);
    else if (done === "left") result.left.push(path);
  }
  chmodSync(join(scratch, "state"), 0o750);
  mkdirSync(dirname(stateDir), { recursive: true });
  try {
    moveWhole(join(scratch, "state"), stateDir);
  } catch (error) {
    throw new Error(`${stateDir} cannot be put in place: ${messageOf(error)}`, { cause: error });
  }
  flush(dirname(stateDir));
  return { ...result, stateDir };
}
