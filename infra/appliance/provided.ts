/**
 * How is an appliance treated whose VM others take care of?
 *
 * As with OpenStack, where Pulumi's own resources make ports, server and floating address: it is waited for, read and configured
 * over its API, and never made, switched or removed here.
 */
import type { Found, Place, Where } from "./place.ts";
import { type Problem, unknownOf } from "./user-data.ts";

export interface ProvidedPlace {
  /** URL of the management API. */
  api: string;
  /** What it runs in; another one is another appliance. */
  server?: string;
}

export function providedProblems(given: Record<string, unknown>, path: string): Problem[] {
  const problems = unknownOf(given, ["api", "server"], path);
  if (!(typeof given.api === "string" && /^https?:/.test(given.api) && URL.canParse(given.api))) {
    problems.push({ path: `${path}.api`, reason: "must be a URL such as https://edge-7.example.net:8090" });
  }
  return problems;
}

export class Provided implements Place {
  readonly #where: Where;

  constructor({ api }: ProvidedPlace) {
    this.#where = { api };
  }

  async create(): Promise<Where> {
    return this.#where;
  }

  async keep(): Promise<void> {}

  async read(): Promise<Found> {
    return { running: true, where: this.#where };
  }

  async start(): Promise<Where> {
    return this.#where;
  }

  async stop(): Promise<void> {
    throw new Error("its VM is switched by those who made it: leave out `running`");
  }

  async remove(): Promise<void> {}

  async console(): Promise<string[]> {
    return [];
  }
}
