/**
 * How do the data plane and the store change together, or neither?
 *
 *   apply ──refused──▶ nothing has changed          commit ──fails──▶ the old steering is applied again
 */
import { DataplaneError, UnfitError } from "../../dataplane/dataplane.ts";
import { messageOf, Problem } from "../errors.ts";

export interface Step {
  /** Puts the new steering in force, all or nothing. */
  apply(): Promise<void>;
  /** Writes the change down. */
  commit(): void;
  /** Puts the old steering in force again. */
  restore(): Promise<void>;
}

/** @throws Problem and nothing has changed, or it says so */
export async function applyAndCommit({ apply, commit, restore }: Step): Promise<void> {
  try {
    await apply();
  } catch (error) {
    const object = error instanceof DataplaneError ? error.object : undefined;
    throw new Problem(
      error instanceof UnfitError ? "unprocessable" : "dataplane-refused",
      `nothing has changed; ${object ? `${object}: ` : ""}${error instanceof DataplaneError ? error.message : "the data plane failed"}`,
      object ? { object } : {},
      { cause: error },
    );
  }
  try {
    commit();
  } catch (error) {
    await restore().catch((again: unknown) => {
      throw new Problem(
        "store-failed",
        "the change was not stored, and could not be taken back: restart the agent",
        {},
        {
          cause: new AggregateError([error, again]),
        },
      );
    });
    throw new Problem("store-failed", `nothing has changed; the store said: ${messageOf(error)}`, {}, { cause: error });
  }
}
