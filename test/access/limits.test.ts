/** Do rate limits, lock-outs and secrets hold against those who try (HOSTILE §4, rows Authentication, Rate)? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { addressKey, Lockout, RateLimit } from "../../controlplane/access/limits.ts";
import { clean, pathOf } from "../../controlplane/access/redact.ts";
import { mayAct, roleForMethod, roles } from "../../controlplane/access/roles.ts";
import { hashSecret, makeSecret, sameHash } from "../../controlplane/access/secrets.ts";

test("B5: a rate limit lets a burst through, then as many as come back, and says how long to wait", () => {
  let now = 0;
  const limit = new RateLimit({ perSecond: 2, burst: 4 }, () => now);
  assert.equal(
    Array.from({ length: 6 }, () => limit.take("a")),
    [0, 0, 0, 0, 1, 1],
  );
  assert.is(limit.take("b"), 0, "another key has its own");
  now = 500;
  assert.equal([limit.take("a"), limit.take("a")], [0, 1]);
  assert.is(limit.refused, 3);
  const slow = new RateLimit({ perSecond: 0.1, burst: 1 }, () => now);
  assert.equal([slow.take("a"), slow.take("a")], [0, 10]);
});

test("B5: over any time no more comes through than the burst and what came back", () => {
  const steps = fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 60 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20 }), (waits, perSecond, burst) => {
      let now = 0;
      const limit = new RateLimit({ perSecond, burst }, () => now);
      let through = 0;
      for (const wait of waits) {
        now += wait;
        if (limit.take("k") === 0) through += 1;
      }
      assert.ok(through <= burst + (now / 1000) * perSecond + 1e-6);
    }),
  );
});

test("B5: memory is bounded however many addresses ask", () => {
  const limit = new RateLimit({ perSecond: 1, burst: 1 });
  for (let i = 0; i < 20_000; i += 1) limit.take(`k${i}`);
  assert.ok(limit.keys <= 8192);
});

test("C6: after ten failures in a minute a key is locked for a minute, and no other key is", () => {
  let now = 0;
  const lockout = new Lockout({ failures: 10, within: 60, lockedFor: 60 }, () => now);
  for (let i = 0; i < 9; i += 1) lockout.fail("a");
  assert.is(lockout.lockedFor("a"), 0);
  lockout.fail("a");
  assert.is(lockout.lockedFor("a"), 60);
  assert.is(lockout.lockedFor("b"), 0);
  now = 59_001;
  assert.is(lockout.lockedFor("a"), 1);
  now = 60_000;
  assert.is(lockout.lockedFor("a"), 0);
  for (let i = 0; i < 9; i += 1) lockout.fail("a");
  assert.is(lockout.lockedFor("a"), 0, "it counts anew");
  now += 61_000;
  lockout.fail("a");
  assert.is(lockout.lockedFor("a"), 0, "failures of long ago do not count");
  assert.equal([lockout.failed, lockout.locks], [20, 1]);
});

test("a host has one key, however its address is written", () => {
  for (const [address, key] of [
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::1", "2001:db8:1:2::/64"],
    ["2001:DB8:0001:0002::ffff", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
  ] as const) {
    assert.is(addressKey(address), key, address);
  }
});

test("C6: secrets are 256 random bits, recognisable, and compared as hashes", () => {
  const secrets = Array.from({ length: 200 }, makeSecret);
  assert.is(new Set(secrets).size, 200);
  for (const secret of secrets) assert.match(secret, /^ofr_[A-Za-z0-9_-]{43}$/);
  const [one = "", other = ""] = secrets;
  assert.is(hashSecret(one).length, 32);
  assert.ok(sameHash(hashSecret(one), hashSecret(one)));
  assert.not(sameHash(hashSecret(one), hashSecret(other)));
  assert.not(sameHash(hashSecret(one), hashSecret(one).subarray(1)));
});

test("C6: each role may do what those before it may; methods say what is needed where nothing else does", () => {
  for (const [has, role] of roles.entries()) {
    assert.equal(
      roles.map((needs) => mayAct(role, needs)),
      roles.map((_, needs) => needs <= has),
    );
  }
  for (const method of ["GET", "HEAD"]) assert.is(roleForMethod(method), "viewer");
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"]) assert.is(roleForMethod(method), "operator");
});

test("what is logged of a request has no query, no secret, no UE, and cannot forge a line", () => {
  assert.is(pathOf("/service/web?access_token=ofr_abcdefghijkl", "/service/:name"), "/service/web");
  assert.is(
    pathOf("/location/v3/users/10.45.0.2/x", "/location/v3/users/:address/x", ["address"]),
    "/location/v3/users/…/x",
  );
  assert.is(pathOf("/users/ofr_abcdefghijklmnop", undefined), "/users/…");
  assert.is(clean("a\nb\u2028c\u0000"), "a\\u000ab\\u2028c\\u0000");
  assert.is(clean(`Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.${"s".repeat(86)}`), "Bearer …");
  assert.is(clean("x.".repeat(400)).length, 301);
});

test.run();
