/**
 * How does every change, and every refusal, get into the audit log?
 *
 * Hooks for a whole server, so that no route can forget it. A change is what is neither GET nor HEAD and has passed everything
 * that refuses: its attempt is written before its handler runs, its outcome before its answer leaves. What was refused before
 * is written as refused: 401, 403, 429 of any method, and every refusal of a change. The management API and Mp1 both use these.
 * A route whose requests seldom change anything (heartbeats) may say itself when one is about to.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Audit, Deed } from "../access/audit.ts";
import { clean, pathOf } from "../access/redact.ts";
import type { Server } from "./context.ts";

export interface Audited {
  /** Number of the attempt. */
  attempt?: number;
  /** The outcome is written, or has failed to be. */
  done?: boolean;
  /** What the request is about, where its path does not say. */
  object?: string;
  /** What it changes, as it was: text. */
  before?: string;
  /** Of a route with `audit: "own"`: to be called before the change begins. @throws Problem and nothing may be changed */
  begin(): void;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /**
     * `read`: a GET that is written down, because not everybody sees what it shows. `own`: no GET, but most of them change
     * nothing; the handler calls `audited.begin` before it does.
     */
    audit?: "read" | "own";
    /** The answer holds a secret: not even its fingerprint is kept. */
    secretAnswer?: boolean;
  }
  interface FastifyRequest {
    /** Routes add what they know. */
    audited: Audited;
  }
}

export interface AuditHooks {
  audit: Audit;
  /** `management`, `mp1`. */
  api: string;
  /** How somebody was let in and as whom; `nobody`. Without the address. */
  who(request: FastifyRequest): string;
}

const looks = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
const alwaysWritten = new Set([401, 403, 429]);

/** Before routes are added. */
export function auditHooks(app: Server, { audit, api, who }: AuditHooks): void {
  const deed = (request: FastifyRequest): Deed => {
    const { url, config } = request.routeOptions;
    return {
      api,
      who: clean(who(request), 120),
      address: request.ip,
      method: request.method,
      path: pathOf(request.raw.url ?? "/", url, config?.redact),
      request: request.id,
    };
  };

  app.decorateRequest("audited");
  app.addHook("onRequest", (request, _reply, done) => {
    const audited: Audited = {
      begin: () => {
        audited.attempt = audit.attempt(deed(request));
      },
    };
    request.audited = audited;
    done();
  });
  app.addHook("preHandler", (request, _reply, done) => {
    if (request.is404) return done();
    const { audit: how } = request.routeOptions.config;
    if (!looks.has(request.method) && how !== "own") {
      audit.attemptTogether(deed(request)).then((number) => {
        request.audited.attempt = number;
        done();
      }, done);
      return;
    }
    if (how === "read") audit.read(deed(request));
    done();
  });
  app.addHook("onSend", async (request, reply, payload) => {
    const { audited } = request;
    // An outcome that cannot be written becomes an answer of its own, which comes by here again.
    if (audited === undefined || audited.done) return payload;
    audited.done = true;
    const status = reply.statusCode;
    if (audited.attempt === undefined) {
      if (alwaysWritten.has(status) || (status >= 400 && !looks.has(request.method))) {
        audit.refused({ ...deed(request), status });
      }
      return payload;
    }
    const outcome = {
      status,
      object: objectOf(audited, reply),
      before: audited.before,
      after: after(request, reply, payload),
    };
    await audit.outcome(audited.attempt, deed(request), outcome);
    return payload;
  });
}

function objectOf({ object }: Audited, reply: FastifyReply): string | undefined {
  const location = reply.getHeader("location");
  const text = object ?? (typeof location === "string" ? location : undefined);
  return text === undefined ? undefined : clean(text);
}

function after(request: FastifyRequest, reply: FastifyReply, payload: unknown): string | undefined {
  const done = reply.statusCode >= 200 && reply.statusCode < 300;
  if (!done || request.routeOptions.config.secretAnswer || typeof payload !== "string" || payload === "")
    return undefined;
  return payload;
}
