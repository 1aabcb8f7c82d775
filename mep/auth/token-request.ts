/**
 * What does a request for a token say (RFC 6749 §2.3.1, §4.4.2), and what is wrong with it (§5.2)?
 *
 * Pure: text in, client and scopes out. A parameter that comes twice is refused, one without a value counts as absent, and one
 * that is not known is ignored, as §3.2 has it.
 */
export type OAuthCode =
  | "invalid_request"
  | "invalid_client"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "invalid_scope";

/** Answered as JSON `{error, error_description}`. */
export class OAuthError extends Error {
  constructor(
    readonly code: OAuthCode,
    /** Printable ASCII without quotation marks and backslashes (§5.2). */
    readonly description: string,
  ) {
    super(description);
  }

  get status(): number {
    return this.code === "invalid_client" ? 401 : 400;
  }
}

export interface TokenRequest {
  client: string;
  /** Absent: the client is known by its certificate. */
  secret?: string;
  /** Absent: all that the client has. */
  scopes?: string[];
}

const longest = 256;

function parameters(body: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(body)) {
    if (found.has(name)) throw new OAuthError("invalid_request", "a parameter comes twice");
    found.set(name, value);
  }
  for (const [name, value] of found) if (value === "") found.delete(name);
  return found;
}

/** `application/x-www-form-urlencoded`, each half on its own, as §2.3.1 has it before the two are joined. */
const decode = (text: string): string => decodeURIComponent(text.replaceAll("+", " "));

function basic(header: string): { client: string; secret: string } {
  const [, encoded] = /^Basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(header) ?? [];
  if (encoded === undefined)
    throw new OAuthError("invalid_client", "only HTTP Basic is known in the header Authorization");
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) throw new OAuthError("invalid_client", "the header Authorization has no colon");
  try {
    return { client: decode(text.slice(0, colon)), secret: decode(text.slice(colon + 1)) };
  } catch {
    throw new OAuthError("invalid_client", "the header Authorization is not form-encoded");
  }
}

/** @throws OAuthError */
export function readTokenRequest(body: string, authorization: string | undefined): TokenRequest {
  const given = parameters(body);
  const inHeader = authorization === undefined ? undefined : basic(authorization);
  const inBody = { client: given.get("client_id"), secret: given.get("client_secret") };
  if (inHeader && inBody.secret !== undefined) {
    throw new OAuthError("invalid_request", "the secret comes twice: send it in the header or in the body");
  }
  if (inHeader && inBody.client !== undefined && inBody.client !== inHeader.client) {
    throw new OAuthError("invalid_request", "header and body name two clients");
  }
  const client = inHeader?.client ?? inBody.client;
  const secret = inHeader?.secret ?? inBody.secret;
  const grant = given.get("grant_type");
  if (grant === undefined) throw new OAuthError("invalid_request", "grant_type is missing");
  if (client === undefined || client === "") throw new OAuthError("invalid_client", "no client is named");
  if (client.length > longest || (secret?.length ?? 0) > longest) {
    throw new OAuthError("invalid_client", "client or secret is too long");
  }
  if (grant !== "client_credentials") {
    throw new OAuthError("unsupported_grant_type", "only client_credentials is known here");
  }
  const scope = given.get("scope");
  if (scope !== undefined && !/^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/.test(scope)) {
    throw new OAuthError("invalid_scope", "scope is a list of words with single blanks between them");
  }
  return {
    client,
    ...(secret !== undefined && secret !== "" && { secret }),
    ...(scope !== undefined && { scopes: [...new Set(scope.split(" "))] }),
  };
}
