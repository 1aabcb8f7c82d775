/**
 * How do programs elsewhere talk to the appliance of a site?
 *
 * Over its HTTP API and nothing else. A site behind a slow or broken link is asked again, for as long as `patience` says; what
 * was asked may have been done although no answer came, so whoever sends a change looks before it sends it again. Problem
 * documents (RFC 9457) come out as `SiteError` with every field that they name.
 */
import { createReadStream, statSync } from "node:fs";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, type Dispatcher, request } from "undici";

export interface SiteAccess {
  /** Of the management API: `https://edge-7.example.net:8090` */
  api: string;
  /** Of a management user; absent: none is sent. */
  token?: string;
  /** PEM of the authority of the API's certificate; absent: those of the system. */
  ca?: string;
  /** Name in the API's certificate; absent: that of `api`. */
  serverName?: string;
  /** Milliseconds for which a site that does not answer is asked again. Default: 60 000. */
  patience?: number;
}

export interface FieldProblem {
  field: string;
  message: string;
}

/** The appliance said no. */
export class SiteError extends Error {
  constructor(
    readonly status: number,
    /** `/problems/…` */
    readonly type: string,
    message: string,
    readonly errors: readonly FieldProblem[] = [],
  ) {
    super(message);
  }
}

/** Nobody answered, for as long as there was patience. */
export class SiteUnreachableError extends Error {}

export type Change = "POST" | "PUT" | "PATCH" | "DELETE";

interface Answer {
  status: number;
  /** Read, where it is JSON. */
  body: unknown;
  text?: string;
  /** Of what was made or begun: path of the header Location. */
  location?: string;
}

const usualPatience = 60_000;
/** Of one attempt, milliseconds. */
const attemptMs = 30_000;
/** A package of some gigabytes is judged whole before it is answered. */
const uploadMs = 900_000;
/** Answers that say: not now. */
const passing = [429, 502, 503, 504];

function errorOf(origin: string, { status, body }: Answer): SiteError {
  const { type = "about:blank", title, detail, errors } = (body ?? {}) as Record<string, unknown>;
  if (typeof title !== "string") return new SiteError(status, String(type), `${origin} answered ${status}`);
  const fields = (Array.isArray(errors) ? errors : []) as FieldProblem[];
  // Paths as programs write them: `rules.nw_dst[0]`.
  const named = fields.map(({ field, message }) =>
    field ? `${field.replace(/\.(\d+)(?=\.|$)/g, "[$1]")}: ${message}` : message,
  );
  const said = named.length > 0 ? named.join("; ") : String(detail ?? title);
  return new SiteError(status, String(type), `${origin}: ${title}: ${said}`, fields);
}

export class Site {
  readonly #access: SiteAccess;
  readonly #agent: Agent;

  /** @throws Error when `api` is no URL */
  constructor(access: SiteAccess) {
    this.#access = { ...access, api: new URL(access.api).origin };
    const { ca, serverName } = access;
    const checked = { ...(ca !== undefined && { ca }), ...(serverName !== undefined && { servername: serverName }) };
    this.#agent = new Agent({ connect: { timeout: 10_000, ...checked } });
  }

  /** Undefined: there is none (404). @throws SiteError, SiteUnreachableError */
  async get<T>(path: string): Promise<T | undefined> {
    return (await this.#found(path))?.body as T | undefined;
  }

  /** As it is sent. Undefined: there is none (404). @throws SiteError, SiteUnreachableError */
  async text(path: string): Promise<string | undefined> {
    return (await this.#found(path))?.text;
  }

  async #found(path: string): Promise<Answer | undefined> {
    const answer = await this.#persist(() => this.#once("GET", path));
    if (answer.status === 404) return undefined;
    this.#good(answer);
    return answer;
  }

  /** The status of its answer, whatever it says. @throws SiteUnreachableError */
  async status(path: string): Promise<number> {
    return (await this.#persist(() => this.#once("GET", path), [])).status;
  }

  /**
   * Sends a change. When its answer is lost, `done` is asked whether it was made all the same before it is sent again.
   * @throws SiteError, SiteUnreachableError
   */
  async change<T>(method: Change, path: string, body: unknown, done: () => Promise<T | undefined>): Promise<T> {
    return this.#good(await this.#carefully(() => this.#once(method, path, body), done)) as T;
  }

  /** The same with a file for a body. */
  async upload<T>(path: string, file: string, done: () => Promise<T | undefined>): Promise<void> {
    const { size } = statSync(file);
    const headers = { "content-type": "application/zip", "content-length": String(size) };
    const send = () => this.#send("PUT", path, uploadMs, { headers, body: createReadStream(file) });
    this.#good(await this.#carefully(send, done));
  }

  /** Begins what takes a while. Returns where to ask what became of it; undefined: `done` says that it is over. */
  async begin(path: string, body: unknown, done: () => Promise<unknown>): Promise<string | undefined> {
    const answer = await this.#carefully(() => this.#once("POST", path, body), done);
    this.#good(answer);
    return answer.location;
  }

  #carefully(send: () => Promise<Answer>, done: () => Promise<unknown>): Promise<Answer> {
    let lost = false;
    return this.#persist(async () => {
      if (lost) {
        const found = await done();
        if (found !== undefined) return { status: 200, body: found };
      }
      lost = true;
      return send();
    });
  }

  #good(answer: Answer): unknown {
    if (answer.status < 300) return answer.body;
    throw errorOf(this.#access.api, answer);
  }

  async #persist(attempt: () => Promise<Answer>, notNow: readonly number[] = passing): Promise<Answer> {
    const until = Date.now() + (this.#access.patience ?? usualPatience);
    for (let wait = 200; ; wait = Math.min(wait * 2, 5_000)) {
      let why: string;
      try {
        const answer = await attempt();
        if (!notNow.includes(answer.status)) return answer;
        if (Date.now() + wait > until) return answer;
        why = `it answered ${answer.status}`;
      } catch (error) {
        if (error instanceof SiteError) throw error;
        why = error instanceof Error ? error.message : String(error);
      }
      if (Date.now() + wait > until) throw new SiteUnreachableError(`${this.#access.api} does not answer: ${why}`);
      await sleep(wait * (0.5 + Math.random()));
    }
  }

  #once(method: Dispatcher.HttpMethod, path: string, body?: unknown): Promise<Answer> {
    const json =
      body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return this.#send(method, path, attemptMs, json);
  }

  async #send(
    method: Dispatcher.HttpMethod,
    path: string,
    limitMs: number,
    { headers = {}, body }: { headers?: Record<string, string>; body?: string | Readable },
  ): Promise<Answer> {
    const { api, token } = this.#access;
    const answer = await request(`${api}${path}`, {
      method,
      dispatcher: this.#agent,
      headersTimeout: limitMs,
      bodyTimeout: limitMs,
      headers: { ...headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      ...(body !== undefined && { body }),
    });
    const { location } = answer.headers;
    const text = await answer.body.text();
    let read: unknown;
    try {
      read = text === "" ? undefined : JSON.parse(text);
    } catch {
      // not from an appliance
    }
    return {
      status: answer.statusCode,
      body: read,
      text,
      ...(typeof location === "string" && { location: new URL(location, api).pathname }),
    };
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }
}
