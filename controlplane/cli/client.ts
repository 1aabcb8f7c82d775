/**
 * How do the verbs talk to a running agent?
 *
 * Over its API and nothing else, with `--api` and `--token` or their environment variables OFFRAMP_API and OFFRAMP_TOKEN.
 * A problem document becomes a `CliError` that says what the agent said.
 */
import { Readable } from "node:stream";
import type { ProblemDocument } from "../errors.ts";

/** 0 done, 1 failed, 2 usage or invalid configuration. */
export class CliError extends Error {
  constructor(
    message: string,
    readonly exitCode: 1 | 2 = 1,
    /** The agent's own words, for --json. */
    readonly problem?: ProblemDocument,
  ) {
    super(message);
  }
}

export interface ClientOptions {
  api?: string;
  token?: string;
}

export const defaultApi = "http://127.0.0.1:8090";

function problemText(problem: ProblemDocument): string {
  const lines = [`${problem.title}${problem.errors ? "" : problem.detail ? `: ${problem.detail}` : ""}`];
  for (const { field, message } of problem.errors ?? []) lines.push(`  ${field ? `${field}: ` : ""}${message}`);
  return lines.join("\n");
}

export class Client {
  readonly #base: URL;
  readonly #token: string | undefined;

  constructor({ api, token }: ClientOptions) {
    const given = api ?? process.env.OFFRAMP_API ?? defaultApi;
    try {
      this.#base = new URL(given);
    } catch {
      throw new CliError(`--api ${given}: not a URL such as ${defaultApi}`, 2);
    }
    this.#token = token ?? process.env.OFFRAMP_TOKEN;
  }

  /** @throws CliError */
  request(
    method: string,
    path: string,
    body?: unknown,
    signal?: AbortSignal,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const json = body !== undefined && { "content-type": "application/json" };
    return this.#send(path, {
      method,
      headers: { ...headers, ...json },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    });
  }

  /** PUTs what may be large, as it is read. @throws CliError */
  upload(path: string, content: Readable, { type, size }: { type: string; size: number }): Promise<Response> {
    const headers = { "content-type": type, "content-length": String(size) };
    // `duplex` is not in the types of Node 20.
    const init = { method: "PUT", headers, body: Readable.toWeb(content), duplex: "half" };
    return this.#send(path, init as unknown as RequestInit);
  }

  async #send(path: string, init: RequestInit): Promise<Response> {
    const { signal } = init;
    const authorization = this.#token === undefined ? undefined : { authorization: `Bearer ${this.#token}` };
    let response: Response;
    try {
      response = await fetch(new URL(path, this.#base), { ...init, headers: { ...init.headers, ...authorization } });
    } catch (error) {
      if (signal?.aborted) throw error;
      const cause = (error as Error).cause as { code?: string; message?: string } | undefined;
      const why = cause?.code ?? cause?.message ?? (error as Error).message;
      throw new CliError(`no agent answers at ${this.#base.origin} (${why}): is "offramp run" running there?`);
    }
    if (response.ok) return response;
    const text = await response.text();
    let problem: ProblemDocument | undefined;
    try {
      problem = JSON.parse(text) as ProblemDocument;
    } catch {
      // not from an agent
    }
    if (problem?.title === undefined)
      throw new CliError(`${this.#base.origin} answered ${response.status}, but is no agent`);
    throw new CliError(problemText(problem), 1, problem);
  }

  async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    return (await (await this.request(method, path, body)).json()) as T;
  }

  get<T>(path: string): Promise<T> {
    return this.json<T>("GET", path);
  }
}

/** A query string of those members that are given. */
export function query(members: Record<string, string | number | undefined>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(members)) if (value !== undefined) search.set(key, String(value));
  const text = search.toString();
  return text ? `?${text}` : "";
}
