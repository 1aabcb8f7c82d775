/**
 * How does an appliance take its seed in, once and whole?
 *
 *   read ─▶ judge ─▶ [refused: nothing changes] ─▶ files, each by rename ─▶ `instance`: what was taken in
 *
 * `instance` is written last and is what counts: a start in between finds none that fits, and does it all again. A seed with an
 * instance-id that was taken in before changes nothing, also when its words have changed: the configuration is the operator's from
 * then on. Another instance-id is another appliance on the same disk: it is taken in like the first.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { parse } from "yaml";
import { bridgeName } from "../../dataplane/ebpf/netdev.ts";
import { seedFiles, wires } from "./files.ts";
import { readUserData } from "./user-data.ts";

/** `kept`: the same instance-id was taken in before; `changed`: its words were others then. */
export interface Outcome {
  did: "applied" | "kept";
  instance: string;
  changed?: boolean;
}

interface Instance {
  id: string;
  sha256: string;
}

/** Durable before it is seen under its name. */
export function writeDurably(path: string, text: string, mode: number): void {
  const next = `${path}.new`;
  rmSync(next, { force: true });
  const file = openSync(next, "wx", 0o600);
  try {
    fchmodSync(file, mode); // whatever the umask is: sshd reads keys as the user who comes
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(next, path);
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

const textOf = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

/** From NoCloud's `meta-data` or OpenStack's `meta_data.json`; YAML reads both. Without one the words themselves are the id. */
function instanceId(folder: string, sha256: string): string {
  for (const [name, member] of [
    ["meta-data", "instance-id"],
    ["meta_data.json", "uuid"],
  ] as const) {
    const text = textOf(join(folder, name));
    const value: unknown = text === undefined ? undefined : (parse(text) as Record<string, unknown> | null)?.[member];
    if (value !== undefined && value !== null) return String(value);
  }
  return sha256;
}

/**
 * @param folder holds `user-data`, and `meta-data` or `meta_data.json` if there is any
 * @param to /etc/offramp and /var/lib/offramp
 * @throws ConfigurationError with everything that is wrong; nothing has changed then
 */
export function takeIn(folder: string, to: { etc: string; state: string }): Outcome {
  const text = readFileSync(join(folder, "user-data"), "utf8");
  const sha256 = createHash("sha256").update(text).digest("hex");
  const id = instanceId(folder, sha256);
  const record = join(to.etc, "instance");
  const before = JSON.parse(textOf(record) ?? "null") as Instance | null;
  if (before?.id === id) return { did: "kept", instance: id, changed: before.sha256 !== sha256 };

  const seed = readUserData(text);
  mkdirSync(to.etc, { recursive: true });
  mkdirSync(to.state, { recursive: true, mode: 0o700 });
  rmSync(record, { force: true });
  const wire = wires(seed, bridgeName);
  if (wire !== undefined) writeDurably(join(to.state, "wire"), wire, 0o644);
  for (const { name, mode, text } of seedFiles(seed)) {
    if (text === undefined) rmSync(join(to.etc, name), { force: true });
    else writeDurably(join(to.etc, name), text, mode);
  }
  writeDurably(record, `${JSON.stringify({ id, sha256 } satisfies Instance)}\n`, 0o644);
  return { did: "applied", instance: id };
}
