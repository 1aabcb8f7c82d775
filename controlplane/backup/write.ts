/**
 * How is a site backed up while it works?
 *
 *   packages linked ─▶ stores copied, each as of one moment (SQLite's online backup) ─▶ packages linked that have come since
 *                   ─▶ zip, streamed ─▶ sealed with the passphrase, where there is one
 *
 * The links keep what is deleted meanwhile, so that a store never names content that the backup has not. Copies lie in a folder of
 * the state directory that goes away with the stream.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Readable, Transform } from "node:stream";
import Database from "better-sqlite3";
import { stringify } from "yaml";
import { ZipFile } from "yazl";
import type { SiteFile } from "../config/schema.ts";
import { shown } from "../site/document.ts";
import { version } from "../version.ts";
import { format, isContent, isSecret, isStore, type Manifest, manifestName } from "./manifest.ts";
import { seal } from "./seal.ts";

const folderPrefix = ".backup-";

export interface BackupOptions {
  stateDir: string;
  /** As it is in force. */
  file: SiteFile;
  /** Absent: without certificates, keys and token, and not sealed. */
  passphrase?: string;
}

/** Files below, relative. */
function filesBelow(folder: string, below = ""): string[] {
  if (!existsSync(join(folder, below))) return [];
  return readdirSync(join(folder, below), { withFileTypes: true }).flatMap((one) => {
    const path = below === "" ? one.name : `${below}/${one.name}`;
    return one.isDirectory() ? filesBelow(folder, path) : one.isFile() ? [path] : [];
  });
}

function link(stateDir: string, copies: string): void {
  for (const path of ["packages", "apps"].flatMap((folder) => filesBelow(stateDir, folder)).filter(isContent)) {
    const to = join(copies, path);
    if (existsSync(to)) continue;
    mkdirSync(dirname(to), { recursive: true });
    linkSync(join(stateDir, path), to);
  }
}

async function copyStores(stateDir: string, copies: string): Promise<void> {
  for (const name of readdirSync(stateDir).filter(isStore)) {
    const store = new Database(join(stateDir, name), { readonly: true, timeout: 2000 });
    try {
      await store.backup(join(copies, name));
    } finally {
      store.close();
    }
    // One file: what a copy brings along is in it.
    const copy = new Database(join(copies, name));
    copy.pragma("journal_mode = DELETE");
    copy.close();
  }
}

/** Paths that site.yaml names. */
function namedBy({ api, mep }: SiteFile): string[] {
  const paths = [
    ...Object.values(api?.tls ?? {}),
    api?.tokenFile,
    ...Object.values(mep?.mp1?.tls ?? {}),
    mep?.notifications?.ca,
  ];
  return [...new Set(paths.filter((path) => path !== undefined))].filter(existsSync);
}

/** Copies that a backup left which was killed. */
export function clearCopies(stateDir: string): void {
  for (const name of readdirSync(stateDir)) {
    if (name.startsWith(folderPrefix)) rmSync(join(stateDir, name), { recursive: true, force: true });
  }
}

/**
 * The whole of it, as it is read. @throws Error when the state cannot be copied; an error of the stream is one of a file, and what
 * came before it is worth nothing
 */
export async function backup({ stateDir, file, passphrase }: BackupOptions): Promise<Readable> {
  const copies = mkdtempSync(join(stateDir, folderPrefix));
  const clear = () => rmSync(copies, { recursive: true, force: true });
  try {
    link(stateDir, copies);
    await copyStores(stateDir, copies);
    link(stateDir, copies);
    const zip = zipOf(copies, { stateDir, file, ...(passphrase !== undefined && { passphrase }) });
    const stream = passphrase === undefined ? zip : Readable.from(seal(zip, passphrase), { objectMode: false });
    stream.once("close", clear);
    return stream;
  } catch (error) {
    clear();
    throw error;
  }
}

function zipOf(copies: string, { stateDir, file, passphrase }: BackupOptions): Readable {
  const sealed = passphrase !== undefined;
  const named = sealed
    ? namedBy(file).map((path, at) => ({ name: `named/${at}`, path, mode: statSync(path).mode & 0o777 }))
    : [];
  const secrets = sealed ? filesBelow(stateDir, "mp1").filter(isSecret) : [];
  const sources = [
    ...filesBelow(copies).map((path) => ({ name: `state/${path}`, path: join(copies, path) })),
    ...secrets.map((path) => ({ name: `state/${path}`, path: join(stateDir, path) })),
    ...named,
  ];
  const zip = new ZipFile();
  const out = zip.outputStream as unknown as Readable;
  const files: Manifest["files"] = [];
  const add = (name: string, open: () => Readable) =>
    zip.addReadStreamLazy(name, { compress: !name.endsWith(".zip") }, (done) => {
      const hash = createHash("sha256");
      let size = 0;
      const counted = new Transform({
        transform(chunk: Buffer, _encoding, next) {
          hash.update(chunk);
          size += chunk.length;
          next(null, chunk);
        },
        flush(next) {
          files.push({ name, size, sha256: hash.digest("hex") });
          next();
        },
      });
      const source = open();
      source.once("error", (error) => out.destroy(error));
      done(null, source.pipe(counted));
    });
  zip.on("error", (error: Error) => out.destroy(error));
  const text = stringify(sealed ? file : shown(file), { lineWidth: 0 });
  add("site.yaml", () => Readable.from([Buffer.from(text)]));
  for (const { name, path } of sources) add(name, () => createReadStream(path));
  zip.addReadStreamLazy(manifestName, {}, (done) => {
    const site = file.site.name;
    const manifest: Manifest = { format, offramp: version, site, time: new Date().toISOString(), sealed, files, named };
    done(null, Readable.from([Buffer.from(JSON.stringify(manifest, null, 1))]));
  });
  zip.end();
  return out;
}
