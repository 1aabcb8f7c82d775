/**
 * Does the back end serve plain Ethernet on real adapters: armed, described, adopted, expired, changed to another plug-in?
 *
 * A13, A14: the programs of `plugin: ethernet` beside those of `gtp`, by the same loader, on the same tables.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DataplaneConfig, DataplaneEvent } from "../../dataplane/dataplane.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { inNamespace } from "./namespace.ts";
import {
  backend,
  cable,
  ipv4,
  macOf,
  makeSite,
  marked,
  other,
  request,
  s1,
  send,
  UE,
  udp,
  until,
  web,
} from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));
makeSite();
cable("wifi0", "ap0");
cable("lan0", "gw0");

const { pinger: _pinger, ...plain } = s1;
const wifi: DataplaneConfig = { ...plain, name: "wifi", plugin: "ethernet", access: "wifi0", core: "lan0" };
const HOST = "10.80.0.10";
const client = "02aa00000007";
const router = "02cc00000001";
const colons = (mac: string): string => mac.match(/../g)!.join(":");
const tag = "8100000a";
const up = (inner: string, tags = ""): string => `${router}${client}${tags}0800${inner}`;
const ask = (text: string, tags = ""): string => up(ipv4(HOST, "203.0.113.80", 17, udp(5000, 80, marked(text))), tags);
const otherwise = (text: string, tags = ""): string =>
  up(ipv4(HOST, "203.0.113.99", 17, udp(5000, 53, marked(text))), tags);
const tell = (text: string): string =>
  `${macOf("apps0")}${macOf("app0")}0800${ipv4("10.60.0.10", HOST, 17, udp(8080, 5000, marked(text)))}`;
const both = { ...backend, dataplanes: [s1, wifi] };

/** The client asks, the app answers it behind its own tags. */
function served(text: string, tags = ""): void {
  assert.ok(send("ap0", ask(`${text} ask`, tags), "app0", marked(`${text} ask`)).includes("0a3c000a"), "at the app");
  const back = send("app0", tell(`${text} tell`), "ap0", marked(`${text} tell`));
  assert.is(back.slice(0, 24 + tags.length + 4), `${client}${router}${tags}0800`, "from its gateway, to its MAC");
}

test("A14: frames cross, a rule takes them, replies find the client; the session says where it is", async () => {
  const plane = new EbpfDataplane(both);
  try {
    await plane.start();
    await plane.apply({ rules: [web], protect: [] });
    const frame = otherwise("untouched", tag);
    assert.is(send("ap0", frame, "gw0", marked("untouched")), frame);
    const back = `${client}${router}${tag}0800${ipv4("203.0.113.99", HOST, 17, udp(53, 5000, marked("back")))}`;
    assert.is(send("gw0", back, "ap0", marked("back")), back);
    served("first", tag);
    const { sessions } = plane.sessions({ dataplane: "wifi" });
    assert.equal(
      sessions.map(({ ue, state, station, bearers, baseStation }) => ({ ue, state, station, bearers, baseStation })),
      [
        {
          ue: HOST,
          state: "up",
          station: { mac: colons(client), gatewayMac: colons(router), vlans: [10] },
          bearers: [],
          baseStation: undefined,
        },
      ],
    );
    assert.equal(
      plane.status().map(({ name, plugin, programs }) => [name, plugin, programs.map((program) => program.name)]),
      [
        ["s1", "gtp", ["access", "core"]],
        ["wifi", "ethernet", ["ether_access", "ether_core"]],
      ],
    );
  } finally {
    await plane.stop();
  }
  served("nobody home", tag);
});

test("A14: the next run adopts what it finds, sessions included", async () => {
  const plane = new EbpfDataplane(both);
  try {
    await plane.start();
    assert.equal(
      plane.status().map(({ adopted }) => adopted),
      [true, true],
    );
    assert.is(plane.sessions({ ue: HOST }).sessions[0]?.dataplane, "wifi");
    served("adopted", tag);
  } finally {
    await plane.stop();
  }
});

test("A15: what lives on one wire is refused on the other, with both names, until it has expired there", async () => {
  const events: DataplaneEvent[] = [];
  const plane = new EbpfDataplane({ ...both, dataplanes: [{ ...s1, idleTimeout: 1 }, wifi] });
  try {
    await plane.start();
    plane.on((event) => events.push(event));
    send("enb0", other("in a tunnel"), "sgw0", marked("in a tunnel"));
    const thief = (text: string) => up(ipv4(UE, "203.0.113.80", 17, udp(5000, 80, marked(text))));
    assert.is(send("ap0", thief("passes"), "gw0", marked("passes")), thief("passes"));
    await until(() => events.some(({ type }) => type === "overlap"));
    const { dataplane, other: met, ue } = events.find(({ type }) => type === "overlap")!;
    assert.equal([dataplane, met, ue], ["s1", "wifi", UE]);
    const gone = () => events.some((event) => event.type === "session-idle" && event.ue === UE);
    for (let i = 0; i < 100 && !gone(); i++) {
      await plane.collect();
      await sleep(50);
    }
    assert.ok(gone());
    assert.ok(send("ap0", thief("is taken"), "app0", marked("is taken")).includes("0a3c000a"));
    assert.is(plane.sessions({ ue: UE }).sessions[0]?.dataplane, "wifi");
  } finally {
    await plane.stop();
  }
});

test("A13: an Ethernet data plane comes and goes while the other works", async () => {
  const plane = new EbpfDataplane({ ...backend, dataplanes: [s1, wifi] });
  try {
    await plane.start();
    await plane.remove("wifi", { unwire: false });
    assert.is(plane.sessions({ dataplane: "wifi" }).total, 0);
    const frame = otherwise("by the bridge");
    assert.is(send("ap0", frame, "gw0", marked("by the bridge")), frame);
    send("enb0", request("still"), "app0", marked("still"));
    await plane.add(wifi);
    served("again");
    assert.is(plane.sessions({ ue: HOST }).sessions[0]?.station?.mac, colons(client));
  } finally {
    await plane.stop();
  }
});

test("A13: adapters that get another plug-in in the next run keep nothing of the old one's sessions", async () => {
  const plane = new EbpfDataplane({ ...both, dataplanes: [s1, { ...wifi, plugin: "gtp" }] });
  try {
    await plane.start();
    assert.is(plane.sessions({ ue: HOST }).total, 0);
    assert.equal(
      plane.status()[1]?.programs.map(({ name }) => name),
      ["access", "core"],
    );
    const frame = ask("not a tunnel");
    assert.is(send("ap0", frame, "gw0", marked("not a tunnel")), frame);
  } finally {
    await plane.down({ unwire: true });
  }
});

test.run();
