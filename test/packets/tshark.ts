/**
 * What does somebody who knows nothing of us say about these frames?
 *
 * Writes frames as a classic capture file (microseconds, Ethernet) and asks tshark for fields. Files live in a folder
 * of their own below the system's temporary folder and are gone when the call returns.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function pcapFile(frames: readonly Uint8Array[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(262144, 16);
  head.writeUInt32LE(1, 20);
  const parts = frames.flatMap((bytes, i) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(i, 0);
    record.writeUInt32LE(bytes.length, 8);
    record.writeUInt32LE(bytes.length, 12);
    return [record, Buffer.from(bytes)];
  });
  return Buffer.concat([head, ...parts]);
}

/** Calls `use` with the path of a capture file of these frames. */
export function withCapture<T>(frames: readonly Uint8Array[], use: (path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "offramp-frames-"));
  try {
    const path = join(folder, "frames.pcap");
    writeFileSync(path, pcapFile(frames));
    return use(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One row per frame, one cell per field; several values of one field are joined with `,`. */
export function tsharkFields(path: string, fields: readonly string[], options: readonly string[] = []): string[][] {
  const args = ["-r", path, ...options, "-T", "fields", "-E", "separator=|"];
  for (const field of fields) args.push("-e", field);
  const out = execFileSync("tshark", args, { stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1 << 28 }).toString();
  const lines = out.split("\n");
  lines.pop();
  return lines.map((line) => line.split("|"));
}
