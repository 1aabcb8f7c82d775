/**
 * How many requests does Mp1 answer on one core, with 1 000 apps and 10 000 services?
 *
 * Section `mp1`. Mp1 and a bare fastify server that answers the same octets run on one core, whoever asks on the other; they
 * take turns within each round, so that a slow spell of the machine meets both. Every answer's status is looked at, and the
 * length of its body.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { type Failed, type Figure, figure, quantile, ratios, type Section } from "./figures.ts";
import { LoadConnections, octetsOf, type Request } from "./http-load.ts";
import type { Effort } from "./inside.ts";
import { appName, apps, offerOf, servicesOfEach } from "./mp1-population.ts";
import { beside } from "./rig.ts";

const connections = 32;
const api = "/mec_service_mgmt/v1";
const total = apps * servicesOfEach;

interface Server {
  child: ChildProcess;
  port: number;
}

/** On the first core, where there is another one for whoever asks. */
async function start(mode: string, argument: string): Promise<Server> {
  const node = [...beside("mp1-server"), mode, argument];
  const [command = "", ...args] = availableParallelism() > 1 ? ["taskset", "-c", "0", ...node] : node;
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout.once("data", (text: Buffer) => resolve(Number(text.toString())));
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { child, port };
}

const as = (app: string) => ({ authorization: `Bearer ${app}` });
const get = (path: string): Request => ({ octets: octetsOf("GET", path, as(appName(0))), status: 200 });

interface Turn {
  what: string;
  /** Requests in a round. */
  count: number;
  /** The n-th of them, over all rounds. */
  request(n: number): Request;
  /** What it leaves behind is deleted after each round. */
  deletes?: boolean;
  note?: string;
}

interface Measured {
  rates: number[];
  p99: number[];
}

async function setAffinity<T>(body: () => Promise<T>): Promise<T> {
  if (availableParallelism() < 2) return body();
  const pid = String(process.pid);
  const before = execFileSync("taskset", ["-p", pid], { encoding: "utf8" }).trim().split(" ").at(-1) ?? "";
  execFileSync("taskset", ["-a", "-p", "2", pid], { stdio: "ignore" });
  try {
    return await body();
  } finally {
    execFileSync("taskset", ["-a", "-p", before, pid], { stdio: "ignore" });
  }
}

/** What Mp1 answers, for the bare server to answer the same. */
async function sample(port: number, paths: readonly string[]): Promise<Record<string, string>> {
  const bodies: Record<string, string> = {};
  for (const path of paths) {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers: as(appName(0)) });
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
    bodies[path] = await answer.text();
  }
  return bodies;
}

function turns(bodies: Record<string, string>, owned: readonly string[], quick: boolean): Turn[] {
  const known = Object.entries(bodies).map(([path, body]) => ({ ...get(path), path, length: Buffer.byteLength(body) }));
  const among = (resource: string) => known.filter(({ path }) => path.split("=")[0] === resource);
  const discovery = (what: string, resource: string, count: number): Turn => {
    const requests = among(resource);
    return { what, count, request: (n) => requests[n % requests.length] as Request };
  };
  const many = quick ? 2000 : 10_000;
  const post = (n: number): Request => {
    const path = `${api}/applications/${appName(n)}/services`;
    return { octets: octetsOf("POST", path, as(appName(n)), offerOf(total + n)), status: 201 };
  };
  return [
    discovery("discovery by name: 1 of 10 000", `${api}/services?ser_name`, many),
    discovery("discovery by category: 10 of 10 000", `${api}/services?ser_category_id`, many),
    discovery("discovery of everything: 10 000", `${api}/services`, quick ? 10 : 30),
    {
      what: "registration, on disk",
      count: quick ? 500 : 2000,
      request: post,
      deletes: true,
      note: "with its two entries in the audit log; the bare server reads the body and keeps nothing",
    },
    {
      what: "heartbeat",
      count: many,
      request: (n) => {
        const path = `${owned[n % owned.length]}/liveness`;
        const app = /applications\/([^/]+)/.exec(path)?.[1] ?? "";
        return { octets: octetsOf("PATCH", path, as(app), { state: "ACTIVE" }), status: 204 };
      },
      note: "changes nothing, so nothing is written",
    },
  ];
}

async function measure(
  servers: { mp1: Server; bare: Server },
  all: readonly Turn[],
  rounds: number,
  say: Effort["say"],
) {
  const open = {
    mp1: await LoadConnections.open(servers.mp1.port, connections),
    bare: await LoadConnections.open(servers.bare.port, connections),
  };
  const measured = all.map(
    () => ({ mp1: { rates: [], p99: [] }, bare: { rates: [], p99: [] } }) as Record<string, Measured>,
  );
  try {
    // The first rounds find everything cold.
    for (let round = -2; round < rounds; round += 1) {
      for (const [index, { count, request, deletes }] of all.entries()) {
        for (const who of ["bare", "mp1"] as const) {
          const requests = Array.from({ length: count }, (_, i) => request((round + 2) * count + i));
          const { rate, latencies, locations } = await open[who].send(requests);
          if (deletes && who === "mp1") await open.mp1.send(locations.map(deletion));
          if (round < 0) continue;
          measured[index]?.[who]?.rates.push(rate);
          measured[index]?.[who]?.p99.push(quantile(latencies, 0.99));
        }
      }
      if (round >= 0) say(`round ${round + 1}`);
    }
  } finally {
    open.mp1.close();
    open.bare.close();
  }
  return measured;
}

function deletion(location: string): Request {
  const { pathname } = new URL(location);
  const app = /applications\/([^/]+)/.exec(pathname)?.[1] ?? "";
  return { octets: octetsOf("DELETE", pathname, as(app)), status: 204 };
}

export async function mp1({ quick, say }: Effort): Promise<Section> {
  const directory = mkdtempSync(join(tmpdir(), "ofr-bench-"));
  const children: ChildProcess[] = [];
  const rows: (Figure | Failed)[] = [];
  try {
    await setAffinity(async () => {
      say("10 000 services are registered");
      const platform = await start("mp1", join(directory, "state"));
      children.push(platform.child);
      const picks = Array.from({ length: 50 }, (_, i) => (i * 7919) % total);
      const bodies = await sample(platform.port, [
        `${api}/services`,
        ...picks.flatMap((n) => [
          `${api}/services?ser_name=service-${n}`,
          `${api}/services?ser_category_id=category-${n % 1000}`,
        ]),
      ]);
      const { [`${api}/applications/${appName(0)}/services`]: own = "[]" } = await sample(platform.port, [
        `${api}/applications/${appName(0)}/services`,
      ]);
      const mine = JSON.parse(own) as { _links: { self: { href: string } } }[];
      const owned = mine.map(({ _links }) => new URL(_links.self.href).pathname);
      // A registration is answered with the service that was made.
      const made = Array.from({ length: apps }, (_, n) => `${api}/applications/${appName(n)}/services`);
      const file = join(directory, "answers.json");
      const one = JSON.stringify(mine[0]);
      writeFileSync(file, JSON.stringify({ ...bodies, ...Object.fromEntries(made.map((path) => [path, one])) }));
      const bare = await start("bare", file);
      children.push(bare.child);
      const all = turns(bodies, owned, quick);
      const measured = await measure({ mp1: platform, bare }, all, quick ? 5 : 11, say);
      for (const [index, { what, note }] of all.entries()) {
        const { mp1: ours, bare: theirs } = measured[index] as { mp1: Measured; bare: Measured };
        rows.push(
          figure(`${what}: bare fastify`, "requests/s", theirs.rates),
          figure(`${what}: Mp1`, "requests/s", ours.rates, {
            ratios: ratios(ours.rates, theirs.rates),
            ...(note !== undefined && { note }),
          }),
          figure(`${what}: Mp1, p99`, "ms", ours.p99, { digits: 1, ratios: ratios(ours.p99, theirs.p99) }),
        );
      }
    });
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  }
  return {
    name: "mp1",
    title: `Mp1 on one core, ${connections} connections, HTTP, tokens not checked; ratio to a bare fastify server that answers the same octets`,
    rows,
  };
}
