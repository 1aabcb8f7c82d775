/**
 * Is what was asked and answered what an OpenAPI document says?
 *
 *   exchange ─path, method─▶ operation ─▶ status listed? media type? body valid? Location? ─▶ what is violated, in words
 *
 * Works on any document of OpenAPI 3.1: those of ETSI (etsi.ts) and our own (/openapi.json). A request is judged only when
 * it was answered 2xx: whatever an API takes has to be what it says it takes, while tests send wrong requests on purpose.
 */
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

// biome-ignore lint/suspicious/noExplicitAny: documents of others, looked into by name
export type Json = any;

export interface Exchange {
  method: string;
  /** Path and query. */
  url: string;
  /** As it was sent; undefined: none. */
  body?: unknown;
  status: number;
  headers: Record<string, unknown>;
  text: string;
}

export interface ContractOptions {
  name: string;
  document: Json;
  /** What paths of the document stand behind: one or more, `/mec_service_mgmt/v1`. */
  roots: readonly string[];
  /** Schemas by name that hold for requests where the document has one for both ways. */
  requests?: Record<string, Json>;
  /** Statuses that any operation may answer. */
  anywhere?: readonly number[];
}

interface Operation {
  path: string;
  method: string;
  pattern: RegExp;
  spec: Json;
}

export const methods = ["get", "put", "post", "patch", "delete"] as const;
const problemType = "application/problem+json";

/** Formats that the documents use. */
const formats: Record<string, (value: never) => boolean> = {
  uri: (text: string) => /^[a-z][a-z0-9+.-]*:[!-~]+$/i.test(text),
  "uri-reference": (text: string) => /^[!-~]*$/.test(text),
  "date-time": (text: string) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text),
};

/** ETSI's 3.x files wrap bodies in an object with one key; the wire does not (etsi/SOURCES.md). */
function unwrapped(schema: Json): Json {
  const { type, properties, ...rest } = schema ?? {};
  const members = Object.values(properties ?? {});
  return type === "object" && members.length === 1 && Object.keys(rest).length === 0 ? members[0] : schema;
}

const mediaType = (headers: Record<string, unknown>): string =>
  String(headers["content-type"] ?? "").split(";")[0] ?? "";

export class Contract {
  readonly name: string;
  readonly operations: readonly Operation[];
  /** Operations that were answered as listed, as `GET /path 200`. */
  readonly met = new Set<string>();
  readonly #options: ContractOptions;
  readonly #compiled = new Map<string, ValidateFunction>();
  readonly #ajv = { answer: this.#compiler(), request: this.#compiler() };

  constructor(options: ContractOptions) {
    this.#options = options;
    this.name = options.name;
    const { document, requests } = options;
    this.#ajv.answer.addSchema({ ...document, $id: "document" });
    const schemas = { ...document.components?.schemas, ...requests };
    this.#ajv.request.addSchema({ ...document, $id: "document", components: { ...document.components, schemas } });
    this.operations = Object.entries<Json>(document.paths).flatMap(([path, item]) => {
      const escaped = path.replace(/[.+?^$()|[\]\\]/g, "\\$&").replace(/\{[^}]+\}/g, "[^/]+");
      const roots = options.roots.map((root) => root.replace(/[.]/g, "\\.")).join("|");
      const pattern = new RegExp(`^(${roots})${escaped}$`);
      return methods
        .filter((method) => item[method])
        .map((method) => ({ path, method, pattern, spec: { ...item[method], shared: item.parameters ?? [] } }));
    });
  }

  #compiler(): Ajv2020 {
    const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: true });
    for (const [name, validate] of Object.entries(formats)) ajv.addFormat(name, { type: "string", validate } as never);
    ajv.addFormat("uint32", { type: "number", validate: (value: number) => value >= 0 && value < 2 ** 32 });
    for (const name of ["int32", "int64", "float", "double", "password", "binary", "byte", "uuid", "not-specified"])
      ajv.addFormat(name, true);
    return ajv;
  }

  /** Undefined: the document does not speak about it. */
  find(method: string, url: string): Operation | undefined {
    const path = url.split("?", 1)[0] ?? "";
    // What is written out comes before what has parameters.
    const found = this.operations.filter((one) => one.method === method.toLowerCase() && one.pattern.test(path));
    return found.sort((a, b) => a.path.split("{").length - b.path.split("{").length)[0];
  }

  /** In words; empty when all is well, or the document does not speak about it. */
  violations(exchange: Exchange): string[] {
    const operation = this.find(exchange.method, exchange.url);
    if (!operation) return [];
    const found = [...this.#answer(operation, exchange)];
    if (exchange.status >= 200 && exchange.status < 300) found.push(...this.#request(operation, exchange));
    const what = `${exchange.method} ${exchange.url.split("?", 1)[0]} ${exchange.status}`;
    if (found.length === 0) this.met.add(`${operation.method.toUpperCase()} ${operation.path} ${exchange.status}`);
    return found.map((text) => `${this.name}: ${what}: ${text}`);
  }

  has(schema: string): boolean {
    return this.#options.document.components?.schemas?.[schema] !== undefined;
  }

  /** The same for a body by the name of its schema: notifications. */
  violationsOf(schema: string, body: unknown): string[] {
    return this.#validate({ $ref: `#/components/schemas/${schema}` }, body, "answer").map(
      (text) => `${this.name}: ${schema}: ${text}`,
    );
  }

  *#answer(operation: Operation, { status, headers, text }: Exchange): Generator<string> {
    const { responses } = operation.spec;
    const listed = this.#resolved(responses[status] ?? responses.default);
    const anywhere = this.#options.anywhere?.includes(status) ?? false;
    if (!listed && !anywhere) {
      yield `the status is not one of ${Object.keys(responses).join(", ")}`;
      return;
    }
    for (const name of Object.keys(listed?.headers ?? {})) {
      if (headers[name.toLowerCase()] === undefined) yield `the header ${name} is missing`;
    }
    if (status === 204) {
      if (text !== "") yield "204 has a body";
      return;
    }
    if (status === 201 && !headers.location) yield "201 has no Location";
    // ETSI's files list headers in prose.
    if (status === 202 && JSON.stringify(listed).includes("Location") && !headers.location) yield "202 has no Location";
    const type = mediaType(headers);
    if (status >= 400) {
      if (type !== problemType) yield `a problem came as ${type}`;
      const schema = listed?.content?.[problemType]?.schema ?? this.#problem();
      yield* this.#validate(unwrapped(schema), this.#parse(text), "answer");
      return;
    }
    const content = listed?.content;
    if (!content || text === "") return;
    const media = content[type] ?? Object.entries<Json>(content).find(([one]) => one.endsWith("/*"))?.[1];
    if (!media) yield `the answer came as ${type}, not as ${Object.keys(content).join(", ")}`;
    else if (type.endsWith("json")) yield* this.#validate(unwrapped(media.schema), this.#parse(text), "answer");
  }

  *#request(operation: Operation, { url, body }: Exchange): Generator<string> {
    const parameters = [...(operation.spec.parameters ?? []), ...operation.spec.shared].map((one) =>
      this.#resolved(one),
    );
    const known = parameters.filter((one) => one.in === "query").map((one) => one.name);
    const query = new URL(url, "http://host").searchParams;
    for (const name of query.keys()) {
      if (!known.includes(name)) yield `the query parameter ${name} was taken, and is not listed`;
    }
    const { requestBody } = operation.spec;
    const content = this.#resolved(requestBody)?.content ?? {};
    const [type, media] = Object.entries<Json>(content)[0] ?? [];
    if (body === undefined || !type?.endsWith("json") || !media?.schema) return;
    for (const error of this.#validate(unwrapped(media.schema), body, "request")) yield `taken request: ${error}`;
  }

  #parse(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }

  #problem(): Json {
    return this.#options.document.components?.schemas?.ProblemDetails
      ? { $ref: "#/components/schemas/ProblemDetails" }
      : {};
  }

  #resolved(part: Json): Json {
    const reference = part?.$ref;
    if (typeof reference !== "string") return part;
    return reference
      .slice(2)
      .split("/")
      .reduce((at: Json, name) => at?.[name], this.#options.document);
  }

  #validate(schema: Json, value: unknown, way: "answer" | "request"): string[] {
    const key = `${way} ${JSON.stringify(schema)}`;
    let validate = this.#compiled.get(key);
    if (!validate) {
      const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"document#/'));
      validate = this.#ajv[way].compile(absolute);
      this.#compiled.set(key, validate);
    }
    if (value === undefined) return ["the body is not JSON"];
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message, params }) => {
      const more = "allowedValues" in params ? ` ${(params.allowedValues as string[]).join(", ")}` : "";
      return `${instancePath || "the body"} ${message}${more}`;
    });
  }
}
