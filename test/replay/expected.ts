/**
 * Which packets of a capture would a rule for one inner destination take, according to tshark?
 *
 * tshark reads the capture; this file only applies what docs/packet-path.md says to the fields that it prints. A packet
 * is wanted when it is a G-PDU to port 2152 in one piece whose inner IPv4 destination is the rule's, when its tunnel is
 * the first one that carried the inner source, and when, for TCP, its connection's SYN came before.
 */
import { tsharkFields } from "../packets/tshark.ts";

const fields = [
  "frame.number",
  "frame.len",
  "frame.cap_len",
  "ip.src",
  "ip.dst",
  "ip.proto",
  "ip.ttl",
  "ip.checksum.status",
  "ip.flags.mf",
  "ip.frag_offset",
  "udp.dstport",
  "gtp.message",
  "gtp.teid",
  "tcp.flags",
  "tcp.srcport",
  "tcp.dstport",
  "icmp.type",
  "ip.hdr_len",
  "vlan.id",
  "ip.id",
  "ip.len",
  "udp.length",
  "gtp.length",
  "gtp.flags",
] as const;

export interface Row {
  number: number;
  whole: boolean;
  get(field: (typeof fields)[number]): string[];
}

const preferences = [
  "-o",
  "ip.defragment:FALSE",
  "-o",
  "ip.check_checksum:TRUE",
  "-o",
  "tcp.desegment_tcp_streams:FALSE",
];

export function rowsOf(path: string): Row[] {
  return tsharkFields(path, fields, preferences).map((cells) => ({
    number: Number(cells[0]),
    whole: cells[1] === cells[2],
    get: (field) => (cells[fields.indexOf(field)] ?? "").split(",").filter((text) => text !== ""),
  }));
}

const unicast = (text: string | undefined) => {
  const first = Number((text ?? "0").split(".")[0]);
  return first !== 0 && first !== 127 && first < 224;
};
const isTrue = (text: string | undefined) => text === "1" || text === "True";

interface Gpdu {
  row: Row;
  tunnel: string;
  source: string;
  destination: string;
  protocol: number;
}

/** G-PDUs with IPv4 in IPv4 that teach and could be taken; anything that tshark finds odd is left out. */
function gpdus(rows: readonly Row[]): Gpdu[] {
  return rows.flatMap((row) => {
    const [source, destination, protocol] = [row.get("ip.src"), row.get("ip.dst"), row.get("ip.proto")];
    const good = row.get("ip.checksum.status");
    const [message] = row.get("gtp.message");
    if (!row.whole || !message || Number(message) !== 255 || row.get("udp.dstport")[0] !== "2152") return [];
    if (source.length < 2 || protocol[0] !== "17" || Number(row.get("gtp.teid")[0]) === 0) return [];
    if (isTrue(row.get("ip.flags.mf")[0]) || Number(row.get("ip.frag_offset")[0]) > 0) return [];
    if (!unicast(source[0]) || !unicast(destination[0]) || !unicast(source[1])) return [];
    if (good[0] !== "1" || row.get("ip.hdr_len")[0] !== "20") return [];
    // The UPF of VPP counts eight octets too many where there is a PDU Session Container: a length that lies.
    if (Number(row.get("gtp.length")[0]) !== Number(row.get("udp.length")[0]) - 16) return [];
    const tags = row.get("vlan.id").map(Number).join(".");
    const tunnel = `${destination[0]}/${row.get("gtp.teid")[0]}/${tags}`;
    return [{ row, tunnel, source: source[1] ?? "", destination: destination[1] ?? "", protocol: Number(protocol[1]) }];
  });
}

/** May an app see it? */
function fit({ row }: Gpdu): boolean {
  const at = (field: (typeof fields)[number]) => row.get(field)[1];
  const flags = Number(row.get("gtp.flags")[0]) & 7;
  const headers = Number(row.get("ip.len")[0]) - 36 - Number(row.get("ip.len")[1]);
  if (flags & 4 ? headers % 4 !== 0 || headers < 8 : headers !== (flags ? 4 : 0)) return false;
  return at("ip.checksum.status") === "1" && at("ip.hdr_len") === "20" && Number(at("ip.ttl")) >= 2;
}

/** Inner IPv4 destinations, most frequent first. */
export function destinations(rows: readonly Row[]): string[] {
  const counts = new Map<string, number>();
  for (const { destination } of gpdus(rows)) counts.set(destination, (counts.get(destination) ?? 0) + 1);
  return [...counts]
    .filter(([text]) => unicast(text))
    .sort((a, b) => b[1] - a[1])
    .map(([text]) => text);
}

/** Numbers of the frames that a rule for everything to `destination` takes. */
export function expectedTaken(rows: readonly Row[], destination: string): Set<number> {
  const owner = new Map<string, string>();
  const carries = new Map<string, string>();
  const claims = new Set<string>();
  const open = new Set<string>();
  const firsts = new Set<string>();
  const taken = new Set<number>();
  for (const packet of gpdus(rows)) {
    const { row, tunnel, source, protocol } = packet;
    const wanted = packet.destination === destination;
    if (wanted && !fit(packet)) continue; // is not even learnt from
    // The first tunnel that a UE uses is its own; the first UE in a tunnel is the tunnel's.
    if (!owner.has(source) && !carries.has(tunnel)) {
      owner.set(source, tunnel);
      carries.set(tunnel, source);
    } else if (!carries.has(tunnel) && !claims.has(source)) {
      // A known UE on an unknown tunnel is a claim, which occupies the tunnel; one at a time.
      claims.add(source);
      carries.set(tunnel, "a claim");
    }
    if (!wanted || owner.get(source) !== tunnel || carries.get(tunnel) !== source) continue;
    const piece = `${source}/${row.get("ip.id")[1]}/${protocol}`;
    if (Number(row.get("ip.frag_offset")[1]) > 0) {
      if (firsts.has(piece)) taken.add(row.number);
      continue;
    }
    const flags = Number(row.get("tcp.flags")[0] ?? 0);
    const connection = `${source}/${row.get("tcp.srcport")[0]}/${row.get("tcp.dstport")[0]}`;
    if (protocol === 6 && (flags & 0x17) === 2) open.add(connection);
    const type = Number(row.get("icmp.type")[0] ?? -1);
    const takes =
      protocol === 17 || (protocol === 6 && open.has(connection)) || (protocol === 1 && (type === 8 || type === 0));
    if (!takes) continue;
    taken.add(row.number);
    if (isTrue(row.get("ip.flags.mf")[1])) firsts.add(piece);
  }
  return taken;
}
