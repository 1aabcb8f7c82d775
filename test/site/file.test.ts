/**
 * What does a start make of a site.yaml on trial, whatever happened before (C3)? Files alone.
 */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { beginStart, SiteYaml, trialLeft } from "../../controlplane/site/file.ts";
import { moment } from "../../controlplane/store/boottime.ts";

const trial = { duration: 60_000, confirm: false, restart: true, missing: [], who: "token", revision: "b", back: "a" };

function withFile(body: (yaml: SiteYaml, path: string) => void): () => void {
  return () => {
    const directory = mkdtempSync(join(tmpdir(), "ofr-yaml-"));
    try {
      const path = join(directory, "site.yaml");
      writeFileSync(path, "old");
      body(new SiteYaml(path), path);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  };
}

const begin = (yaml: SiteYaml, more = {}) => yaml.replace("new", { ...trial, since: moment(), ...more });

test(
  "C3: the first starts go with the new one, and are counted; then the one before comes back",
  withFile((yaml) => {
    begin(yaml);
    for (const starts of [1, 2, 3]) {
      assert.is(beginStart(yaml), undefined);
      assert.is(yaml.trial()?.starts, starts);
      assert.is(yaml.text(), "new");
    }
    assert.is(beginStart(yaml), "site.yaml b did not become ready in 3 starts: back to a");
    assert.is(yaml.text(), "old");
    assert.is(yaml.trial(), undefined);
    assert.is(beginStart(yaml), undefined);
  }),
);

test(
  "C3: after the deadline, and after a reboot whose clock is wrong, the one before comes back",
  withFile((yaml) => {
    for (const since of [
      { ...moment(), uptime: moment().uptime - 60_000 },
      { boot: "another", uptime: 0, wall: Date.now() + 3_600_000 },
    ]) {
      const begun = begin(yaml, { since });
      assert.ok(trialLeft(begun) <= 0);
      assert.match(beginStart(yaml) ?? "", "was not confirmed in time");
      assert.is(yaml.text(), "old");
    }
  }),
);

test(
  "C3: what never came into force is forgotten; what was written by hand meanwhile stays",
  withFile((yaml, path) => {
    begin(yaml);
    writeFileSync(path, "old");
    assert.match(beginStart(yaml) ?? "", "never came into force");
    assert.is(yaml.trial(), undefined);
    const begun = begin(yaml);
    writeFileSync(path, "by hand");
    assert.not.ok(yaml.takeBack(begun));
    begin(yaml);
    writeFileSync(path, "by hand again");
    assert.match(beginStart(yaml) ?? "", "written by hand");
    assert.is(yaml.text(), "by hand again");
  }),
);

test(
  "C1: a site.yaml that is a link is replaced where it really lies",
  withFile((yaml, path) => {
    const link = `${path}.link`;
    symlinkSync(path, link);
    const linked = new SiteYaml(link);
    begin(linked);
    assert.is(readFileSync(path, "utf8"), "new");
    assert.is(yaml.trial()?.revision, "b");
  }),
);

test.run();
