/**
 * What of a request may stand in a log that is kept for years?
 *
 * Its path, never its query or body. Path parameters that a route declares secret (identities of UEs) and everything that
 * looks like a token become `…`; control characters are escaped, so that no line of a log can be forged.
 */
declare module "fastify" {
  interface FastifyContextConfig {
    /** Path parameters that name a UE or a secret. */
    redact?: readonly string[];
  }
}

const longest = 300;
const hidden = "…";
/** Our own secrets, JSON web tokens, and long runs of what random octets are written in. */
const secret = /ofr_[A-Za-z0-9_-]{8,}|eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]+){0,2}|[A-Za-z0-9_-]{64,}/g;

/** Text for the log: bounded, printable, without secrets. */
export function clean(text: string, most = longest): string {
  const printable = text.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const known = printable.replace(secret, hidden);
  return known.length > most ? `${known.slice(0, most)}${hidden}` : known;
}

/**
 * The path of a request. `pattern` is the route's (`/location/v3/users/:address`); undefined where no route was found.
 */
export function pathOf(url: string, pattern: string | undefined, redact: readonly string[] = []): string {
  const [path = "/"] = url.split("?", 1);
  if (pattern === undefined || redact.length === 0) return clean(path);
  const names = pattern.split("/");
  const parts = path.split("/").map((part, i) => (redact.includes((names[i] ?? "").replace(/^:/, "")) ? hidden : part));
  return clean(parts.join("/"));
}
