/**
 * Which app packages does the site have (GS MEC 010-2 §5.2, §6.2.3)?
 *
 *   create ─▶ CREATED ─upload─▶ (UPLOADING ─▶ PROCESSING) ─▶ ONBOARDED, ENABLED ⇄ DISABLED ─▶ removed
 *                 ▲ refused, or killed on the way │
 *                 └───────────────────────────────┘
 *
 * The zip is in `<stateDir>/packages/<id>/content.zip`, what is known of it in mep.sqlite. An upload is written to a file of
 * another name, judged whole, made durable and renamed; only then does the database say that it is there. Whatever the database
 * does not know is removed at the next start.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Problem, type ProblemDocument } from "../../controlplane/errors.ts";
import type { AppD, AppDDocument } from "../model/appd.ts";
import type { CreateAppPkg } from "../model/pkgm.ts";
import { readAppD } from "../model/read-appd.ts";
import type { MepStore } from "../store.ts";
import { openFile, type PackedFile, readPackage } from "./archive.ts";
import { type PackageLimits, packageLimits } from "./limits.ts";
import type { SigningKey } from "./signature.ts";

/** What is known of an uploaded package. */
export interface Content {
  appd: AppD;
  document: AppDDocument;
  files: PackedFile[];
  /** Of the zip, hexadecimal. */
  sha256: string;
  /** Bytes of the zip. */
  size: number;
  signedBy?: string;
}

export interface AppPackage {
  id: string;
  onboardingState: "CREATED" | "UPLOADING" | "PROCESSING" | "ONBOARDED";
  operationalState: "ENABLED" | "DISABLED";
  request: CreateAppPkg;
  content?: Content;
  /** Why the last upload was refused. */
  failure?: ProblemDocument;
}

export type PackageEvent = "onboarded" | "enabled" | "disabled" | "deleted";

export interface PackagesOptions {
  store: Pick<MepStore, "database" | "transaction">;
  /** `<stateDir>/packages` */
  folder: string;
  limits?: PackageLimits;
  keys?: readonly SigningKey[];
  /** Whether instances of the package exist. */
  inUse(id: string): boolean;
}

interface Row {
  id: string;
  operational: AppPackage["operationalState"];
  request: string;
  content: string | null;
}

type StoredContent = Omit<Content, "appd">;

/** On disk, whatever happens. */
async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export class Packages {
  readonly #options: PackagesOptions;
  readonly #limits: PackageLimits;
  readonly #all = new Map<string, AppPackage>();
  readonly #listeners = new Set<(event: PackageEvent, one: AppPackage) => void>();
  readonly #unpacking = new Map<string, Promise<string>>();

  constructor(options: PackagesOptions) {
    this.#options = options;
    this.#limits = options.limits ?? packageLimits;
  }

  /** Reads what there is, and clears away what an upload or a removal left half-done. */
  start(): void {
    const { store, folder } = this.#options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const rows = store.database.prepare("SELECT id, operational, request, content FROM package ORDER BY rowid").all();
    for (const { id, operational, request, content } of rows as Row[]) {
      this.#all.set(id, {
        id,
        onboardingState: content === null ? "CREATED" : "ONBOARDED",
        operationalState: operational,
        request: JSON.parse(request) as CreateAppPkg,
        ...(content !== null && { content: this.#restore(JSON.parse(content) as StoredContent) }),
      });
    }
    for (const name of readdirSync(folder)) {
      const known = this.#all.get(name);
      if (known?.content === undefined) rmSync(join(folder, name), { recursive: true, force: true });
      else rmSync(join(folder, name, "upload.part"), { force: true });
    }
  }

  #restore(stored: StoredContent): Content {
    const read = readAppD(stored.document);
    if (!read.ok) {
      const [first] = read.errors;
      throw new Error(
        `the store has an AppD that this release does not take: ${stored.document.appDId}: ${first?.field}: ${first?.message}`,
      );
    }
    return { ...stored, appd: read.appd };
  }

  list(): AppPackage[] {
    return [...this.#all.values()];
  }

  /** By its id, or by the appDId of its AppD. @throws Problem not-found */
  get(name: string): AppPackage {
    const found = this.#all.get(name) ?? this.list().find((one) => one.content?.appd.appDId === name);
    if (!found) throw new Problem("not-found", `there is no app package "${name.slice(0, 128)}"`);
    return found;
  }

  /** One that is onboarded. @throws Problem not-found, conflict */
  onboarded(name: string): AppPackage & { content: Content } {
    const found = this.get(name);
    if (!found.content) throw new Problem("conflict", "the package has no content yet: upload it");
    return found as AppPackage & { content: Content };
  }

  /** @throws Problem limit-reached */
  create(request: CreateAppPkg): AppPackage {
    if (this.#all.size >= this.#limits.packages) {
      throw new Problem("limit-reached", `there are ${this.#all.size} packages already: delete some`);
    }
    const created: AppPackage = {
      id: randomUUID(),
      onboardingState: "CREATED",
      operationalState: "DISABLED",
      request,
    };
    this.#options.store.database
      .prepare("INSERT INTO package (id, app_d_id, operational, request, content) VALUES (?, NULL, ?, ?, NULL)")
      .run(created.id, created.operationalState, JSON.stringify(request));
    this.#all.set(created.id, created);
    return created;
  }

  #path(id: string, name: string): string {
    return join(this.#options.folder, id, name);
  }

  /**
   * Takes the content of a package: all of it is good and durable when this resolves, or nothing is kept.
   * @throws Problem invalid-package with every reason, conflict, body-too-large
   */
  async upload(name: string, body: Readable): Promise<AppPackage> {
    const found = this.get(name);
    if (found.onboardingState !== "CREATED") {
      body.resume();
      const why = found.content ? "has its content already: a changed one is another package" : "is being uploaded";
      throw new Problem("conflict", `the package ${why}`);
    }
    const part = this.#path(found.id, "upload.part");
    try {
      found.onboardingState = "UPLOADING";
      delete found.failure;
      mkdirSync(dirname(part), { recursive: true, mode: 0o700 });
      const received = await this.#receive(body, part);
      found.onboardingState = "PROCESSING";
      const content = await this.#judge(found, part, received);
      await this.#keep(found, part, content);
      found.onboardingState = "ONBOARDED";
      found.operationalState = "ENABLED";
      found.content = content;
    } catch (error) {
      rmSync(this.#path(found.id, ""), { recursive: true, force: true });
      found.onboardingState = "CREATED";
      if (error instanceof Problem) found.failure = error.document();
      throw error;
    }
    this.#emit("onboarded", found);
    return found;
  }

  async #receive(body: Readable, part: string): Promise<{ sha256: string; size: number }> {
    const hash = createHash("sha256");
    let size = 0;
    const most = this.#limits.content;
    const count = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        size += chunk.length;
        if (size > most) return done(new Problem("body-too-large", `a package may have ${most} bytes`));
        hash.update(chunk);
        done(null, chunk);
      },
    });
    try {
      await pipeline(body, count, createWriteStream(part, { mode: 0o600 }));
    } catch (error) {
      if (error instanceof Problem) throw error;
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC" || code === "EDQUOT") throw new Problem("store-failed", "there is no room for the package");
      throw new Problem("invalid-body", "the upload was broken off", {}, { cause: error });
    }
    return { sha256: hash.digest("hex"), size };
  }

  async #judge(found: AppPackage, part: string, received: { sha256: string; size: number }): Promise<Content> {
    const { checksum, appProvider } = found.request;
    if (checksum && /^sha-?256$/i.test(checksum.algorithm) && checksum.hash.toLowerCase() !== received.sha256) {
      throw new Problem("invalid-package", `it is not what its checksum says: its SHA-256 is ${received.sha256}`);
    }
    const { keys } = this.#options;
    const read = await readPackage(part, { limits: this.#limits, ...(keys && { keys }) });
    const { appDId } = read.appd;
    if (appProvider !== undefined && appProvider !== read.appd.appProvider) {
      throw new Problem("invalid-package", `its provider is "${read.appd.appProvider}", not "${appProvider}"`);
    }
    this.#checkFree(appDId);
    return { ...read, ...received };
  }

  #checkFree(appDId: string): void {
    const other = this.list().find(({ id, content }) => content?.appd.appDId === appDId || id === appDId);
    if (other) throw new Problem("name-taken", `there is a package with appDId "${appDId}" already: ${other.id}`);
  }

  async #keep(found: AppPackage, part: string, content: Content): Promise<void> {
    const { store, folder } = this.#options;
    const final = this.#path(found.id, "content.zip");
    await sync(part);
    renameSync(part, final);
    await sync(dirname(final));
    await sync(folder);
    // Another upload may have ended meanwhile.
    this.#checkFree(content.appd.appDId);
    const { appd, ...stored } = content;
    store.database
      .prepare("UPDATE package SET app_d_id = ?, operational = 'ENABLED', content = ? WHERE id = ?")
      .run(appd.appDId, JSON.stringify(stored satisfies StoredContent), found.id);
  }

  /** Disabled, no new instances are made of it. @throws Problem conflict */
  setState(name: string, state: AppPackage["operationalState"]): AppPackage {
    const found = this.onboarded(name);
    if (found.operationalState === state) return found;
    this.#options.store.database.prepare("UPDATE package SET operational = ? WHERE id = ?").run(state, found.id);
    found.operationalState = state;
    this.#emit(state === "ENABLED" ? "enabled" : "disabled", found);
    return found;
  }

  /** @throws Problem conflict while it is enabled, used or being uploaded */
  remove(name: string): AppPackage {
    const found = this.get(name);
    if (found.onboardingState === "UPLOADING" || found.onboardingState === "PROCESSING") {
      throw new Problem("conflict", "the package is being uploaded");
    }
    if (found.content && found.operationalState === "ENABLED") {
      throw new Problem("conflict", "the package is enabled: disable it first");
    }
    if (this.#options.inUse(found.id)) {
      throw new Problem("conflict", "there are instances of the package: delete them first");
    }
    this.#options.store.database.prepare("DELETE FROM package WHERE id = ?").run(found.id);
    this.#all.delete(found.id);
    rmSync(this.#path(found.id, ""), { recursive: true, force: true });
    if (found.content) this.#emit("deleted", found);
    return found;
  }

  inUse(id: string): boolean {
    return this.#options.inUse(id);
  }

  /** The zip, or with `range` (first and last octet, inclusive) a part of it. */
  read(one: AppPackage, range?: { start: number; end: number }): Readable {
    return createReadStream(this.#path(one.id, "content.zip"), range);
  }

  /** One file of the package. @throws Problem not-found */
  async file(one: AppPackage, path: string): Promise<{ stream: Readable; size: number }> {
    const known = one.content?.files.some((file) => file.path === path);
    const found = known ? await openFile(this.#path(one.id, "content.zip"), path) : undefined;
    if (!found) throw new Problem("not-found", `there is no file "${path.slice(0, 128)}" in the package`);
    return found;
  }

  /** Where a file of the package is on disk, read-only; unpacked when it is first asked for. @throws Problem not-found */
  unpacked(one: AppPackage, path: string): Promise<string> {
    const known = one.content?.files.find((file) => file.path === path);
    if (!known) throw new Problem("not-found", `there is no file "${path.slice(0, 128)}" in the package`);
    // Named by its content: no path of the package becomes a path here.
    const target = this.#path(one.id, `files/${known.sha256}`);
    let running = this.#unpacking.get(target);
    if (!running) {
      running = this.#unpack(one, known, target).finally(() => this.#unpacking.delete(target));
      this.#unpacking.set(target, running);
    }
    return running;
  }

  async #unpack(one: AppPackage, file: PackedFile, target: string): Promise<string> {
    if (existsSync(target) && statSync(target).size === file.size) return target;
    mkdirSync(dirname(target), { recursive: true, mode: 0o711 });
    const { stream } = await this.file(one, file.path);
    const part = `${target}.part`;
    const hash = createHash("sha256");
    const check = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        done(null, chunk);
      },
    });
    await pipeline(stream, check, createWriteStream(part, { mode: 0o444 }));
    if (hash.digest("hex") !== file.sha256) {
      rmSync(part, { force: true });
      throw new Error(`${file.path} of package ${one.id} has changed on disk`);
    }
    renameSync(part, target);
    return target;
  }

  /** Returns how to stop. */
  on(listener: (event: PackageEvent, one: AppPackage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #emit(event: PackageEvent, one: AppPackage): void {
    for (const listener of this.#listeners) listener(event, one);
  }
}
