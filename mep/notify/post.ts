/**
 * How is one notification posted to a callbackReference, once?
 *
 *   guard ─▶ address ─▶ connection to that address ─▶ POST, Host and certificate by the name ─▶ 2xx
 *
 * GS MEC 011 §5.2.5, MEC 009 §6.6: the body is JSON, 204 is expected, and any 2xx is taken. Redirects are not followed, since
 * nobody has checked where to. What is answered is not read beyond what a connection needs to be used again, and is shown
 * to nobody. Certificates are checked against the CAs of the system and, where the site names one, its own.
 */
import { existsSync, readFileSync } from "node:fs";
import { createSecureContext, rootCertificates } from "node:tls";
import { Agent, type Dispatcher } from "undici";
import { messageOf } from "../../controlplane/errors.ts";
import { type Callback, CallbackError, parseCallback } from "./callback.ts";
import type { Guard } from "./guard.ts";
import type { Attempt } from "./queue.ts";
import type { Place } from "./reach.ts";

export interface PosterOptions {
  guard: Guard;
  /** PEM of a CA that is trusted beside those of the system. */
  ca?: string;
  /** For all of it: name, connection, TLS, answer. */
  timeoutMs?: number;
}

/** Octets of an answer's body that are read, and thrown away. */
const answerAtMost = 16 << 10;
const systemCertificates = "/etc/ssl/certs/ca-certificates.crt";

/** Answers that say: not now. All others from 400 to 499 say: not this. */
const passing = [408, 425, 429];

function judge(status: number): Attempt {
  if (status >= 200 && status < 300) return { outcome: "sent" };
  const why = `answered ${status}`;
  if (status >= 500 || passing.includes(status)) return { outcome: "again", why };
  return { outcome: "refused", why };
}

export class Poster {
  #agent: Agent | undefined;

  constructor(private readonly options: PosterOptions) {}

  #connect(): Agent {
    const system = existsSync(systemCertificates) ? [readFileSync(systemCertificates, "utf8")] : [...rootCertificates];
    // Made once: reading all CAs for each connection would cost more than the connection.
    const { ca } = this.options;
    const secureContext = createSecureContext({ ca: ca ? [...system, ca] : system });
    const timeout = this.#timeoutMs;
    return new Agent({
      connect: { timeout, secureContext, minVersion: "TLSv1.2", maxCachedSessions: 0 },
      connections: 8,
      pipelining: 1,
      keepAliveTimeout: 2000,
      keepAliveMaxTimeout: 2000,
      maxHeaderSize: 16 << 10,
      headersTimeout: timeout,
      bodyTimeout: timeout,
    });
  }

  get #timeoutMs(): number {
    return this.options.timeoutMs ?? 5000;
  }

  /** Never rejects. */
  async post(instance: Place | undefined, reference: string, body: string, signal: AbortSignal): Promise<Attempt> {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(new Error(`no answer within ${this.#timeoutMs} ms`)), this.#timeoutMs);
    const forward = () => limit.abort(signal.reason);
    signal.addEventListener("abort", forward, { once: true });
    try {
      signal.throwIfAborted();
      const callback = parseCallback(reference);
      const address = await this.options.guard.target(instance, callback);
      limit.signal.throwIfAborted();
      return judge(await this.#request(callback, address, body, limit.signal));
    } catch (error) {
      if (error instanceof CallbackError) return { outcome: "blocked", why: error.message };
      return { outcome: "again", why: messageOf(limit.signal.aborted ? limit.signal.reason : error) };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", forward);
    }
  }

  /** The status. */
  async #request(callback: Callback, address: string, body: string, signal: AbortSignal): Promise<number> {
    const literal = address.includes(":") ? `[${address}]` : address;
    // The address is the origin: nothing is looked up again, and a connection that is kept leads where it was checked.
    const request: Dispatcher.RequestOptions = {
      origin: `${callback.secure ? "https" : "http"}://${literal}:${callback.port}`,
      path: callback.path,
      method: "POST",
      headers: { host: callback.authority, "content-type": "application/json" },
      body,
      signal,
    };
    this.#agent ??= this.#connect();
    const answer = await this.#agent.request(request);
    answer.body.on("error", () => undefined);
    await answer.body.dump({ limit: answerAtMost, signal }).catch(() => undefined);
    return answer.statusCode;
  }

  async close(): Promise<void> {
    await this.#agent?.destroy();
  }
}
