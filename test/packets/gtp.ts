/**
 * What do GTP-U messages look like?
 *
 * TS 29.281 §5 (header, extension headers), §7 (messages), §8 (information elements); TS 38.415 §5.5 (PDU Session
 * Container). As in layers.ts everything comes out right by itself and every field can be given wrong.
 */
import { address, concat, u8, u16, u32 } from "./bytes.ts";
import type { Layer } from "./layers.ts";

/** An extension header: type, length in words of four octets, content. The next type is filled in by `gtpu`. */
export interface GtpExtension {
  type: number;
  content: Uint8Array;
  /** In words; forced. */
  length?: number;
  /** Type of the following header; forced. */
  next?: number;
}

export interface Gtpu {
  version?: number;
  /** Protocol type: 1 GTP, 0 GTP'. */
  pt?: number;
  spare?: number;
  e?: boolean;
  s?: boolean;
  pn?: boolean;
  type?: number;
  length?: number;
  teid?: number;
  seq?: number;
  npdu?: number;
  /** First extension type; forced. */
  next?: number;
  ext?: GtpExtension[];
  /** Leaves the optional four octets away although flags promise them. */
  short?: boolean;
}

function extensionBytes(list: GtpExtension[]): Uint8Array {
  return concat(
    ...list.map((ext, i) =>
      concat(u8(ext.length ?? (ext.content.length + 2) / 4), ext.content, u8(ext.next ?? list[i + 1]?.type ?? 0)),
    ),
  );
}

/** E follows from `ext`, S from `seq`, PN from `npdu`, unless given. */
export const gtpu = (f: Gtpu = {}): Layer => ({
  kind: "gtpu",
  build: (payload) => {
    const list = f.ext ?? [];
    const e = f.e ?? list.length > 0;
    const s = f.s ?? f.seq !== undefined;
    const pn = f.pn ?? f.npdu !== undefined;
    const optional =
      (e || s || pn) && !f.short
        ? concat(u16(f.seq ?? 0), u8(f.npdu ?? 0), u8(f.next ?? list[0]?.type ?? 0))
        : new Uint8Array();
    const rest = concat(optional, extensionBytes(list), payload);
    const flags =
      ((f.version ?? 1) << 5) | ((f.pt ?? 1) << 4) | ((f.spare ?? 0) << 3) | (e ? 4 : 0) | (s ? 2 : 0) | (pn ? 1 : 0);
    return concat(u8(flags), u8(f.type ?? 255), u16(f.length ?? rest.length), u32(f.teid ?? 0), rest);
  },
});

/** Any extension header; content is 2 + n * 4 octets. */
export const ext = (type: number, content: Uint8Array | number = 2): GtpExtension => ({
  type,
  content: typeof content === "number" ? new Uint8Array(content) : content,
});

export interface Psc {
  /** PDU type: 0 downlink, 1 uplink. */
  type?: number;
  qfi?: number;
  /** Downlink: reflective QoS indication, paging policy presence and indicator. */
  rqi?: boolean;
  ppi?: number;
  /** Octets of content before the next type: 2, 6, … */
  size?: number;
}

/** PDU Session Container, type 0x85. */
export function psc(f: Psc = {}): GtpExtension {
  const content = new Uint8Array(f.size ?? (f.ppi === undefined ? 2 : 6));
  content[0] = (f.type ?? 0) << 4;
  content[1] = (f.ppi === undefined ? 0 : 0x80) | (f.rqi ? 0x40 : 0) | (f.qfi ?? 9);
  if (f.ppi !== undefined && content.length > 2) content[2] = f.ppi << 5;
  return { type: 0x85, content };
}

/** Echo request (1) or response (2) with Recovery (IE 14). */
export const echo = (f: { response?: boolean; recovery?: number } & Gtpu = {}): Layer[] => [
  gtpu({ type: f.response ? 2 : 1, teid: 0, seq: 1, ...f }),
  bytes(concat(u8(14), u8(f.recovery ?? 0))),
];

/** Tunnel Endpoint Identifier Data I (IE 16) and GTP-U Peer Address (IE 133), TS 29.281 §7.3.1. */
export function errorIndication(f: { teid: number; peer: string; ies?: Uint8Array } & Gtpu): Layer[] {
  const peer = address(f.peer);
  const ies = f.ies ?? concat(u8(16), u32(f.teid), u8(133), u16(peer.length), peer);
  return [gtpu({ seq: 1, ...f, type: 26, teid: 0 }), bytes(ies)];
}

export const endMarker = (teid: number, f: Gtpu = {}): Layer => gtpu({ ...f, type: 254, teid });

/** Supported Extension Headers Notification with the list IE 141. */
export const supportedExtensions = (): Layer[] => [
  gtpu({ type: 31, teid: 0, seq: 1 }),
  bytes(concat(u8(141), u8(1), u8(0x85))),
];

/** GTP version 0 (GSM 09.60): 20 octets of header. */
export const gtp0 = (type = 255): Layer => ({
  kind: "gtp0",
  build: (payload) =>
    concat(u8(0x1e), u8(type), u16(payload.length), u16(1), u16(0), u32(0xffffff00), new Uint8Array(8), payload),
});

const bytes = (content: Uint8Array): Layer => ({ kind: "payload", build: (rest) => concat(content, rest) });
