/** Does the audit log keep everything, bound what a flood writes, and show whatever was done to it (C6; HOSTILE §4, Audit)? */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Audit, type Deed } from "../../controlplane/access/audit.ts";
import { auditFile } from "../../controlplane/access/audit-table.ts";
import { type Anchor, ChainReader, type Entry } from "../../controlplane/access/chain.ts";
import { refusalBounds } from "../../controlplane/access/refusals.ts";

function inDirectory(body: (directory: string) => void | Promise<void>) {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), "ofr-audit-"));
    try {
      await body(directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  };
}

const deed: Deed = { api: "management", who: "user alice", address: "192.0.2.7", method: "POST", path: "/service" };
const all = (audit: Audit) => audit.list({ limit: 1000 }).entries.reverse();
const kindsOf = (audit: Audit) => all(audit).map(({ kind }) => kind);

async function change(audit: Audit, status = 200): Promise<void> {
  await audit.outcome(audit.attempt(deed), deed, { status });
}

/** Behind the log's back, triggers and all. */
function tamper(directory: string, ...statements: string[]): void {
  const database = new Database(join(directory, auditFile));
  for (const name of ["unchanged", "kept", "in_order"]) database.exec(`DROP TRIGGER IF EXISTS entry_${name}`);
  for (const sql of statements) database.exec(sql);
  database.close();
}

async function verdict(directory: string) {
  const audit = new Audit(directory);
  try {
    return await audit.verify();
  } finally {
    audit.close();
  }
}

test(
  "who, what, when, from where, with what outcome; over restarts, in order, in one chain",
  inDirectory(async (directory) => {
    const audit = new Audit(directory, { facts: { version: "1.2.3" } });
    const attempt = audit.attempt({ ...deed, request: "req-1" });
    await audit.outcome(attempt, deed, { status: 201, object: 'service "web"', before: "a", after: "b" });
    audit.refused({ ...deed, who: "nobody", status: 401 });
    audit.close();
    const again = new Audit(directory);
    try {
      const entries = all(again);
      assert.equal(
        entries.map(({ number, kind, of, who, status, request }) => [number, kind, of, who, status, request]),
        [
          [1, "started", null, "agent", null, null],
          [2, "attempt", null, "user alice", null, "req-1"],
          [3, "outcome", 2, "user alice", 201, null],
          [4, "refused", null, "nobody", 401, null],
          [5, "stopped", null, "agent", null, null],
          [6, "started", null, "agent", null, null],
        ],
      );
      assert.equal(entries[0]?.detail, { version: "1.2.3" });
      const { before, after } = (entries[2] as Entry).detail as Record<string, string>;
      assert.match(`${before} ${after}`, /^[0-9a-f]{32} [0-9a-f]{32}$/);
      assert.is.not(before, after);
      assert.equal(
        [entries[2]?.object, entries[2]?.address, entries[2]?.path],
        ['service "web"', "192.0.2.7", "/service"],
      );
      const told = await again.verify();
      assert.equal([told.entries, told.fault, told.head], [6, undefined, again.head]);
    } finally {
      again.close();
    }
  }),
);

test(
  "filters and pages",
  inDirectory(async (directory) => {
    const audit = new Audit(directory);
    for (let i = 0; i < 10; i += 1) await change(audit, i % 2 ? 200 : 409);
    audit.refused({ ...deed, api: "mp1", who: "app x", status: 403 });
    assert.is(audit.list({ status: 409, limit: 100 }).total, 5);
    assert.is(audit.list({ who: "user alice", kind: "outcome", limit: 3 }).entries.length, 3);
    assert.is(audit.list({ api: "mp1", limit: 100 }).entries[0]?.who, "app x");
    assert.is(audit.list({ until: 0, limit: 100 }).total, 0);
    const first = audit.list({ limit: 4 });
    const second = audit.list({ limit: 4, before: first.entries.at(-1)?.number });
    assert.is(first.total, second.total);
    const numbers = [...first.entries, ...second.entries].map(({ number }) => number);
    assert.equal(numbers, [22, 21, 20, 19, 18, 17, 16, 15]);
    audit.close();
  }),
);

test(
  "the table refuses to change, insert or remove entries",
  inDirectory(async (directory) => {
    const audit = new Audit(directory);
    await change(audit);
    audit.close();
    const database = new Database(join(directory, auditFile));
    try {
      for (const sql of [
        "UPDATE entry SET who = 'nobody' WHERE number = 2",
        "DELETE FROM entry WHERE number = 2",
        "DELETE FROM entry",
        "INSERT OR REPLACE INTO entry SELECT * FROM entry WHERE number = 2",
        "INSERT INTO entry (time, kind, api, who, digest) VALUES (1, 'outcome', 'x', 'y', 'z')",
      ]) {
        assert.throws(() => database.exec(sql), /entries of the audit log/, sql);
      }
    } finally {
      database.close();
    }
    assert.is((await verdict(directory)).fault, undefined);
  }),
);

const tricks: [string, string[], RegExp][] = [
  ["a changed word", ["UPDATE entry SET who = 'user bob' WHERE number = 3"], /entry 3 is not what was written/],
  ["a changed time", ["UPDATE entry SET time = time + 1 WHERE number = 3"], /entry 3 is not/],
  ["a changed outcome", ["UPDATE entry SET status = 200 WHERE number = 3"], /entry 3 is not/],
  ["a removed entry", ["DELETE FROM entry WHERE number = 3"], /entry 3 is missing/],
  ["removed entries", ["DELETE FROM entry WHERE number IN (3, 4)"], /entries 3–4 are missing/],
  ["the oldest removed", ["DELETE FROM entry WHERE number < 3"], /entries before 3 are missing, and no export says so/],
  [
    "two that change places",
    [
      "UPDATE entry SET number = 100 WHERE number = 3",
      "UPDATE entry SET number = 3 WHERE number = 4",
      "UPDATE entry SET number = 4 WHERE number = 100",
    ],
    /entry 3 is not/,
  ],
  [
    "another digest",
    ["UPDATE entry SET digest = substr(digest, 2) || substr(digest, 1, 1) WHERE number = 3"],
    /entry [34] is not/,
  ],
];
for (const [sentence, statements, fault] of tricks) {
  test(
    `tampering shows: ${sentence}`,
    inDirectory(async (directory) => {
      const audit = new Audit(directory);
      for (let i = 0; i < 3; i += 1) await change(audit, 403);
      audit.close();
      tamper(directory, ...statements);
      assert.match((await verdict(directory)).fault ?? "nothing found", fault);
    }),
  );
}

test(
  "tampering shows: the newest removed, while the agent runs and before it starts again",
  inDirectory(async (directory) => {
    const audit = new Audit(directory);
    for (let i = 0; i < 3; i += 1) await change(audit);
    tamper(directory, "DELETE FROM entry WHERE number > 5");
    assert.match((await audit.verify()).fault ?? "", "the newest 2 entries are missing");
    audit.close();
    assert.match((await verdict(directory)).fault ?? "", "entries 6–7 are missing");
    tamper(directory, "DELETE FROM entry WHERE number > 7");
    assert.match((await verdict(directory)).fault ?? "", "entries 6–", "numbers are never given twice");
  }),
);

test("any chain is in order as it was written, and no change of one entry goes unseen", () => {
  const text = fc.option(fc.string({ maxLength: 12 }));
  const deeds = fc.array(
    fc.record({ who: fc.string({ maxLength: 8 }), object: text, status: fc.option(fc.nat(599)) }),
    {
      minLength: 1,
      maxLength: 12,
    },
  );
  fc.assert(
    fc.property(
      deeds,
      fc.nat(),
      fc.constantFrom("who", "object", "status", "time", "number", "digest"),
      (list, pick, member) => {
        const audit = new Audit(":memory:");
        for (const one of list) audit.read({ ...deed, ...one });
        const entries = all(audit);
        audit.close();
        const follow = (all: Entry[]) => {
          const reader = new ChainReader();
          return all.map((entry) => reader.follow(entry)).find((fault) => fault !== undefined);
        };
        assert.is(follow(entries), undefined);
        const target = entries[pick % entries.length] as Entry;
        const value = target[member as keyof Entry];
        const other = typeof value === "number" ? value + 1 : value === null ? "x" : `${value}x`;
        assert.ok(follow(entries.map((entry) => (entry === target ? { ...entry, [member]: other } : entry))));
      },
    ),
    { numRuns: 60 },
  );
});

test(
  "an attempt of which nobody knows the outcome is named at the next start, once",
  inDirectory(async (directory) => {
    const audit = new Audit(directory);
    await change(audit);
    audit.attempt({ ...deed, path: "/service/web" });
    audit.close(); // as little as kill -9 leaves: the attempt is written, its outcome is not
    for (let i = 0; i < 2; i += 1) {
      const again = new Audit(directory);
      const found = all(again).filter(({ kind }) => kind === "interrupted");
      assert.equal(
        found.map(({ of, who, path }) => [of, who, path]),
        [[4, "user alice", "/service/web"]],
      );
      again.close();
    }
  }),
);

test(
  "a flood of refusals writes a bounded number of entries, which say how many there were",
  inDirectory((directory) => {
    let now = 0;
    const audit = new Audit(directory, { now: () => now });
    const refuse = (address: string, who = "nobody") => audit.refused({ ...deed, who, address, status: 401 });
    for (let i = 0; i < 10_000; i += 1) refuse("192.0.2.7");
    for (let i = 0; i < 10_000; i += 1) refuse(`2001:db8::${(i % 60_000).toString(16)}`);
    for (let i = 0; i < 10_000; i += 1) refuse(`198.51.${i >> 8}.${i & 255}`);
    const { kindsAtMost, eachInFull } = refusalBounds;
    const before = all(audit).length;
    assert.ok(before <= 1 + kindsAtMost * eachInFull, String(before));
    now = refusalBounds.minuteMs;
    refuse("192.0.2.7");
    const repeated = all(audit).filter(({ kind }) => kind === "repeated");
    const times = repeated.reduce((sum, { detail }) => sum + Number(detail?.times), 0);
    const inFull = all(audit).filter(({ kind }) => kind === "refused").length;
    assert.is(times + inFull, 30_001, "nothing is lost");
    assert.ok(repeated.length <= kindsAtMost + 1);
    assert.is(repeated.find(({ who }) => who === "several")?.address, null);
    audit.close();
  }),
);

test(
  "export, truncate, go on: the chain holds on both sides of the cut, and the cut is an entry",
  inDirectory(async (directory) => {
    let audit = new Audit(directory);
    for (let i = 0; i < 4; i += 1) await change(audit);
    const lines: ({ anchor: Anchor } | Entry)[] = [];
    for await (const line of audit.export()) lines.push(line);
    const [head, ...entries] = lines as [{ anchor: Anchor }, ...Entry[]];
    assert.equal(head, { anchor: { number: 0, digest: "0".repeat(64) } });
    const reader = new ChainReader(head.anchor);
    for (const entry of entries) assert.is(reader.follow(entry), undefined);
    assert.equal(reader.head, audit.head);

    const admin: Deed = { api: "management", who: "user root" };
    assert.throws(() => audit.truncate(4, "0".repeat(64), admin), /another digest/);
    assert.throws(() => audit.truncate(400, "0".repeat(64), admin), /no entry 400/);
    const third = entries[2] as Entry;
    audit.truncate(third.number, third.digest, admin);
    assert.equal(kindsOf(audit), [...entries.slice(3).map(({ kind }) => kind), "exported"]);
    assert.equal([(await audit.verify()).fault, (await audit.verify()).anchor.number], [undefined, 3]);
    await change(audit);
    // And once more, with everything.
    const { number, digest } = audit.head;
    audit.truncate(number, digest, admin);
    assert.equal(kindsOf(audit), ["exported"]);
    assert.equal([all(audit)[0]?.of, all(audit)[0]?.who], [number, "user root"]);
    audit.close();
    audit = new Audit(directory);
    assert.is((await audit.verify()).fault, undefined);
    assert.is(audit.list({ limit: 9 }).entries[0]?.number, number + 3, "numbers go on");
    audit.close();
  }),
);

test(
  "a log that cannot be written: no change begins, no outcome is claimed, refusals stay refusals",
  inDirectory(async (directory) => {
    const audit = new Audit(directory);
    const attempt = audit.attempt(deed);
    const other = new Database(join(directory, auditFile));
    other.exec("CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT raise(ABORT, 'disk full'); END");
    assert.throws(() => audit.attempt(deed), /nothing has changed: the audit log cannot be written \(disk full\)/);
    let said = "";
    await audit.outcome(attempt, deed, { status: 200 }).catch((error: Error) => {
      said = error.message;
    });
    assert.match(said, "it may have been done");
    audit.refused({ ...deed, status: 401 });
    assert.throws(() => audit.read(deed), /this is not shown/);
    assert.is(audit.failures, 4);
    other.exec("DROP TRIGGER full");
    other.close();
    await change(audit);
    assert.is((await audit.verify()).fault, undefined);
    audit.close();
  }),
);

test(
  "a log of a newer release is left alone",
  inDirectory((directory) => {
    new Audit(directory).close();
    const database = new Database(join(directory, auditFile));
    database.pragma("user_version = 2");
    database.close();
    assert.throws(() => new Audit(directory), /has version 2/);
  }),
);

test.run();
