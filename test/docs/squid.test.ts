/**
 * Does docs/examples/squid/README.md do what it says, as it is written (A22, B3, B7)?
 *
 * In the lab that `npm start` makes, with a real phone behind a real gateway, and Debian's Squid.
 */
import { join } from "node:path";
import { suite } from "uvu";
import { Scene } from "../acceptance/scene.ts";
import { repository } from "../lab/appliance.ts";
import { platform } from "../lab/cache.ts";
import { internet } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { PageInLab } from "./page-in-lab.ts";
import { readPage } from "./tutorial.ts";

const test = suite("the example Squid");
const page = join(repository, "docs/examples/squid/README.md");
let scene: Scene;
let inLab: PageInLab;

test.before(async () => {
  scene = await Scene.open({ egress: true, site: { extra: { mep: platform } } });
  try {
    const ue = await scene.lab.attach(0);
    await until(
      "the Internet to answer the phone",
      async () => (await scene.lab.phoneHttp(ue, `http://${internet.www}/`)).server === "internet",
    );
    inLab = new PageInLab(scene, page);
  } catch (error) {
    scene.complain();
    throw error;
  }
});

test.after(async () => {
  await inLab?.close();
  await scene?.close();
});

for (const section of readPage(page)) test(`A22, B3, B7: ${section.title}`, () => inLab.follow(section));

test.run();
