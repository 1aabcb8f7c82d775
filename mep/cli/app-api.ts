/**
 * How do the verbs of `offramp app` talk to the management API?
 *
 * Asks for an operation, waits until it has ended, and says what became of it.
 */
import { createReadStream, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { CliError, type Client } from "../../controlplane/cli/client.ts";
import { messageOf } from "../../controlplane/errors.ts";
import type { AppInstanceInfo, AppLcmOpOcc } from "../model/lcm.ts";
import type { AppPkgInfo } from "../model/pkgm.ts";

export const packagesPath = "/app_pkgm/v1/app_packages";
export const instancesPath = "/app_lcm/v1/app_instances";
export const operationsPath = "/app_lcm/v1/app_lcm_op_occs";

export interface AppClient {
  clientId: string;
  clientSecret: string;
}

export const at = (path: string, id: string): string => `${path}/${encodeURIComponent(id)}`;

/** Undefined where there is none of this id. */
async function found<T>(client: Client, path: string): Promise<T | undefined> {
  try {
    return await client.get<T>(path);
  } catch (error) {
    if (error instanceof CliError && error.problem?.status === 404) return undefined;
    throw error;
  }
}

export const instanceOf = (client: Client, id: string) => found<AppInstanceInfo>(client, at(instancesPath, id));
export const packageOf = (client: Client, id: string) => found<AppPkgInfo>(client, at(packagesPath, id));

/** @throws CliError when there is none */
export async function requireInstance(client: Client, id: string): Promise<AppInstanceInfo> {
  const instance = await instanceOf(client, id);
  if (!instance) throw new CliError(`there is no app instance "${id}": offramp app ls`);
  return instance;
}

/** Waits for the end of an operation. @throws CliError when it fails */
export async function ended(client: Client, location: string | null): Promise<AppLcmOpOcc> {
  const { pathname } = new URL(location ?? "", "http://localhost");
  for (;;) {
    const operation = await client.get<AppLcmOpOcc>(pathname);
    if (operation.operationState === "COMPLETED") return operation;
    if (operation.operationState === "FAILED" || operation.operationState === "FAILED_TEMP") {
      const { detail } = (operation.error ?? {}) as { detail?: string };
      const again =
        operation.operationState === "FAILED_TEMP" ? `; to try again: offramp app retry ${operation.id}` : "";
      throw new CliError(`${operation.lcmOperation} failed: ${detail ?? "no reason was given"}${again}`);
    }
    await sleep(100);
  }
}

/** Asks for an operation on an instance, and waits for its end. @throws CliError */
export async function operate(client: Client, id: string, task: string, body: object = {}): Promise<AppLcmOpOcc> {
  const answer = await client.request("POST", `${at(instancesPath, id)}/${task}`, body);
  await answer.arrayBuffer();
  return ended(client, answer.headers.get("location"));
}

/** Makes a package of a zip; nothing of it is left when it is refused. @throws CliError */
export async function addPackage(
  client: Client,
  zip: string,
  names: { name: string; version: string },
): Promise<AppPkgInfo> {
  let size: number;
  try {
    ({ size } = statSync(zip));
  } catch (error) {
    throw new CliError(`${zip}: ${messageOf(error)}`, 2);
  }
  const created = await client.json<AppPkgInfo>("POST", packagesPath, {
    appPkgName: names.name,
    appPkgVersion: names.version,
  });
  const path = at(packagesPath, created.id);
  try {
    const stream = createReadStream(zip);
    await client.upload(`${path}/package_content`, stream, { type: "application/zip", size });
  } catch (error) {
    await client.request("DELETE", path).catch(() => undefined);
    throw error;
  }
  return client.get<AppPkgInfo>(path);
}

/** What the app proves itself with; an older secret ends. @throws CliError when it is no client: not configured yet */
export function newSecret(client: Client, id: string): Promise<AppClient> {
  return client.json<AppClient>("POST", `/api/v1/clients/${encodeURIComponent(id)}/secret`);
}
