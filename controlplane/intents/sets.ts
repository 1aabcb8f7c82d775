/**
 * How are many services changed at once, and how is a change taken back?
 *
 *   apply     the services become exactly those of a list, or nothing changes
 *   rollback  … become those of an earlier revision, which is a new revision
 *   confirm   what was applied on trial stays
 *
 * All three are transactions of services.ts. What is refused is refused whole, with everything that is wrong.
 */
import type { Dataplane } from "../../dataplane/dataplane.ts";
import { Problem } from "../errors.ts";
import type { Revision, Touched } from "../store/history.ts";
import type { Armed, Store } from "../store/store.ts";

import { deadline, notConfirmed, timeLeft, untilText } from "./confirmation.ts";
import type { FieldError, Service } from "./model.ts";
import type { Judge, Services } from "./services.ts";
import { changeTo, countText, type SetChange } from "./set.ts";
import { refuseSet } from "./set-conflicts.ts";
import { effects, refuseLoops } from "./set-effects.ts";
import { type TableChange, tableChanges } from "./tables.ts";
import type { Finding } from "./verify.ts";

/** What became, or would become, of a change of the set. */
export interface SetResult {
  /** Absent when nothing was touched, or only planned. */
  revision?: number;
  added: string[];
  changed: string[];
  removed: string[];
  kept: number;
  /** Until when it has to be confirmed: ISO 8601. */
  until?: string;
  /** Services that never act, by the change or as part of it, and what could not be decided. Absent: none. */
  warnings?: Finding[];
}

/** A change that waits, as the API tells it. */
export interface Waiting {
  revision: number;
  /** Revision that comes back. */
  back: number;
  until: string;
}

export interface ServiceSetsOptions {
  services: Services;
  store: Store;
  dataplane: Pick<Dataplane, "describe">;
  /** What was not confirmed could not be taken back; it is tried again. */
  failed: (error: unknown) => void;
  /** What was not confirmed has been taken back. */
  tookBack: (revision: number | undefined) => void;
}

const mostErrors = 100;

const result = (
  { added, changed, removed, kept }: SetChange,
  rest: Pick<SetResult, "revision" | "until" | "warnings">,
): SetResult => ({
  ...(rest.revision !== undefined && { revision: rest.revision }),
  added,
  changed,
  removed,
  kept,
  ...(rest.until !== undefined && { until: rest.until }),
  ...(rest.warnings && rest.warnings.length > 0 && { warnings: rest.warnings }),
});

export class ServiceSets {
  readonly #options: ServiceSetsOptions;

  constructor(options: ServiceSetsOptions) {
    this.#options = options;
  }

  /** Waits for the deadline of what an earlier run left to be confirmed. */
  start(): void {
    const { services, failed } = this.#options;
    if (services.confirmation.armed) services.confirmation.resume(() => this.#takeBack(), failed);
  }

  stop(): void {
    this.#options.services.confirmation.close();
  }

  /** @throws Problem that names everything that is wrong with the list */
  #read(bodies: readonly unknown[]): Service[] {
    const errors: FieldError[] = [];
    const wanted = new Map<string, Service>();
    for (const [index, body] of bodies.entries()) {
      const checked = this.#options.services.check(body);
      if (!checked.ok) {
        for (const { field, message } of checked.errors) {
          errors.push({ field: field ? `[${index}].${field}` : `[${index}]`, message });
        }
        continue;
      }
      const { name } = checked.service;
      if (wanted.has(name)) errors.push({ field: `[${index}].name`, message: `"${name}" is in the list already` });
      wanted.set(name, checked.service);
    }
    if (errors.length === 0) return [...wanted.values()];
    const shown = errors.slice(0, mostErrors);
    const rest = errors.length - shown.length;
    const said = shown.map(({ field, message }) => `${field}: ${message}`).join("; ");
    throw new Problem("invalid-service", rest > 0 ? `${said}; and ${rest} more` : said, { errors: shown });
  }

  /** Notes in `warnings` what is accepted, but has to be told. */
  #judge(warnings: Finding[]): Judge {
    return async (touched, all) => {
      const context = this.#options.services.context();
      refuseLoops(touched, context);
      refuseSet(touched, all);
      warnings.push(...(await effects(touched, all, context)));
    };
  }

  #changeTo(bodies: readonly unknown[]): SetChange {
    const { services, store } = this.#options;
    return changeTo(
      services.stored(),
      this.#read(bodies).map((service) => ({ service })),
      store,
    );
  }

  /** What `apply` would do. @throws Problem as it would */
  async plan(bodies: readonly unknown[]): Promise<SetResult & { tables: TableChange[] }> {
    const change = this.#changeTo(bodies);
    const { services, dataplane } = this.#options;
    const warnings: Finding[] = [];
    const after = await services.preview(change.touched, this.#judge(warnings));
    const tables = tableChanges(dataplane.describe(services.steering()), dataplane.describe(after));
    return { ...result(change, { warnings }), tables };
  }

  /**
   * Makes the services exactly these. With `confirm`, seconds: takes itself back unless it is confirmed by then.
   * @throws Problem and nothing has changed
   */
  async apply(bodies: readonly unknown[], who: string, confirm?: number): Promise<SetResult> {
    const { services } = this.#options;
    let change: SetChange | undefined;
    const warnings: Finding[] = [];
    const revision = await services.transact(() => {
      services.confirmation.refuseWhileArmed();
      change = this.#changeTo(bodies);
      const trial = confirm === undefined ? "" : `, to be confirmed within ${confirm} s`;
      const what = `${bodies.length} services applied: ${countText(change)}${trial}`;
      return { touched: change.touched, given: change.given, who, what, confirm, judge: this.#judge(warnings) };
    });
    const armed = revision === undefined || confirm === undefined ? undefined : services.confirmation.armed;
    if (armed) services.confirmation.watch(() => this.#takeBack(), this.#options.failed);
    if (!change) throw new Problem("internal", "the change was not made");
    return result(change, { revision, warnings, ...(armed && { until: untilText(armed) }) });
  }

  /**
   * Goes back to the set of an earlier revision; without a number, to what was there before the change that waits to be
   * confirmed. Either ends the wait. What was there before a change on trial comes back whatever it is like; the set of a
   * given revision is judged by the site as it is now.
   * @throws Problem
   */
  async rollback(to: number | undefined, who: string): Promise<SetResult> {
    const { services } = this.#options;
    let change: SetChange | undefined;
    const warnings: Finding[] = [];
    const revision = await services.transact(() => {
      const armed = services.confirmation.armed;
      const number = to ?? armed?.back;
      if (number === undefined) throw new Problem("not-armed", "say which revision to go back to: see history");
      change = this.#changeBack(number);
      const what = `back to revision ${number}: ${countText(change)}`;
      const judge = number === armed?.back ? undefined : this.#judge(warnings);
      return { touched: change.touched, given: change.given, who, what, disarms: armed !== undefined, judge };
    });
    if (!change) throw new Problem("internal", "the change was not made");
    return result(change, { revision, warnings });
  }

  #changeBack(number: number): SetChange {
    const { services, store } = this.#options;
    const now = services.stored();
    const target = store.history.at(number, now);
    if (!target) {
      const [oldest, newest] = [store.history.oldest(), store.history.newest()];
      throw new Problem("not-found", `revision ${number} is not kept: there are ${oldest} to ${newest}`);
    }
    return changeTo(now, target, store);
  }

  /** @throws Problem when nothing waits */
  async confirm(): Promise<Waiting> {
    const { services } = this.#options;
    return services.alone(() => {
      const waiting = this.waiting();
      if (!waiting) throw new Problem("not-armed", "nothing waits to be confirmed");
      services.confirmation.disarm();
      return waiting;
    });
  }

  waiting(): Waiting | undefined {
    const armed = this.#options.services.confirmation.armed;
    return armed && { revision: armed.revision ?? armed.back + 1, back: armed.back, until: untilText(armed) };
  }

  async #takeBack(): Promise<void> {
    const { services, tookBack } = this.#options;
    let overdue: Armed | undefined;
    const revision = await services.transact(() => {
      const armed = services.confirmation.armed;
      // Confirmed, or rolled back, while this waited for its turn.
      if (!armed || timeLeft(armed) > 0) return { touched: [], what: "", who: deadline };
      overdue = armed;
      if (armed.revision === undefined) {
        services.confirmation.disarm();
        return { touched: [], what: "", who: deadline };
      }
      const { touched, given, ...counts } = this.#changeBack(armed.back);
      const what = `${notConfirmed(armed)} (${countText(counts)})`;
      return { touched, given, what, who: deadline, disarms: true };
    });
    if (overdue) tookBack(revision);
  }

  list(page: { offset?: number; limit?: number }): { total: number; revisions: Revision[] } {
    return this.#options.store.history.list(page);
  }

  /** One revision with what it touched. @throws Problem */
  revision(number: number): Revision & { touched: Touched[] } {
    const { history } = this.#options.store;
    const [revision, touched] = [history.get(number), history.touched(number)];
    if (!revision || !touched) throw new Problem("not-found", `revision ${number} is not kept`);
    return { ...revision, touched };
  }

  /** The whole set as a revision left it. @throws Problem */
  servicesOf(number: number): Service[] {
    const { services, store } = this.#options;
    const set = store.history.at(number, services.stored());
    if (!set) throw new Problem("not-found", `revision ${number} is not kept`);
    return set.map(({ service }) => service);
  }
}
