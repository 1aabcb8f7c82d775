/**
 * `offramp app pack|check|vnfd`: what needs no agent.
 */
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { stringify } from "yaml";
import { CliError } from "../../controlplane/cli/client.ts";
import { print, type Show } from "../../controlplane/cli/output.ts";
import { messageOf, Problem } from "../../controlplane/errors.ts";
import { appdToVnfd, kindOf, vnfdToAppd } from "../vnfd/convert.ts";
import { contentLines, conversionNotes } from "./app-views.ts";

// What reads packages is only loaded when it is asked for: other verbs should not wait for it.
const archive = () => import("../packages/archive.ts");
const descriptors = () => import("../model/read-appd.ts");

/** What is wrong with a package, line by line; exit code 2. */
async function judged<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw new CliError(`${file}: ${messageOf(error)}`, 2);
    const errors = error.extras.errors ?? [];
    const lines = errors.map(({ field, message }) => `  ${field ? `${field}: ` : ""}${message}`);
    const reasons = lines.length > 0 ? `\n${lines.join("\n")}` : ` ${error.detail}`;
    throw new CliError(`${file} is not a good package:${reasons}`, 2, error.document());
  }
}

function privateKey(file: string) {
  try {
    const key = createPrivateKey(readFileSync(file));
    if (key.asymmetricKeyType !== "ed25519") throw new Error("is not an Ed25519 key");
    return key;
  } catch (error) {
    throw new CliError(`${file}: ${messageOf(error)}`, 2);
  }
}

export function packVerb(command: Command): void {
  command
    .argument("<folder>", "its appd.yaml or appd.json, and all other files")
    .requiredOption("-o, --output <file>", "the package")
    .option("--key <file>", "sign it: an Ed25519 private key, PEM")
    .description("make a package of a folder: a zip with a manifest of hashes")
    .action(async (folder: string, { output, key, ...options }: Show & { output: string; key?: string }) => {
      const signer = key === undefined ? {} : { key: privateKey(key) };
      const { pack } = await import("../packages/pack.ts");
      const content = await judged(folder, () => pack(folder, output, signer));
      print(content, () => contentLines(output, content), options);
    });
}

export function checkVerb(command: Command): void {
  command
    .argument("<package>", "a zip")
    .option("--key <base64>", "it must be signed by this Ed25519 public key")
    .description("say everything that is wrong with a package")
    .action(async (file: string, { key, ...options }: Show & { key?: string }) => {
      const { signingKey } = await import("../packages/signature.ts");
      const { readPackage } = await archive();
      const keys = key === undefined ? [] : await judged("--key", async () => [signingKey("--key", key)]);
      const content = await judged(file, () => readPackage(file, { keys }));
      print(content, () => contentLines(file, content), options);
    });
}

export function vnfdVerb(command: Command): void {
  command
    .argument("<file>", "an AppD or a VNFD, YAML or JSON; - is standard input")
    .description("make a VNFD of an AppD, or an AppD of a VNFD, and name what cannot be carried")
    .action(async (file: string, options: Show) => {
      const { parseAppD } = await descriptors();
      const value = await judged(file, async () => parseAppD(readFileSync(file === "-" ? 0 : file, "utf8"), file));
      const kind = kindOf(value);
      if (!kind) throw new CliError(`${file}: has neither appDId nor vnfdId: it is no AppD and no VNFD`, 2);
      const converted = kind === "appd" ? appdToVnfd(value as object as never) : vnfdToAppd(value as object as never);
      if (!options.json) for (const note of conversionNotes(converted)) process.stderr.write(`${note}\n`);
      print(converted, () => [stringify(converted.result).trimEnd()], options);
    });
}
