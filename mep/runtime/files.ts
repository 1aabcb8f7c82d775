/**
 * What does the platform lay beside an instance, for it to read?
 *
 * Its name server, by what to check the platform's certificate, and its credentials. podman binds these files into it.
 */
import { chownSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { InstanceSpec } from "./runtime.ts";

interface Beside {
  spec: InstanceSpec;
  /** User of the instance on the appliance. */
  user: number;
  /** PEM. */
  ca: string | undefined;
  /** Address. */
  resolver: string | undefined;
}

/** Replaces what was there. */
export function writeFiles(directory: string, { spec, user, ca, resolver }: Beside): void {
  rmSync(join(directory, "pid"), { force: true });
  writeFileSync(join(directory, "resolv.conf"), resolver ? `nameserver ${resolver}\n` : "", { mode: 0o644 });
  if (ca !== undefined) writeFileSync(join(directory, "ca.pem"), ca, { mode: 0o644 });
  const file = join(directory, "credentials.json");
  rmSync(file, { force: true });
  if (!spec.credentials) return;
  // Whatever user an image has reads it there; here its directory keeps everybody out.
  writeFileSync(file, JSON.stringify(spec.credentials), { mode: spec.kind === "unit" ? 0o400 : 0o444 });
  if (spec.kind === "unit") chownSync(file, user, user);
}
