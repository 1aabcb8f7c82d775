/**
 * How does anything that goes wrong in a request become a problem document?
 *
 * One function maps what fastify, the schema compiler and our own code throw to the table in ../errors.ts. What is not in
 * the table is "internal": it is logged whole and told as nothing more than that.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { messageOf, Problem, type ProblemCode } from "../errors.ts";
import type { FieldError } from "../intents/model.ts";

export const problemType = "application/problem+json; charset=utf-8";

const byCode: Record<string, ProblemCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "media-type",
  FST_ERR_CTP_INVALID_TYPE: "media-type",
  FST_ERR_CTP_BODY_TOO_LARGE: "body-too-large",
  FST_ERR_CTP_EMPTY_JSON_BODY: "invalid-body",
  FST_ERR_CTP_INVALID_JSON_BODY: "invalid-body",
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: "invalid-body",
  FST_ERR_BAD_URL: "invalid-request",
  FST_ERR_MAX_PARAM_LENGTH: "path-too-long",
};

const byStatus: Record<number, ProblemCode> = {
  400: "invalid-request",
  404: "not-found",
  408: "timeout",
  413: "body-too-large",
  414: "path-too-long",
  415: "media-type",
};

const said: Partial<Record<ProblemCode, string>> = {
  "media-type": "send the body as application/json",
  "body-too-large": "a body may have 64 KiB, a list of services 16 MiB",
  "invalid-body": "the body is empty, not JSON, or not UTF-8",
  "invalid-request": "the path cannot be read",
  "path-too-long": "the path is longer than any name can be",
};

function validationErrors(error: FastifyError): FieldError[] {
  const where = error.validationContext ?? "request";
  return (error.validation ?? []).map((entry) => {
    const params = entry.params as { additionalProperty?: string; missingProperty?: string; allowedValues?: unknown[] };
    const inside = entry.instancePath.slice(1).replaceAll("/", ".");
    const name = params.additionalProperty ?? params.missingProperty;
    const field = [where === "body" ? "" : where, inside, name ?? ""].filter(Boolean).join(".");
    if (params.additionalProperty !== undefined) return { field, message: "is not known here" };
    if (params.missingProperty !== undefined) return { field, message: "is required" };
    if (params.allowedValues) return { field, message: `must be one of ${params.allowedValues.join(", ")}` };
    return { field, message: entry.message ?? "is not valid" };
  });
}

/** Never throws. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const failure = error as FastifyError;
  if (failure.validation) {
    const errors = validationErrors(failure);
    const detail = errors.map(({ field, message }) => `${field}: ${message}`).join("; ");
    return new Problem("invalid-request", detail, { errors });
  }
  // secure-json-parse and JSON.parse both throw SyntaxError; with a status when it was the body's parser.
  if (error instanceof SyntaxError && failure.statusCode === 400) {
    const poisoned = /forbidden/.test(failure.message);
    const detail = poisoned
      ? "the body has a key that no body may have (__proto__ or constructor)"
      : said["invalid-body"];
    return new Problem("invalid-body", detail ?? "");
  }
  const code = byCode[failure.code ?? ""] ?? byStatus[failure.statusCode ?? 500];
  if (code) return new Problem(code, said[code] ?? messageOf(error));
  return new Problem("internal", "the request failed; the log says why", {}, { cause: error });
}

/** Only the path: a query may hold what does not belong into answers and logs. */
export const instanceOf = (request: FastifyRequest): string => (request.raw.url ?? "/").split("?", 1)[0] ?? "/";

export function sendProblem(problem: Problem, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (problem.code === "unauthorized") reply.header("www-authenticate", 'Bearer realm="offramp"');
  if (problem.extras.retryAfter !== undefined) reply.header("retry-after", problem.extras.retryAfter);
  return reply
    .code(problem.status)
    .headers(problem.headers)
    .header("content-type", problemType)
    .serializer(JSON.stringify)
    .send(problem.document(instanceOf(request)));
}

/** What a socket gets whose bytes were no HTTP request. */
export function rawProblem(code: ProblemCode, detail: string): string {
  const problem = new Problem(code, detail);
  const body = JSON.stringify(problem.document());
  return (
    `HTTP/1.1 ${problem.status} ${problem.code}\r\ncontent-type: ${problemType}\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`
  );
}
