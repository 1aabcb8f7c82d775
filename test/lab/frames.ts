/**
 * What comes out of the far end of a wire when these frames go into the near one?
 *
 * Frames are sent as they are by tcpreplay and recorded by tcpdump. Both machines talk by themselves as well (ARP,
 * neighbour discovery), so what is compared is what carries the source link address of the sent frames.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pcapFile } from "../packets/tshark.ts";
import type { Lab } from "./lab.ts";
import { must, until } from "./netns.ts";

/** Frames of a classic capture file in this machine's byte order. */
export function readPcap(file: string): Uint8Array[] {
  const data = readFileSync(file);
  const frames: Uint8Array[] = [];
  let at = 24;
  while (at + 16 <= data.length) {
    const length = data.readUInt32LE(at + 8);
    if (at + 16 + length > data.length) break;
    frames.push(Uint8Array.from(data.subarray(at + 16, at + 16 + length)));
    at += 16 + length;
  }
  return frames;
}

let serial = 0;

/** Sends frames from `from`'s eth0 and returns what arrives at `to`'s eth0 from `source`, in order. */
export async function transfer(
  lab: Lab,
  from: string,
  to: string,
  frames: readonly Uint8Array[],
  source = "02:00:00:00:00:01",
): Promise<Uint8Array[]> {
  serial += 1;
  const sent = join(lab.machines.directory, `sent${serial}.pcap`);
  const seen = join(lab.machines.directory, `seen${serial}.pcap`);
  writeFileSync(sent, pcapFile(frames));
  const capture = lab.machines.start(to, "tcpdump", [
    ...["tcpdump", "-i", "eth0", "-Q", "in", "-U", "-B", "16384", "-s", "0", "-w", seen, "-Z", "root"],
    ...["ether", "src", source],
  ]);
  await capture.said(/listening on/);
  await must(["ip", "netns", "exec", lab.ns(from), "tcpreplay", "-q", "-p", "2000", "-i", "eth0", sent], {
    timeoutMs: 120_000,
  });
  await until("all frames", () => readPcap(seen).length >= frames.length, 1500).catch(() => undefined);
  await capture.end("SIGINT");
  return readPcap(seen);
}
