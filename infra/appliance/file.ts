/**
 * How does a file get to where it is needed, and is it the one that was meant?
 *
 * Images and packages are named with their SHA-256. They are copied and hashed in one go; what has another hash, or broke off,
 * never appears under the name that it should have had.
 */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, renameSync, rmSync } from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";

/** A file at this machine or elsewhere. */
export interface Source {
  /** At the machine that Pulumi runs on; one of path and url. */
  path?: string;
  /** `https://…` */
  url?: string;
  /** In hexadecimal: another file is refused. */
  sha256: string;
}

export interface SourceProblem {
  path: string;
  reason: string;
}

export function sourceProblems(source: unknown, at: string): SourceProblem[] {
  if (typeof source !== "object" || source === null) {
    return [{ path: at, reason: "is required: { path or url, sha256 }" }];
  }
  const { path, url, sha256, ...others } = source as Record<string, unknown>;
  const problems = Object.keys(others).map((name) => ({
    path: `${at}.${name}`,
    reason: "is not known; there are path, url, sha256",
  }));
  if ((path === undefined) === (url === undefined))
    problems.push({ path: at, reason: "must have one of path and url" });
  if (path !== undefined && (typeof path !== "string" || path === "")) {
    problems.push({ path: `${at}.path`, reason: "must be the path of a file" });
  }
  if (url !== undefined && !(typeof url === "string" && /^https?:/.test(url) && URL.canParse(url))) {
    problems.push({ path: `${at}.url`, reason: "must be an http or https URL" });
  }
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/i.test(sha256)) {
    const found = sha256 === undefined ? "is required" : "is none";
    problems.push({
      path: `${at}.sha256`,
      reason: `${found}: 64 hexadecimal digits, as in SHA256SUMS beside the file`,
    });
  }
  return problems;
}

async function open({ path, url }: Source): Promise<Readable> {
  if (path !== undefined) return createReadStream(path);
  const answer = await fetch(String(url));
  if (answer.status === 200 && answer.body) return Readable.fromWeb(answer.body as ReadableStream);
  await answer.body?.cancel();
  throw new Error(`${url} answered ${answer.status}`);
}

/** Copies it to `to`, which is there only if it is the one that was meant. @throws Error naming it and both hashes */
export async function fetchTo(source: Source, to: string): Promise<void> {
  const hash = createHash("sha256");
  const watched = new Transform({
    transform(chunk: Buffer, _, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  const half = `${to}.part`;
  try {
    await pipeline(await open(source), watched, createWriteStream(half, { mode: 0o600 }));
    const found = hash.digest("hex");
    if (found !== source.sha256.toLowerCase()) {
      throw new Error(`${source.path ?? source.url} has the SHA-256 ${found}, not ${source.sha256}`);
    }
    renameSync(half, to);
  } catch (error) {
    rmSync(half, { force: true });
    throw error;
  }
}

/** Its path, if it is the one that was meant. @throws Error naming it and both hashes */
export async function verified({ path, sha256 }: { path: string; sha256: string }): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  const found = hash.digest("hex");
  if (found === sha256.toLowerCase()) return path;
  throw new Error(`${path} has the SHA-256 ${found}, not ${sha256}`);
}
