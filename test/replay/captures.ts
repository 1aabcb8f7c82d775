/**
 * Which frames are in a capture file, as Ethernet?
 *
 * Reads pcap and pcapng with libpcap (npm `pcap`). Captures of the "any" interface have a Linux "cooked" header
 * (LINKTYPE_LINUX_SLL) of 16 octets instead of an Ethernet header; it is replaced by one with made-up addresses, so that
 * the EtherType stays and everything after it is untouched.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pcap from "pcap";
import { concat } from "../packets/bytes.ts";

export const capturesFolder = fileURLToPath(new URL("../../../shared/pcaps/", import.meta.url));

/** Paths of all captures; empty when ../shared is absent. */
export function captureFiles(): string[] {
  if (!existsSync(capturesFolder)) return [];
  return readdirSync(capturesFolder)
    .filter((name) => /\.pcap(ng)?$/.test(name))
    .sort()
    .map((name) => join(capturesFolder, name));
}

const cookedHeader = 16;
const madeUp = Uint8Array.from([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);

function ethernet(frame: Uint8Array, linkType: string): Uint8Array {
  if (linkType === "LINKTYPE_ETHERNET") return frame;
  if (linkType === "LINKTYPE_LINUX_SLL") return concat(madeUp, frame.subarray(cookedHeader - 2));
  throw new Error(`unknown link type ${linkType}`);
}

/** All frames in order, as far as they were captured. */
export function readCapture(path: string): Promise<Uint8Array[]> {
  return new Promise((resolve, reject) => {
    const frames: Uint8Array[] = [];
    const session = pcap.createOfflineSession(path);
    session.on("packet", ({ buf, header, link_type }: { buf: Buffer; header: Buffer; link_type: string }) => {
      const captured = header.readUInt32LE(8);
      try {
        frames.push(ethernet(new Uint8Array(buf.subarray(0, captured)), link_type));
      } catch (error) {
        reject(error);
      }
    });
    session.on("complete", () => {
      session.close();
      resolve(frames);
    });
  });
}
