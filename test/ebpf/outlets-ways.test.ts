// mostly waits
/**
 * B1: do frames leave whole, by GRE and to next hops that are found; is a copy, and only the copy, what its outlet says?
 *
 *   enb0 ═ acc0 ── s1 ── cor0 ═ sgw0      apps0 ═ app0      tap0 ═ see0 (copies)      out0 ═ far0 (output)
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import type { Copy, Outlet, SteeringRule, Treatment } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "./namespace.ts";
import {
  backend,
  cable,
  downlink,
  fromCore,
  hexIp,
  ipv4,
  macOf,
  makeSite,
  marked,
  other,
  send,
  UE,
  udp,
  until,
  uplink,
} from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

makeSite();
cable("tap0", "see0");
cable("out0", "far0");
for (const name of ["tap0", "out0"]) ip(`link set ${name} up`);
ip("addr add 192.0.2.1/24 dev out0");
ip("addr add 198.51.100.1/24 dev tap0");

const far = "02:aa:00:00:00:01";
const farHex = far.replaceAll(":", "");
const seen = (mirror: NonNullable<Treatment["mirror"]>): SteeringRule => ({
  ...{ id: 8, service: 2, name: "seen", priority: 50, appInitiated: false },
  match: { destination: ["203.0.113.99/32"] },
  action: "pass",
  treatment: { mirror },
});
const leaves = (output: Outlet, action: "forward" | "route" = "forward"): SteeringRule => ({
  ...{ id: 9, service: 3, name: "away", priority: 60, appInitiated: false },
  match: { destination: ["203.0.113.70/32"] },
  action,
  output,
});
/** Running flows keep their way: each rule is met by a flow of its own. */
let port = 5000;
const inner = (text: string): string => ipv4(UE, "203.0.113.70", 17, udp(port, 53, marked(text)));
const away = (text: string): string => uplink(inner(text));
/** What a frame carries. */
const carried = (frame: string): string => frame.slice(28);

let plane = new EbpfDataplane(backend);
async function apply(...rules: SteeringRule[]): Promise<void> {
  port++;
  await plane.apply({ rules, protect: [] });
  assert.equal(await plane.differences({ rules, protect: [] }), []);
}
const said = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "",
    (error: Error) => error.message,
  );

test("B1: forwarded, a frame leaves by the output as it is, or to the MAC address that is given", async () => {
  await plane.start();
  await apply();
  send("enb0", other("learn"), "sgw0", marked("learn"));
  send("sgw0", fromCore("learn"), "enb0", marked("learn"));
  await apply(leaves({ port: "out0" }));
  for (const text of ["one", "two"]) assert.is(send("enb0", away(text), "far0", marked(text)), away(text));
  await apply(leaves({ port: "out0", mac: far }));
  assert.is(send("enb0", away("mac"), "far0", marked("mac")), `${farHex}${macOf("out0")}0800${carried(away("mac"))}`);
});

test("B1: a flow that is forwarded leaves by the output in both directions until it ends, also when its rule goes", async () => {
  await apply(leaves({ port: "out0" }));
  const back = (text: string): string => downlink(ipv4("203.0.113.70", UE, 17, udp(53, port, marked(text))));
  const bothWays = (text: string): void => {
    assert.is(send("enb0", away(`${text} up`), "far0", marked(`${text} up`)), away(`${text} up`));
    assert.is(send("sgw0", back(`${text} down`), "far0", marked(`${text} down`)), back(`${text} down`));
  };
  bothWays("begun");
  await plane.apply({ rules: [], protect: [] });
  bothWays("without a rule");
  await plane.collect();
  bothWays("collected");
  await plane.apply({ rules: [], protect: [] });
  bothWays("and other rules");
  // A new flow goes its own way.
  port++;
  assert.is(send("enb0", away("another"), "sgw0", marked("another")), away("another"));
});

test("B1: a next hop that is not known lets packets pass; when it answers they leave, and when it moves they follow", async () => {
  await apply(leaves({ port: "out0", address: "192.0.2.9" }));
  assert.is(send("enb0", away("early"), "sgw0", marked("early")), away("early"));
  const follows = async (mac: string, text: string): Promise<void> => {
    ip(`neigh replace 192.0.2.9 lladdr ${mac} dev out0 nud permanent`);
    let n = 0;
    const gone = (): boolean => {
      try {
        n++;
        port++;
        return send("enb0", away(`${text} ${n}`), "far0", marked(`${text} ${n}`)).startsWith(mac.replaceAll(":", ""));
      } catch {
        return false;
      }
    };
    await until(gone);
  };
  await follows(far, "found");
  await follows("02:aa:00:00:00:02", "moved");
});

test("B1: GRE to a tunnel end, around the inner packet or the whole tunnel", async () => {
  ip(`neigh replace 192.0.2.9 lladdr ${far} dev out0 nud permanent`);
  const tunnel = { type: "gre", destination: "192.0.2.9" } as const;
  await apply(leaves({ port: "out0", tunnel }, "route"));
  const routed = send("enb0", away("routed"), "far0", marked("routed"));
  assert.is(routed.slice(0, 28), `${farHex}${macOf("out0")}0800`);
  assert.is(routed.slice(28 + 24, 28 + 40), hexIp("192.0.2.1") + hexIp("192.0.2.9"));
  assert.is(routed.slice(28 + 40), `00000800${inner("routed")}`);
  // Without a port: the appliance's routing says by which adapter.
  await apply(leaves({ tunnel }));
  assert.is(send("enb0", away("whole"), "far0", marked("whole")).slice(28 + 40), `00000800${carried(away("whole"))}`);
});

test("B1: an output to which nothing leads is refused, and says why", async () => {
  const tunnel = { type: "gre", destination: "198.18.77.1" } as const;
  assert.match(await said(apply(leaves({ tunnel }))), /rule away leads to 198.18.77.1: the appliance has no route/);
  assert.match(
    await said(apply(leaves({ port: "nowhere0" }))),
    /rule away leaves by nowhere0: there is no such adapter/,
  );
  const { output: _none, ...bare } = leaves({ port: "out0" });
  assert.match(await said(apply(bare)), /rule away: output is required with forward/);
});

const copied: [string, Copy, (frame: string, inside: string) => string][] = [
  ["as it is, to a MAC address", { port: "tap0", form: "as-is", mac: far }, (frame) => carried(frame)],
  ["decapsulated, to a MAC address", { port: "tap0", form: "decapsulated", mac: far }, (_, inside) => inside],
];
for (const native of [true, false]) {
  test(`B1: ${native ? "native" : "generic"}: a copy is changed, and what is copied is not`, async () => {
    if (!native) {
      await plane.down({ unwire: true });
      execFileSync("ethtool", ["-K", "sgw0", "gro", "off"]);
      plane = new EbpfDataplane(backend);
      await plane.start();
      await apply();
      send("enb0", other("learn"), "sgw0", marked("learn"));
      send("sgw0", fromCore("learn"), "enb0", marked("learn"));
    }
    assert.is(plane.status()[0]!.ports[0]!.path, native ? "native" : "generic");
    for (const [what, copy, expected] of copied) {
      await apply(seen(copy));
      const inside = (text: string) => ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked(text)));
      for (const n of [1, 2, 3]) {
        const text = `${what} ${n}`;
        const copyOf = send("enb0", other(text), "see0", marked(text));
        assert.is(copyOf, `${farHex}${macOf("tap0")}0800${expected(other(text), inside(text))}`);
        const on = `${what} on ${n}`;
        assert.is(send("enb0", other(on), "sgw0", marked(on)), other(on), "untouched");
        const back = `${what} back ${n}`;
        assert.is(send("sgw0", fromCore(back), "enb0", marked(back)), fromCore(back), "untouched");
      }
    }
  });
}

test("B1: a copy for each direction, and one into GRE", async () => {
  const up: Copy = { port: "tap0", form: "decapsulated", mac: far };
  ip(`neigh replace 198.51.100.9 lladdr ${far} dev tap0 nud permanent`);
  const down: Copy = {
    port: "tap0",
    form: "as-is",
    tunnel: { type: "gre", source: "198.51.100.1", destination: "198.51.100.9" },
  };
  await apply(seen({ uplink: up, downlink: down }));
  assert.is(
    send("enb0", other("up"), "see0", marked("up")).slice(24),
    `0800${ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked("up")))}`,
  );
  const got = send("sgw0", fromCore("down"), "see0", marked("down"));
  assert.is(got.slice(28 + 24, 28 + 40), hexIp("198.51.100.1") + hexIp("198.51.100.9"));
  assert.is(got.slice(28 + 40), `00000800${carried(fromCore("down"))}`);
  await plane.down({ unwire: true });
});

test.run();
