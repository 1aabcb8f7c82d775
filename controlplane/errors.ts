/**
 * What can go wrong, and how is it said?
 *
 * The one table of errors: code, HTTP status, title. Over HTTP each becomes a problem document (RFC 9457) whose `type` is
 * `/problems/<code>`; on the command line the same detail is printed. Nothing else of an error leaves the process: no
 * stack, no path, no text of a library that might quote a secret.
 */
import type { FieldError } from "./intents/model.ts";
import type { PacketExample } from "./intents/witness.ts";

export const problems = {
  "invalid-service": { status: 400, title: "The service is not valid" },
  "invalid-request": { status: 400, title: "The request is not valid" },
  "invalid-body": { status: 400, title: "The body is not valid JSON" },
  "invalid-configuration": { status: 400, title: "The configuration is not valid" },
  "invalid-package": { status: 400, title: "The app package is not valid" },
  unauthorized: { status: 401, title: "A valid bearer token is needed" },
  forbidden: { status: 403, title: "Not allowed" },
  "not-found": { status: 404, title: "Not found" },
  "method-not-allowed": { status: 405, title: "The method is not available here" },
  "not-acceptable": { status: 406, title: "No such representation" },
  timeout: { status: 408, title: "The request took too long" },
  "name-taken": { status: 409, title: "The name is taken" },
  "same-match": { status: 409, title: "Another service has the same match" },
  shadowed: { status: 409, title: "The service would never act" },
  unreachable: { status: 400, title: "No packet would ever reach the service" },
  ambiguous: { status: 409, title: "The priority is ambiguous" },
  "several-services": { status: 409, title: "Several services are meant" },
  unconfirmed: { status: 409, title: "A change waits to be confirmed" },
  "not-armed": { status: 409, title: "No change waits to be confirmed" },
  overlap: { status: 409, title: "It meets what another data plane has" },
  "needs-restart": { status: 409, title: "The change needs a restart" },
  conflict: { status: 409, title: "Not in this state" },
  busy: { status: 409, title: "Already in use" },
  "precondition-failed": { status: 412, title: "It has changed meanwhile" },
  "body-too-large": { status: 413, title: "The body is too large" },
  "path-too-long": { status: 414, title: "The path is too long" },
  "media-type": { status: 415, title: "The media type is not supported" },
  unprocessable: { status: 422, title: "The content cannot be processed" },
  "range-not-satisfiable": { status: 416, title: "There is no such range" },
  misdirected: { status: 421, title: "The host name is not ours" },
  "too-many-requests": { status: 429, title: "Too many requests" },
  internal: { status: 500, title: "Internal error" },
  "not-in-release": { status: 501, title: "Not in this release" },
  "dataplane-refused": { status: 503, title: "The data plane refused" },
  "store-failed": { status: 503, title: "The store failed" },
  "limit-reached": { status: 503, title: "A configured limit is reached" },
  "not-ready": { status: 503, title: "Not ready" },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof problems;

/** RFC 9457 §3.1, with the members that ours add. */
export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  detail?: string;
  instance?: string;
  /** All field errors at once. */
  errors?: FieldError[];
  /** Names of services that the request met. */
  services?: string[];
  /** Names of data planes that the request met. */
  dataplanes?: string[];
  /** One that shows what is wrong. */
  packet?: PacketExample;
  /** What refused: a map, a program, an adapter. */
  object?: string;
  /** When the change that waits to be confirmed takes itself back: ISO 8601. */
  until?: string;
  /** Whole seconds after which to ask again; also the header Retry-After (RFC 9110 §10.2.3). */
  retryAfter?: number;
}

export type ProblemExtras = Pick<
  ProblemDocument,
  "errors" | "services" | "dataplanes" | "object" | "until" | "packet" | "retryAfter"
>;

export interface ProblemOptions {
  cause?: unknown;
  /** Of the answer, in lower case. */
  headers?: Record<string, string>;
}

/** An error that is meant to be shown. */
export class Problem extends Error {
  readonly headers: Record<string, string>;

  constructor(
    readonly code: ProblemCode,
    /** What happened, where, and what to do. */
    readonly detail: string,
    readonly extras: ProblemExtras = {},
    options: ProblemOptions = {},
  ) {
    super(detail, "cause" in options ? { cause: options.cause } : undefined);
    this.name = "Problem";
    this.headers = options.headers ?? {};
  }

  get status(): number {
    return problems[this.code].status;
  }

  document(instance?: string): ProblemDocument {
    const { status, title } = problems[this.code];
    return {
      type: `/problems/${this.code}`,
      title,
      status,
      detail: this.detail,
      ...(instance && { instance }),
      ...this.extras,
    };
  }
}

/** Text of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
