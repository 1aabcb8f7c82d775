/**
 * Is that something that can be run, and what does its end mean?
 *
 * All faults at once. What it names on the appliance comes from a package that was checked when it came in; what is checked here is
 * what podman would otherwise take for an option, or for another place. Pure.
 */
import { constants } from "node:os";
import { posix } from "node:path";
import type { InstanceSpec } from "./runtime.ts";

const longest = 32 << 10;
const reserved = ["/proc", "/sys", "/dev", "/run/offramp", "/usr", "/etc/resolv.conf"];

const isWithin = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);
const isPlain = (path: string): boolean =>
  posix.isAbsolute(path) &&
  posix.normalize(path) === path &&
  path !== "/" &&
  !/[:,\0\n]/.test(path) &&
  !path.endsWith("/");

function* faults(spec: InstanceSpec, exists: (path: string) => boolean): Generator<string> {
  const { kind, image, command, environment, files, limits } = spec;
  if (!/^[\x21-\x7e]{1,128}$/.test(spec.id)) yield "id: 1 to 128 printable characters without blanks";
  if (kind === "container") {
    if (!image) yield "image: a container needs the archive of its image and its digest";
    else if (!/^sha256:[0-9a-f]{64}$/.test(image.digest))
      yield "image.digest: must be sha256: and 64 hexadecimal digits";
    if (image && (!isPlain(image.archive) || !exists(image.archive)))
      yield `image.archive: there is no file ${image.archive}`;
  } else {
    const [program = ""] = command;
    if (image) yield "image: a unit has none, it is a program of the appliance";
    if (!isPlain(program) || !["/usr", "/bin", "/sbin"].some((place) => isWithin(program, place))) {
      yield `command[0]: ${JSON.stringify(program)} must be a program's path below /usr`;
    } else if (!exists(program)) yield `command[0]: the appliance has no ${program}`;
  }
  if (command.join("").length > longest) yield `command: longer than ${longest} characters`;
  for (const [index, word] of command.entries()) if (word.includes("\0")) yield `command[${index}]: holds a zero`;
  for (const [name, value] of Object.entries(environment)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name))
      yield `environment: ${JSON.stringify(name)} is no name of a variable`;
    else if (typeof value !== "string" || value.includes("\0") || value.length > longest) {
      yield `environment.${name}: must be text without zeros, of at most ${longest} characters`;
    }
  }
  const targets = new Set<string>();
  for (const [index, { source, target }] of files.entries()) {
    const where = `files[${index}]`;
    if (!isPlain(source) || !exists(source)) yield `${where}.source: there is no file ${JSON.stringify(source)}`;
    if (!isPlain(target))
      yield `${where}.target: ${JSON.stringify(target)} must be an absolute path without . and .. and colons`;
    else if (reserved.some((place) => isWithin(target, place))) yield `${where}.target: ${target} is the platform's`;
    if (targets.has(target)) yield `${where}.target: ${target} is there twice`;
    targets.add(target);
  }
  if (!(limits.cpu >= 0.01 && limits.cpu <= 1024)) yield "limits.cpu: 0.01 to 1024 cores";
  // runc itself needs some, before the program is there.
  if (!(Number.isInteger(limits.memory) && limits.memory >= 8 << 20))
    yield "limits.memory: at least 8388608 octets (8 MiB)";
  if (!(Number.isInteger(limits.pids) && limits.pids >= 1 && limits.pids <= 32_768)) yield "limits.pids: 1 to 32768";
}

/** Why it cannot be run; empty: nothing is against it. `exists`: whether the appliance has a file. */
export const faultsOf = (spec: InstanceSpec, exists: (path: string) => boolean): string[] => [...faults(spec, exists)];

/** `limit`: the memory that it had, where it wanted more. */
export function exitReason(code: number, limit: number | undefined): string {
  if (code > 128) {
    const name = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
    if (name === "SIGKILL" && limit !== undefined) return `killed at its memory limit of ${limit / (1 << 20)} MiB`;
    return `killed by ${name ?? `signal ${code - 128}`}`;
  }
  return `ended with code ${code}`;
}
