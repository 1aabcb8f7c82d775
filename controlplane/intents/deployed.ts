/**
 * Does the data plane hold what the services mean (C7)?
 *
 * Asked between two changes, of what was applied last. Beside those who ask, the agent looks once a minute, so that a metric
 * and the log tell of a drift that nobody asked about.
 */
import type { Dataplane, Difference } from "../../dataplane/dataplane.ts";
import type { Services } from "./services.ts";

export interface Deployed {
  agrees: boolean;
  differences: Difference[];
}

export function differenceText({ table, key, intended, found }: Difference): string {
  const short = (octets: string) => (octets.length > 96 ? `${octets.slice(0, 96)}…` : octets);
  if (found === undefined) return `${table}: ${key} is missing, it should be ${short(intended ?? "there")}`;
  if (intended === undefined) return `${table}: ${key} should not be there, it is ${short(found)}`;
  return `${table}: ${key} should be ${short(intended)}, it is ${short(found)}`;
}

const everyMs = 60_000;

export class DeployedCheck {
  readonly #services: Pick<Services, "alone" | "applied">;
  readonly #dataplane: Pick<Dataplane, "differences">;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<unknown> = Promise.resolve();
  #last: Deployed | undefined;

  constructor(services: Pick<Services, "alone" | "applied">, dataplane: Pick<Dataplane, "differences">) {
    this.#services = services;
    this.#dataplane = dataplane;
  }

  /** @throws DataplaneError when the tables cannot be read */
  look(): Promise<Deployed> {
    return this.#services.alone(async () => {
      const steering = this.#services.applied;
      const differences = steering ? await this.#dataplane.differences(steering) : [];
      this.#last = { agrees: differences.length === 0, differences };
      return this.#last;
    });
  }

  /** How many differences the last look found; undefined before the first. */
  get found(): number | undefined {
    return this.#last?.differences.length;
  }

  /** `drifted` is called when a look finds differences and the one before did not; `failed` when it could not look. */
  start(drifted: (differences: Difference[]) => void, failed: (error: unknown) => void): void {
    const turn = () => {
      const before = this.#last?.agrees ?? true;
      this.#looking = this.look()
        .then(({ agrees, differences }) => {
          if (before && !agrees) drifted(differences);
        })
        .catch(failed);
      this.#timer = setTimeout(turn, everyMs);
    };
    turn();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#looking;
  }
}
