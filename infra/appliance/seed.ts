/**
 * How does a VM get its seed?
 *
 * As a small CD image with the label `cidata` (NoCloud): `meta-data`, `user-data`. Written by genisoimage, for which names of
 * files in lower case with hyphens are nothing new. It holds secrets: mode 0600, in a folder of its own.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";

export interface Seed {
  metaData: string;
  userData: string;
}

/** @throws CommandError where genisoimage is missing */
export async function writeSeed(path: string, { metaData, userData }: Seed): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "offramp-seed-"));
  const files = { "meta-data": metaData, "user-data": userData };
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 });
    writeFileSync(path, "", { mode: 0o600 });
    const names = Object.keys(files).map((name) => join(folder, name));
    await run("genisoimage", ["-quiet", "-output", path, "-volid", "cidata", "-joliet", "-rock", ...names]);
    chmodSync(path, 0o600);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
