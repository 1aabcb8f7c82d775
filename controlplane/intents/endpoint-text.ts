/**
 * How is an endpoint written, and which endpoints does a text mean?
 */
import type { Endpoint } from "../../dataplane/steering.ts";
import { AddressError, formatAddress, parseAddress, parseSocketAddress } from "./prefix.ts";

/** `10.60.0.2`, `10.60.0.2:80`, `[2001:db8::2]:80` */
export const socketText = ({ address, port }: Pick<Endpoint, "address" | "port">): string =>
  port === undefined ? address : `${address.includes(":") ? `[${address}]` : address}:${port}`;

/** Without a port: every endpoint of that address. @throws AddressError */
export function parseSocketText(text: string): Pick<Endpoint, "address" | "port"> {
  const plain = !text.startsWith("[") && text.split(":").length !== 2;
  if (plain) return { address: formatAddress(parseAddress(text)) };
  const { address, port } = parseSocketAddress(text);
  if (port === undefined) throw new AddressError(`"${text}" has no port`);
  return { address: formatAddress(address), port };
}
