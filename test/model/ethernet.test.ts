/**
 * Do the programs and the reference model agree on every frame without a tunnel (A14)?
 *
 * As differential.test.ts, with the programs of the Ethernet plug-in; OFFRAMP_FRAMES, OFFRAMP_SEED, OFFRAMP_NETWORK and
 * OFFRAMP_STRICT work alike.
 */
import { test } from "uvu";
import { concat, eth, frame, type Layers, vlan, zeros } from "../packets/frame.ts";
import { mutate } from "../packets/mutate.ts";
import type { Random } from "../packets/prng.ts";
import { answerTo, fromApp, inner, plain, raw, type Sent } from "./generate.ts";
import { agree } from "./networks.ts";
import { config, type Ue } from "./population.ts";

const wanted = Number(process.env.OFFRAMP_FRAMES ?? 50_000);

const stations = ["02:aa:00:00:00:01", "02:aa:00:00:00:02", "02:aa:00:00:00:03"];
const gateways = ["02:cc:00:00:00:01", "02:cc:00:00:00:02"];
const odd = ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"];

/** Clients share stations, as behind a router; some wander, between stations and VLANs. */
function plainly(r: Random, ue: Ue, up: boolean): Uint8Array[] {
  const own = Number(ue.v4?.split(".")[3] ?? 0) % stations.length;
  const station = r.oneIn(ue.calm ? 60 : 6) ? r.pick(r.oneIn(4) ? odd : stations) : stations[own]!;
  const gateway = r.oneIn(ue.calm ? 60 : 10) ? r.pick(r.oneIn(3) ? odd : gateways) : gateways[0]!;
  const tags = r.oneIn(60) ? [r.below(4096)] : ue.tags;
  return inner(r, ue, up).map((bytes) => {
    const v6 = bytes[0]! >> 4 === 6;
    const type = tags.length === 2 ? 0x88a8 : tags.length ? 0x8100 : undefined;
    const link: Layers = [
      eth({ src: up ? station : gateway, dst: up ? gateway : station, type }),
      tags.map((id) => vlan(id, { pcp: own })),
    ];
    return concat(
      frame([link, raw(bytes, v6 ? "ipv6" : "ipv4")]),
      r.oneIn(15) ? frame([zeros(r.below(20))]) : new Uint8Array(),
    );
  });
}

function generate(r: Random, ues: readonly Ue[], taken: readonly Uint8Array[]): Sent[] {
  const ue = r.pick(ues);
  const many = (port: Sent["port"], frames: Uint8Array[]): Sent[] => frames.map((bytes) => ({ port, frame: bytes }));
  const n = r.below(100);
  let sent: Sent[];
  if (n < 52) sent = many("access", plainly(r, ue, true));
  else if (n < 70) sent = many("core", plainly(r, ue, false));
  else if (n < 85 && taken.length > 0) sent = many("return", [answerTo(r, r.pick(taken))]);
  else if (n < 95) sent = many("return", fromApp(r, ue));
  else sent = many(r.pick(["access", "core", "return"]), [plain(r)]);
  return sent.map((one) => (r.below(100) < 30 ? { ...one, frame: mutate(one.frame, r) } : one));
}

test(`A14: ${wanted} generated and mutated frames on Ethernet: programs and model agree`, () =>
  agree(wanted, {
    config: (r) => ({ ...config(r), ethernet: true, accessPeers: undefined, corePeers: undefined }),
    generate,
  }));

test.run();
