/**
 * Is this text a URI to which notifications could ever be posted, and what does it name?
 *
 * Pure: nothing is resolved here, and whether the app could reach the place is not judged (see reach.ts). What two programs
 * could read in two ways is refused, because the one that checks and the one that connects must mean the same: credentials,
 * fragments, backslashes, blanks, and addresses in any spelling but the usual one (`2130706433`, `0177.0.0.1`, `0x7f.1`, and
 * IPv4 addresses in IPv6 clothes all mean 127.0.0.1 to somebody).
 */
import { type Address, AddressError, formatAddress, parseAddress } from "../../controlplane/intents/prefix.ts";

/** The message completes "callbackReference …". */
export class CallbackError extends Error {}

export interface Callback {
  secure: boolean;
  /** A name in lower case, or an address as we write it, without brackets. */
  host: string;
  /** When the host is an address. */
  address?: Address;
  /** 1..65535. */
  port: number;
  /** Path and query. */
  path: string;
  /** What the Host field says: with brackets, without the scheme's own port. */
  authority: string;
  /** `https://shop.example:8443`. */
  origin: string;
}

export const longestCallback = 2048;
const name = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

function hostOf(hostname: string, written: string): { host: string; address?: Address } {
  const literal = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  if (literal !== hostname || /^[\d.]+$/.test(hostname)) {
    const address = parseAddress(literal);
    const host = formatAddress(address);
    if (address.family === 4 && written !== host) {
      throw new CallbackError(`spells an address in a way that not all read alike: write ${host}`);
    }
    return { host, address };
  }
  if (/(^|\.)localhost$/.test(hostname)) throw new CallbackError("names the host that it is read on");
  if (!name.test(hostname)) throw new CallbackError("has no host name that could be looked up");
  return { host: hostname };
}

/** @throws CallbackError */
export function parseCallback(text: string): Callback {
  if (text.length > longestCallback) throw new CallbackError(`is longer than ${longestCallback} characters`);
  const found = /^(https?):\/\/([^/?#\\]+)([/?][^#\\]*)?$/i.exec(text);
  if (!found || !/^[!-~]+$/.test(text)) {
    throw new CallbackError("must be http(s)://host[:port]/path, without blanks, backslashes or a fragment");
  }
  const [, , authority = ""] = found;
  if (authority.includes("@")) throw new CallbackError("must not hold credentials");
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new CallbackError("is not a URI that can be read");
  }
  const secure = url.protocol === "https:";
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  if (port === 0) throw new CallbackError("names port 0, which nobody listens on");
  try {
    const place = hostOf(url.hostname, authority.replace(/:\d*$/, ""));
    return { secure, ...place, port, path: url.pathname + url.search, authority: url.host, origin: url.origin };
  } catch (error) {
    if (error instanceof AddressError) throw new CallbackError(`names a host that cannot be: ${error.message}`);
    throw error;
  }
}
