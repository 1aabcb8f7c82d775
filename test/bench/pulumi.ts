/**
 * What does it cost to have Pulumi say what a site is, over saying it by hand?
 *
 * Section `pulumi`. `bin/offramp run` as anywhere, and a site of so many services: made by requests one after the other (the
 * yardstick), and by `pulumi up` from nothing, then once more with nothing to do. All within a round, each looked at afterwards: the site
 * has exactly those services. The engine, its language server and the provider start anew for each; that is most of it.
 */
import type { Stack } from "@pulumi/pulumi/automation/index.js";
import { Provider, TofService } from "../../infra/resources.ts";
import { PulumiWorkspace } from "../infra/pulumi.ts";
import { openDoor } from "../lab/door.ts";
import { type Failed, type Figure, figure, ratios, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";
import { APP, Rig } from "./rig.ts";

const count = 50;
const services = Array.from({ length: count }, (_, index) => ({
  name: `service-${index}`,
  serviceIP: `203.0.113.${index + 1}`,
  applicationIP: APP,
}));

interface Round {
  hand: number;
  up: number;
  same: number;
}

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now();
  await work();
  return performance.now() - began;
};

async function ask(url: string, method: string, path: string, body?: object): Promise<unknown> {
  const json = body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const answer = await fetch(url + path, { method, ...json });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function has(url: string, wanted: number): Promise<void> {
  const found = (await ask(url, "GET", "/service")) as unknown[];
  if (found.length !== wanted) throw new Error(`the site has ${found.length} services instead of ${wanted}`);
}

async function round(url: string, stack: Stack): Promise<Round> {
  const hand = await timed(async () => {
    for (const service of services) await ask(url, "POST", "/service", service);
  });
  await has(url, count);
  for (const { name } of services) await ask(url, "DELETE", `/service/${name}`);
  const up = await timed(() => stack.up());
  await has(url, count);
  let changes = 0;
  const same = await timed(async () => {
    const { summary } = await stack.up();
    changes = Object.entries(summary.resourceChanges ?? {}).filter(([what]) => what !== "same").length;
  });
  if (changes > 0) throw new Error("an update with nothing to do has done something");
  await stack.destroy();
  await has(url, 0);
  return { hand, up, same };
}

export async function pulumi({ quick, say }: Effort): Promise<Section> {
  const workspace = await PulumiWorkspace.create();
  try {
    return await Rig.with({}, async (rig) => {
      const url = `http://127.0.0.1:${await openDoor(rig, "tof", "127.0.0.1:8090", 0)}`;
      const stack = await workspace.stack("bench", async () => {
        const provider = new Provider("bench", { api: url });
        for (const { name, ...service } of services) new TofService(name, service, { provider });
      });
      const rounds: Round[] = [];
      for (let index = 0; index < (quick ? 2 : 5); index += 1) {
        rounds.push(await round(url, stack));
        say(`round ${index + 1}`);
      }
      const by = (name: keyof Round): number[] => rounds.map((one) => one[name]);
      const hand = by("hand");
      const rows: (Figure | Failed)[] = [
        figure("by hand, one request after the other", "ms", hand, { digits: 0 }),
        figure("pulumi up from nothing", "ms", by("up"), { digits: 0, ratios: ratios(by("up"), hand) }),
        figure("pulumi up with nothing to do", "ms", by("same"), { digits: 0, ratios: ratios(by("same"), hand) }),
      ];
      return { name: "pulumi", title: `A site of ${count} services as code, ratio to the same by hand`, rows };
    });
  } finally {
    workspace.remove();
  }
}
