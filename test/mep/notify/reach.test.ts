/** Which addresses could an app reach by itself, and may so be notified at (B1, B5, HOSTILE §4 SSRF)? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { contains, host, parseAddress, parsePrefix } from "../../../controlplane/intents/prefix.ts";
import { type Place, reach } from "../../../mep/notify/reach.ts";

const inside: Place = { id: "in", provider: "acme", addresses: ["10.61.0.7", "fd61::7"], external: false };
const sibling: Place = { id: "sib", provider: "acme", addresses: ["10.61.0.8"], external: false };
const outside: Place = { id: "out", provider: "acme", addresses: ["10.60.0.10"], external: true };
const partner: Place = { id: "part", provider: "acme", addresses: ["10.60.0.11"], external: true };
const foreign: Place = { id: "foe", provider: "other", addresses: ["10.60.0.12", "203.0.113.99"], external: true };
const all = [inside, sibling, outside, partner, foreign];

const allowed = reach({
  own: () => ["10.60.0.1/32", "192.0.2.1/32"],
  barred: () => ["198.18.0.0/15", "10.45.0.0/16", "2001:db8:45::/48", "203.0.113.128/25"],
  networks: () => ["10.60.0.0/24"],
  instances: () => all,
  egress: (id) => id === "in" || id === "out",
});
const why = (who: Place | undefined, text: string) => allowed(who, parseAddress(text), 80);

test("B1: an app is notified at its own addresses", () => {
  for (const instance of all) for (const text of instance.addresses) assert.is(why(instance, text), undefined);
});

test("B1: nobody is notified on loopback, link-local, multicast, metadata, or in IPv6 clothes", () => {
  for (const who of [...all, undefined]) {
    for (const [text, reason] of [
      ["127.0.0.1", "loopback"],
      ["127.255.0.9", "loopback"],
      ["::1", "loopback"],
      ["0.0.0.0", "unspecified"],
      ["0.1.2.3", "unspecified"],
      ["::", "unspecified"],
      ["169.254.169.254", "metadata"],
      ["fd00:ec2::254", "metadata"],
      ["169.254.1.1", "link-local"],
      ["fe80::1", "link-local"],
      ["224.0.0.1", "multicast"],
      ["ff02::1", "multicast"],
      ["255.255.255.255", "reserved"],
      ["240.0.0.1", "reserved"],
      ["2002:7f00:1::", "IPv4"],
      ["64:ff9b::7f00:1", "IPv4"],
      ["64:ff9b:1::7f00:1", "IPv4"],
      ["2001:0:1:2:3:4:80ff:fffe", "IPv4"],
      ["::7f00:1", "IPv4"],
      ["::ffff:0:7f00:1", "IPv4"],
    ] as const) {
      assert.match(why(who, text) ?? "allowed", reason, text);
    }
  }
});

test("B1: nobody is notified at the appliance, in protected prefixes, or at phones", () => {
  for (const who of [...all, undefined]) {
    for (const text of ["10.60.0.1", "192.0.2.1"]) assert.match(why(who, text) ?? "", /appliance's own/);
    for (const text of ["198.18.1.2", "10.45.3.4", "2001:db8:45::1", "203.0.113.200"])
      assert.match(why(who, text) ?? "", /no app may send/);
  }
});

test("B5: another app is nobody's callback, unless both are neighbours of one provider on machines of their own", () => {
  assert.match(why(inside, "10.61.0.8") ?? "", /another app's/);
  assert.match(why(inside, "10.60.0.10") ?? "", /another app's/);
  assert.match(why(outside, "10.61.0.7") ?? "", /another app's/);
  assert.match(why(outside, "10.60.0.12") ?? "", /another app's/);
  assert.match(why(inside, "203.0.113.99") ?? "", /another app's/);
  assert.is(why(outside, "10.60.0.11"), undefined);
});

test("B1: networks and the Internet, as far as the app has them", () => {
  assert.is(why(outside, "10.60.0.200"), undefined);
  assert.match(why(inside, "10.60.0.200") ?? "", /not on a network/);
  assert.match(why(inside, "10.61.0.99") ?? "", /not on a network/);
  for (const text of ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "198.19.0.1"])
    assert.ok(why(inside, text), text);
  for (const text of ["203.0.113.10", "8.8.8.8", "2a00:1450::1"]) {
    assert.is(why(inside, text), undefined, text);
    assert.match(why(sibling, text) ?? "", /no way out/);
  }
});

test("B1: management users may name private networks", () => {
  for (const text of ["192.168.1.1", "10.61.0.7", "8.8.8.8"]) assert.is(why(undefined, text), undefined);
});

test("B1: what is allowed to an app without egress is its own or on its network, whatever address it names", () => {
  const network = parsePrefix("10.60.0.0/24");
  fc.assert(
    fc.property(fc.constantFrom(sibling, partner, foreign), fc.oneof(fc.ipV4(), fc.ipV6()), (who, text) => {
      let address: ReturnType<typeof parseAddress>;
      try {
        address = parseAddress(text);
      } catch {
        return; // IPv4 in IPv6 clothes has been refused before
      }
      if (allowed(who, address, 80) !== undefined) return;
      assert.ok(who.addresses.includes(text) || (who.external && contains(network, host(address))), text);
    }),
    { numRuns: 5000 },
  );
});

test.run();
