/**
 * Is a text the name of a host in DNS (RFC 1035 §2.3.1, RFC 1123 §2.1), and how is it written here?
 */
import type { Reader } from "../../controlplane/intents/reader.ts";
import { isPublicSuffix } from "../dns/public-suffix.ts";

/** Letters of any case become small, a dot at the end goes: `Shop.Example.` is `shop.example`. */
export function readDomainName(read: Reader, value: unknown, field: string): string | undefined {
  if (value === undefined) return read.fail(field, "is required");
  const name = typeof value === "string" ? value.toLowerCase().replace(/\.$/, "") : "";
  const labels = name.split(".");
  if (name.length > 253 || !labels.every((label) => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/.test(label))) {
    return read.fail(
      field,
      'must be a domain name: labels of 1 to 63 letters, digits and hyphens (IDN as "xn--…"), 253 characters in all',
    );
  }
  if (labels.length < 2) return read.fail(field, "must have at least two labels: a whole top-level domain is nobody's");
  if (isPublicSuffix(name)) return read.fail(field, "is what a registry sells names under: it is nobody's");
  if (/^\d+$/.test(labels.at(-1) ?? "")) return read.fail(field, "ends in a number: it would be read as an address");
  return name;
}
