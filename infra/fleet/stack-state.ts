/**
 * How does a Pulumi stack get back to what its state said earlier, when the program of that time is not at hand?
 *
 *   exported state ─▶ decrypted in a backend of its own, in memory ─▶ a program that declares the same resources ─▶ up
 *
 * The state names every resource with its type, name, inputs, parent, provider and dependencies: as much as the program said.
 * So the engine itself finds what has to be changed, made and removed. Secrets stay secret; on disk they are only encrypted.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import {
  type Deployment,
  LocalWorkspace,
  type PulumiCommand,
  type PulumiFn,
  Stack,
} from "@pulumi/pulumi/automation/index.js";

/** A resource as the state has it; what is not used here left out. */
export interface StateResource {
  urn: string;
  type: string;
  custom?: boolean;
  delete?: boolean;
  external?: boolean;
  inputs?: Record<string, unknown>;
  outputs?: Record<string, unknown>;
  parent?: string;
  provider?: string;
  dependencies?: string[];
  protect?: boolean;
  retainOnDelete?: boolean;
  additionalSecretOutputs?: string[];
}

/** Keys by which the state marks what is no plain value. */
const signature = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";

/** A value of the state as a program says it. @throws Error for files that are part of the state: nobody kept these */
export function saidBy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(saidBy);
  if (typeof value !== "object" || value === null) return value;
  const map = value as Record<string, unknown>;
  if (map[signature] === secretSignature) return pulumi.secret(saidBy(JSON.parse(String(map.plaintext))));
  if (map[signature] !== undefined)
    throw new Error("the state has a file or a reference that cannot be declared again");
  return Object.fromEntries(
    Object.entries(map)
      .filter(([name]) => name !== "__defaults")
      .map(([name, one]) => [name, saidBy(one)]),
  );
}

class Declared extends pulumi.CustomResource {}
class DeclaredProvider extends pulumi.ProviderResource {}

const nameOf = (urn: string): string => urn.split("::").slice(3).join("::");
const isProvider = ({ type }: StateResource): boolean => type.startsWith("pulumi:providers:");
/** Those the engine makes by itself. */
const isDefault = (resource: StateResource): boolean =>
  isProvider(resource) && nameOf(resource.urn).startsWith("default");

/** Declares what the state had, as it had it. */
export function programOf(resources: readonly StateResource[]): PulumiFn {
  return async () => {
    const made = new Map<string, pulumi.Resource>();
    let outputs: Record<string, unknown> = {};
    for (const resource of resources) {
      const { urn, type, inputs = {}, parent, provider, dependencies = [], protect, retainOnDelete } = resource;
      if (type === "pulumi:pulumi:Stack") outputs = resource.outputs ?? {};
      if (type === "pulumi:pulumi:Stack" || resource.delete || resource.external || isDefault(resource)) continue;
      const by = made.get(provider?.split("::").slice(0, 4).join("::") ?? "") as pulumi.ProviderResource | undefined;
      const options: pulumi.CustomResourceOptions = {
        ...(parent !== undefined && made.has(parent) && { parent: made.get(parent) }),
        ...(by && { provider: by }),
        dependsOn: dependencies.flatMap((one) => made.get(one) ?? []),
        ...(protect && { protect }),
        ...(retainOnDelete && { retainOnDelete }),
        additionalSecretOutputs: resource.additionalSecretOutputs ?? [],
      };
      const [name, said] = [nameOf(urn), saidBy(inputs) as pulumi.Inputs];
      made.set(
        urn,
        !resource.custom
          ? new pulumi.ComponentResource(type, name, {}, options as pulumi.ComponentResourceOptions)
          : isProvider(resource)
            ? new DeclaredProvider(type.slice("pulumi:providers:".length), name, said, options)
            : new Declared(type, name, said, options),
      );
    }
    return saidBy(outputs) as Record<string, unknown>;
  };
}

/** With secrets as plain text; the passphrase, or whatever they are kept by, comes with the environment. */
export async function decrypted(
  deployment: Deployment,
  {
    stack,
    project,
    command,
    env,
  }: { stack: string; project: string; command: PulumiCommand; env: Record<string, string> },
): Promise<StateResource[]> {
  const folder = mkdtempSync(join(tmpdir(), "offramp-state-"));
  try {
    const workspace = await LocalWorkspace.create({
      workDir: folder,
      pulumiCommand: command,
      projectSettings: { name: project, runtime: "nodejs" },
      secretsProvider: "passphrase",
      envVars: { ...env, PULUMI_BACKEND_URL: `file://${folder}` },
    });
    const scratch = await Stack.create(stack, workspace);
    await scratch.importStack(deployment);
    return ((await scratch.exportStack()).deployment.resources ?? []) as StateResource[];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
