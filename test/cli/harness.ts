/**
 * How does a test run a verb? As a user does: in a process of its own, against the API of an agent in this one.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Running } from "../api/harness.ts";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** The built program where it is up to date, as after `npm test`'s set-up; else the sources, which start slower. */
function commandLine(): string[] {
  const built = join(root, "dist/.built");
  const folders = ["dataplane", "controlplane", "mep"].map((folder) => join(root, folder));
  const files = folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)),
  );
  const age = existsSync(built) ? statSync(built).mtimeMs : 0;
  if (files.every((file) => statSync(file).mtimeMs <= age)) return [join(root, "dist/mep/cli/main.js")];
  return ["--import", "tsx", join(root, "mep/cli/main.ts")];
}
export const program = commandLine();

export interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

export function offramp(
  args: string[],
  { input = "", env = {} }: { input?: string; env?: Record<string, string> } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...program, ...args], {
      cwd: root,
      env: { ...process.env, OFFRAMP_API: "http://127.0.0.1:1", ...env },
    });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("latin1").on("data", (chunk: string) => {
      out += chunk;
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      err += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out: Buffer.from(out, "latin1").toString("utf8"), err }));
    child.stdin.end(input);
  });
}

export const on = ({ url }: Running) => ({ env: { OFFRAMP_API: url } });

export async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "ofr-cli-"));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
