/**
 * How does a test write a zip that no good program would write?
 *
 * Names, types, sizes and checksums are whatever the test says (APPNOTE.TXT §4.3); what it does not say is right.
 */
import { createHash } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import { formatManifest } from "../../../mep/packages/manifest.ts";

export interface Member {
  name: string | Buffer;
  data?: string | Buffer;
  /** UNIX type and permissions. */
  mode?: number;
  /** 8: deflated; anything else is only claimed. */
  method?: number;
  /** Claimed instead of the true one. */
  size?: number;
  crc?: number;
  flags?: number;
}

const u16 = (value: number) => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
};
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};

export function zip(members: readonly Member[], { count }: { count?: number } = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const member of members) {
    const { method = 0, mode = 0o100644, flags = 0x800 } = member;
    const name = Buffer.from(member.name);
    const data = Buffer.from(member.data ?? "");
    const stored = method === 8 ? deflateRawSync(data) : data;
    const common = Buffer.concat([
      u16(flags),
      u16(method),
      u16(0),
      u16(0x21),
      u32(member.crc ?? crcOf(data)),
      u32(stored.length),
      u32(member.size ?? data.length),
      u16(name.length),
      u16(0),
    ]);
    const local = Buffer.concat([u32(0x04034b50), u16(20), common, name, stored]);
    directory.push(
      Buffer.concat([
        u32(0x02014b50),
        u16((3 << 8) | 20),
        u16(20),
        common,
        u16(0),
        u16(0),
        u16(0),
        u32(mode << 16),
        u32(offset),
        name,
      ]),
    );
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const entries = count ?? members.length;
  const end = [u32(0x06054b50), u16(0), u16(0), u16(entries), u16(entries), u32(central.length), u32(offset), u16(0)];
  return Buffer.concat([...parts, central, ...end]);
}

function crcOf(data: Buffer): number {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** An AppD with everything that is required, of an app that runs on a machine of its own. */
export const externalAppD = (changes: Record<string, unknown> = {}): Record<string, unknown> => ({
  appDId: "com.example.cache",
  appName: "cache",
  appProvider: "example",
  appSoftVersion: "1.0",
  appDVersion: "1",
  mecVersion: "2.2.1,3.1.1",
  appDescription: "a cache",
  "x-offramp": { runtime: { kind: "external" }, addresses: ["10.60.0.10"] },
  ...changes,
});

/** Files and the manifest that goes with them. */
export function members(files: Record<string, string | Buffer>, manifest = true): Member[] {
  const all = Object.entries(files).map(([name, data]) => ({ name, data }));
  if (!manifest) return all;
  const hashes = new Map(all.map(({ name, data }) => [name, createHash("sha256").update(data).digest("hex")]));
  return [{ name: "package.mf", data: formatManifest({ app_product_name: "test" }, hashes) }, ...all];
}

/** A good package. */
export const goodPackage = (appd = externalAppD(), files: Record<string, string | Buffer> = {}): Buffer =>
  zip(members({ "appd.json": JSON.stringify(appd), ...files }));
