/**
 * How are the tools of the machine run that Pulumi runs on?
 *
 * `qemu-img`, `virsh`, `ssh` and the like are what an operator would use; errors carry the tool's own words. Arguments never hold
 * secrets, because every user of a machine sees them: those go over standard input, or into files of mode 0600.
 */
import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";

export class CommandError extends Error {
  constructor(
    message: string,
    /** Exit code; undefined: it did not start, or was ended. */
    readonly code: number | undefined,
  ) {
    super(message);
  }
}

export interface CommandOptions {
  /** Standard input. */
  input?: string | { file: string };
  /** Milliseconds after which it is ended; default: ten minutes. */
  limit?: number;
}

/** The Debian package that a tool comes with, where its name says something else. */
const packages: Record<string, string> = {
  "qemu-img": "qemu-utils",
  "qemu-system-x86_64": "qemu-system-x86",
  virsh: "libvirt-clients",
  ssh: "openssh-client",
  ip: "iproute2",
};

/** Standard output. @throws CommandError with what the tool printed */
export function run(tool: string, words: readonly string[], options: CommandOptions = {}): Promise<string> {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: "C" };
  return new Promise((resolve, reject) => {
    const child = spawn(tool, words, { env, timeout: options.limit ?? 600_000 });
    let out = "";
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    child.on("error", (error: NodeJS.ErrnoException) => {
      const missing = `${tool} is not there: install the Debian package ${packages[tool] ?? tool}`;
      reject(new CommandError(error.code === "ENOENT" ? missing : `${tool}: ${error.message}`, undefined));
    });
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(out);
      const why = said.trim() || (signal ? `it was ended by ${signal}` : `it ended with ${code}`);
      reject(new CommandError(`${tool} ${words.slice(0, 3).join(" ")}: ${why}`, code ?? undefined));
    });
    // One that ends without reading is told by its exit code.
    child.stdin.on("error", () => undefined);
    const { input = "" } = options;
    if (typeof input === "string") child.stdin.end(input);
    else createReadStream(input.file).on("error", reject).pipe(child.stdin);
  });
}

/** False instead of an error: for what may be gone already. */
export async function attempt(tool: string, words: readonly string[], options?: CommandOptions): Promise<boolean> {
  try {
    await run(tool, words, options);
    return true;
  } catch {
    return false;
  }
}
