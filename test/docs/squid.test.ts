/**
 * Does docs/examples/squid/README.md do what it says, as it is written (A22, B3, B7)?
 *
 * In the lab that `npm start` makes, with a real phone behind a real gateway, and Debian's Squid.
 */
import { join } from "node:path";
import { suite } from "uvu";
import { repository } from "../lab/appliance.ts";
import { PageInLab } from "./page-in-lab.ts";
import { readPage } from "./tutorial.ts";

const test = suite("the example Squid");
const page = join(repository, "docs/examples/squid/README.md");
let inLab: PageInLab;

test.before(async () => {
  inLab = await PageInLab.open(page);
});

test.after(async () => {
  await inLab?.close();
});

for (const section of readPage(page)) test(`A22, B3, B7: ${section.title}`, () => inLab.follow(section));

test.run();
