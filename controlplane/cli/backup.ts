/**
 * `offramp backup FILE` and `offramp restore FILE`: all that a site remembers, as one file.
 *
 * A backup is made by the running agent; what is not all of it is never there under its name. It is restored where no agent runs.
 */
import { createWriteStream, existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { type Restored, restore } from "../backup/restore.ts";
import { ConfigurationError } from "../config/load.ts";
import { messageOf } from "../errors.ts";
import { CliError, Client, type ClientOptions } from "./client.ts";
import { number, plural, print, type Show } from "./output.ts";

const passphraseOption = ["--passphrase-file <file>", "its first line seals the file; - is standard input"] as const;

/** @throws CliError */
function passphraseIn(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    const line = readFileSync(file === "-" ? 0 : file, "utf8").split(/\r?\n/, 1)[0] ?? "";
    if (line === "") throw new Error("its first line is empty");
    return line;
  } catch (error) {
    throw new CliError(`${file}: ${messageOf(error)}`, 2);
  }
}

export function backupVerb(command: Command): void {
  command
    .argument("<file>", "where it goes; it must not be there yet")
    .description("all that the site remembers, as one file, while it works")
    .option(...passphraseOption)
    .action(
      async (file: string, { passphraseFile, ...options }: ClientOptions & Show & { passphraseFile?: string }) => {
        if (existsSync(file)) throw new CliError(`${file} is there already: choose another name`, 2);
        const passphrase = passphraseIn(passphraseFile);
        const headers: Record<string, string> =
          passphrase === undefined ? {} : { "offramp-passphrase": encodeURIComponent(passphrase) };
        const response = await new Client(options).request("GET", "/api/v1/backup", undefined, undefined, headers);
        const part = `${file}.part`;
        try {
          if (!response.body) throw new Error("nothing came");
          await pipeline(Readable.fromWeb(response.body as never), createWriteStream(part, { mode: 0o600 }));
          renameSync(part, file);
        } catch (error) {
          rmSync(part, { force: true });
          throw new CliError(`not all of it came, and ${file} is not there: ${messageOf(error)}`);
        }
        const { size } = statSync(file);
        const done = { file, octets: size, sealed: passphrase !== undefined };
        const without = "without certificates, keys and token: --passphrase-file takes them along";
        print(done, () => [`${file}: ${number(size)} octets, ${done.sealed ? "sealed" : without}`], options);
      },
    );
}

function restoredLines({ site, stateDir, time, offramp, files, written, left, todo }: Restored): string[] {
  return [
    `${stateDir}: site ${site} as it was at ${time} (offramp ${offramp}), ${plural(files, "file")}`,
    ...written.map((path) => `${path}: restored`),
    ...left.map((path) => `${path}: was there, and stays`),
    ...todo,
  ];
}

export function restoreVerb(command: Command, check?: (stateDir: string) => Promise<void>): void {
  command
    .argument("<file>", "a backup")
    .description("a site from its backup, where no agent runs and the state directory is empty; all of it or nothing")
    .requiredOption(
      "-c, --config <file>",
      "site.yaml: where it is there it says where the state goes; else that of the backup is put there",
    )
    .option(...passphraseOption)
    .option("--json", "print JSON")
    .action(
      async (
        file: string,
        { config, passphraseFile, ...options }: Show & { config: string; passphraseFile?: string },
      ) => {
        const passphrase = passphraseIn(passphraseFile);
        try {
          print(await restore({ backup: file, config, passphrase, ...(check && { check }) }), restoredLines, options);
        } catch (error) {
          if (error instanceof ConfigurationError) throw error;
          throw new CliError(`nothing is restored: ${file}: ${messageOf(error)}`);
        }
      },
    );
}
