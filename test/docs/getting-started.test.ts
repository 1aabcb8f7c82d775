/**
 * Does docs/getting-started.md do what it says, as it is written (B1, B2, B3, B5, B7, B8)?
 *
 * In the lab that `npm start` makes, with a real phone behind a real gateway. The page calls the machines by the names that they
 * have there; here a mount namespace gives them these names. Every difference of a section is told, not only the first.
 */
import { existsSync, mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Scene } from "../acceptance/scene.ts";
import { repository } from "../lab/appliance.ts";
import { internet } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { matches, readPage, type Section, Shell, sectionsOf } from "./tutorial.ts";

const test = suite("getting started");
const page = join(repository, "docs/getting-started.md");
const machines = ["tof", "app", "ue0"];
/** Of resolvers of namespaces, which the page gives the phone. */
const resolvers = "/etc/netns";

let scene: Scene;
let shell: Shell;
let madeResolvers = false;
let broken: string | undefined;

/** `lab-…` is this lab's; what is written about the phone's resolver goes when the shell does. */
function named(directory: string): string {
  const bind = machines.map(
    (name) => `touch ${directory}/lab-${name}; mount --bind /run/netns/${scene.lab.ns(name)} ${directory}/lab-${name}`,
  );
  return [...bind, `mount --rbind ${directory} /run/netns`, `mount -t tmpfs tmpfs ${resolvers}`].join("\n");
}

test.before(async () => {
  const mep = { mp1: { listen: "10.60.0.1:8091" }, dns: { listen: "10.60.0.1:53" } };
  scene = await Scene.open({ site: { extra: { mep } } });
  try {
    const ue = await scene.lab.attach(0);
    await until(
      "the Internet to answer the phone",
      async () => (await scene.lab.phoneHttp(ue, `http://${internet.other}/`)).server === "internet",
    );
    madeResolvers = !existsSync(resolvers);
    mkdirSync(resolvers, { recursive: true });
    const { directory } = scene.lab.machines;
    const [home, names] = [join(directory, "home"), join(directory, "netns")];
    for (const one of [home, names]) mkdirSync(one);
    shell = new Shell(directory, repository, { HOME: home }, named(names));
  } catch (error) {
    scene.complain();
    throw error;
  }
});

test.after(async () => {
  await shell?.close();
  if (madeResolvers) rmdirSync(resolvers);
  await scene?.close();
});

async function follow({ title, steps }: Section): Promise<void> {
  if (broken) throw new Error(`not tried: "${broken}" has failed before`);
  const different: string[] = [];
  for (const { line, code, output } of steps) {
    let printed: string;
    try {
      printed = await shell.run(code);
    } catch (error) {
      broken = title;
      scene.complain();
      throw new Error(`${page}:${line}: ${(error as Error).message}`);
    }
    if (output && !matches(output, printed)) {
      different.push(`${page}:${line}: prints\n${printed}\nand not\n${output.text}`);
    } else if (!output && printed.trim() !== "") different.push(`${page}:${line}: prints, unsaid\n${printed}`);
  }
  if (different.length > 0) throw new Error(different.join("\n\n"));
}

test("B1: what a page shows is compared with what is printed, but for what differs from run to run", () => {
  const json = (text: string, printed: unknown) => matches({ kind: "json", text }, JSON.stringify(printed));
  assert.ok(json('{ "a": …, "b": ["x…"], "…": "…" }', { a: 1, b: ["xy"], c: 2 }));
  for (const printed of [{ a: 1 }, { a: 1, b: ["yx"] }, { a: 1, b: ["x", "y"] }, [], null]) {
    assert.not.ok(json('{ "a": …, "b": ["x…"], "…": "…" }', printed), JSON.stringify(printed));
  }
  assert.ok(json('["a", "…"]', ["a", "b"]));
  assert.not.ok(json('{ "a": 1 }', { a: 1, b: 2 }));
  assert.ok(matches({ kind: "text", text: "a … c\n…" }, "a b c\nd\n"));
  assert.not.ok(matches({ kind: "text", text: "a … c" }, "a b\nc\n"));
  const fence = "```";
  assert.throws(() => sectionsOf(`## a\n${fence}json\n1\n${fence}`), /right after its commands/);
  assert.throws(() => sectionsOf(`## a\n${fence}ruby\n1\n${fence}`), /not ruby/);
});

for (const section of readPage(page)) test(`B1, B3, B5: ${section.title}`, () => follow(section));

test.run();
