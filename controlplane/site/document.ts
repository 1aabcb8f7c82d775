/**
 * What does the API show of site.yaml, and what does it take for one?
 *
 * The whole document but for its secret, `api.token`: that is never shown, and a document without it keeps the one that is
 * there. A revision is the digest of what is shown, so it says whether two documents are the same, and nothing of a secret.
 */
import { readFileSync } from "node:fs";
import { stringify } from "yaml";
import { readSecrets } from "../api/site-secrets.ts";
import { findings, formatPath, parseSite } from "../config/load.ts";
import type { SiteFile } from "../config/schema.ts";
import { type SiteConfig, siteConfig } from "../config/site.ts";
import { messageOf, Problem } from "../errors.ts";
import type { FieldError } from "../intents/model.ts";
import { digest } from "./file.ts";

/** Without secrets. */
export function shown(file: SiteFile): SiteFile {
  const { token: _, ...api } = file.api ?? {};
  return { ...file, ...(file.api && { api }) };
}

/** Members in one order, whatever the order was in which they came. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members.map(([key, one]) => [key, sorted(one)]));
}

export const revisionOf = (file: SiteFile): string => digest(JSON.stringify(sorted(shown(file)))).slice(0, 16);

/** The token that is there stays, unless the document says where another is. */
function withToken(document: object, token: string | undefined): object {
  const { api } = document as { api?: unknown };
  if (token === undefined) return document;
  if (api === undefined) return { ...document, api: { token } };
  if (typeof api !== "object" || api === null || "token" in api || "tokenFile" in api) return document;
  return { ...document, api: { ...api, token } };
}

/** Files that it names and that a start reads. */
function unreadable({ api, mep }: SiteConfig): FieldError[] {
  const found: FieldError[] = [];
  const attempt = (field: string, read: () => unknown) => {
    try {
      read();
    } catch (error) {
      found.push({ field, message: `cannot be used: ${messageOf(error)}` });
    }
  };
  const files = (field: string, named: object | undefined) => {
    for (const [key, path] of Object.entries(named ?? {})) attempt(`${field}.${key}`, () => readFileSync(String(path)));
  };
  files("api.tls", api.tls);
  const { tls: _, ...rest } = api;
  attempt("api.tokenFile", () => readSecrets(rest));
  files("mep.mp1.tls", mep?.mp1?.tls);
  return found;
}

const said = (errors: FieldError[]): string =>
  errors.map(({ field, message }) => (field ? `${field} ${message}` : message)).join("; ");

const refusal = (errors: FieldError[]) =>
  new Problem("invalid-configuration", `nothing has changed; ${said(errors)}`, { errors });

/**
 * As `offramp check` judges it, and whether a start would find the files that it names.
 * @param here what site.yaml says now
 * @throws Problem with everything that is wrong
 */
export function readDocument(document: unknown, here: SiteFile): SiteConfig {
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw refusal([{ field: "", message: "must hold settings: site, dataplanes, …" }]);
  }
  const whole = withToken(document, here.api?.token);
  const errors = findings(whole).map(({ path, message }) => ({ field: formatPath(path), message }));
  const { stateDir } = (whole as Partial<SiteFile>).site ?? {};
  if (typeof stateDir === "string" && stateDir !== here.site.stateDir) {
    const message = `must stay ${here.site.stateDir}: what the site remembers lies there; move it by backup and restore`;
    errors.push({ field: "site.stateDir", message });
  }
  if (errors.length > 0) throw refusal(errors);
  const config = siteConfig(whole as SiteFile);
  const missing = unreadable(config);
  if (missing.length > 0) throw refusal(missing);
  return config;
}

/** The file's text. @throws Error when it would not be read as it was meant */
export function textOf(config: SiteConfig, heading: string): string {
  const text = `# ${heading}\n${stringify(config.file, { lineWidth: 0 })}`;
  if (JSON.stringify(sorted(parseSite(text).file)) !== JSON.stringify(sorted(config.file))) {
    throw new Error("the document cannot be written as YAML that says the same");
  }
  return text;
}
