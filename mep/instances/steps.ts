/**
 * What has to be done when an instance begins or ends, in which order, and how is it taken back?
 *
 *   begin   addresses ─▶ configure of each part, in order ─▶ runtime starts it
 *   end     deactivate of each part, last first ─▶ runtime stops it ─▶ remove of each part, last first
 *
 * Parts stand in the order of the beginning: credentials, what apps register, rules. So the end is what GS MEC 011 §5.2.3 wants:
 * rules off, services removed, subscriptions gone, the app stopped, its credentials revoked. Every step may be done again, after
 * the agent was killed; nothing here is remembered but what the parts and the runtime remember.
 */
import { messageOf, Problem } from "../../controlplane/errors.ts";
import type { AppD } from "../model/appd.ts";
import { readConfiguration } from "../model/read-appd.ts";
import type { Packages } from "../packages/packages.ts";
import type { InstancePart } from "../parts.ts";
import type { InstanceRecord } from "./record.ts";
import type { Runner } from "./runner.ts";

export interface StepsOptions {
  packages: Pick<Packages, "onboarded">;
  parts: readonly InstancePart[];
  runner: Runner;
  /** What went wrong while something was being taken back. */
  failed(error: unknown, what: string): void;
}

/** The end of an instance went wrong in some parts; the others have done theirs. */
export class EndError extends Error {}

export class Steps {
  readonly #options: StepsOptions;

  constructor(options: StepsOptions) {
    this.#options = options;
  }

  /** The AppD with what configure_platform_for_app said instead. */
  appdOf(instance: InstanceRecord): AppD {
    const { appd } = this.#options.packages.onboarded(instance.package).content;
    if (!instance.configuration) return appd;
    const read = readConfiguration(instance.configuration);
    if (!read.ok)
      throw new Problem("unprocessable", "its configuration is not understood any more: configure it again");
    return { ...appd, ...read.configuration };
  }

  /**
   * All parts take on what the instance asks for, or none: then the configuration before is what they have again. Returns what
   * the instance has become.
   */
  async configure(
    before: InstanceRecord,
    wanted: Partial<Pick<InstanceRecord, "addresses" | "configuration">>,
  ): Promise<InstanceRecord> {
    const { parts, runner } = this.#options;
    const next: InstanceRecord = { ...before, ...wanted };
    const appd = this.appdOf(next);
    if (!next.external) next.addresses = await runner.reserve(next.id);
    const begun: InstancePart[] = [];
    try {
      for (const part of parts) {
        begun.unshift(part);
        await part.configure?.(next, appd);
      }
    } catch (error) {
      if (before.configured) await this.#reconfigure(before, begun);
      else await this.forget(next, begun).catch((second) => this.#options.failed(second, "a configuration"));
      throw error;
    }
    return { ...next, configured: true };
  }

  async #reconfigure(instance: InstanceRecord, parts: readonly InstancePart[]): Promise<void> {
    for (const part of parts) {
      try {
        await part.configure?.(instance, this.appdOf(instance));
      } catch (error) {
        this.#options.failed(error, "a configuration");
      }
    }
  }

  /** The app runs when this resolves; an external one does by itself. */
  async start(instance: InstanceRecord): Promise<void> {
    if (instance.external) return;
    const { runner, packages } = this.#options;
    await runner.start(instance, packages.onboarded(instance.package));
  }

  async ready(instance: InstanceRecord): Promise<void> {
    for (const part of this.#options.parts) await part.ready?.(instance);
  }

  /** What leads to it stands aside. @throws EndError after all of it was tried */
  absent(instance: InstanceRecord): Promise<void> {
    return this.#each("it does not stand aside whole", this.#options.parts, (part) => part.absent?.(instance));
  }

  async #each(what: string, parts: readonly InstancePart[], step: (part: InstancePart) => Promise<void> | undefined) {
    const wrong: unknown[] = [];
    for (const part of parts) {
      try {
        await step(part);
      } catch (error) {
        wrong.push(error);
      }
    }
    if (wrong.length > 0) throw new EndError(`${what}: ${wrong.map(messageOf).join("; ")}`, { cause: wrong[0] });
  }

  /** Rules off, services and subscriptions gone, the app stopped. @throws EndError after all of it was tried */
  async stop(instance: InstanceRecord, graceMs: number): Promise<void> {
    const { parts, runner } = this.#options;
    const off: InstancePart = { deactivate: () => runner.stop(instance.id, graceMs) };
    const all = [...[...parts].reverse(), ...(instance.external ? [] : [off])];
    await this.#each("it was not stopped whole", all, (part) => part.deactivate?.(instance));
  }

  /** Nothing is left of it but its record. @throws EndError after all of it was tried */
  async forget(instance: InstanceRecord, parts: readonly InstancePart[] = [...this.#options.parts].reverse()) {
    const { runner } = this.#options;
    const off: InstancePart = { remove: () => runner.remove(instance.id) };
    const all = [...(instance.external ? [] : [off]), ...parts];
    await this.#each("it was not removed whole", all, (part) => part.remove?.(instance));
  }
}
