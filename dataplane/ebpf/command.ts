/**
 * How are the system's own tools run?
 *
 * `ip`, `ethtool` and /proc/sys are what an operator would use; errors carry the tool's own words. Everything acts in the
 * network namespace that this process runs in.
 */
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { DataplaneError } from "../dataplane.ts";

const execute = promisify(execFile);
const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: "C" };

/** Standard output. @throws DataplaneError with what the tool printed. */
export async function run(tool: string, ...words: string[]): Promise<string> {
  try {
    return (await execute(tool, words, { env, maxBuffer: 64 << 20, encoding: "utf8" })).stdout;
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new DataplaneError(`${tool} ${words.join(" ")}: ${(stderr || message).trim()}`, tool);
  }
}

/** The words of `line` as arguments of `ip`. */
export const ip = (line: string): Promise<string> => run("ip", ...line.split(" "));

/** False instead of an error: for what may be there already, or gone already. */
export async function tryIp(line: string): Promise<boolean> {
  try {
    await ip(line);
    return true;
  } catch {
    return false;
  }
}

export async function ipJson<T>(line: string): Promise<T> {
  const text = await ip(`-j ${line}`);
  return JSON.parse(text.trim() || "[]") as T;
}

/** `net.ipv4.conf.x.forwarding` with `/` instead of dots, because adapter names may hold dots. */
export function readSysctl(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** False when there is no such setting. */
export function writeSysctl(path: string, value: string): boolean {
  try {
    writeFileSync(`/proc/sys/${path}`, value);
    return true;
  } catch {
    return false;
  }
}
