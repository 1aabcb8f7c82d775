/**
 * What happens at the site, as it happens?
 *
 * One hub: the data plane, the sessions runtime and the control plane itself publish, readers of /api/v1/events listen.
 * Events are numbered within a run; nothing is stored, a reader that comes late starts with the next one.
 */
export interface SiteEvent {
  /** `session-new`, `moved`, `service-added`, `mode-changed`, … */
  type: string;
  /** Milliseconds since the epoch. */
  time: number;
  dataplane?: string;
  [member: string]: unknown;
}

export type EventListener = (event: SiteEvent, number: number) => void;

export class EventHub {
  readonly #listeners = new Set<EventListener>();
  #number = 0;

  publish(event: SiteEvent): void {
    this.#number += 1;
    for (const listener of this.#listeners) listener(event, this.#number);
  }

  /** Returns how to stop. */
  on(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }
}
