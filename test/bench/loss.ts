/**
 * How many packets are lost while the control plane dies, comes back, brings other programs, or changes services?
 *
 * Numbered packets flow all the time at a constant rate, some passing to the core, some taken by the app, some coming back
 * from it. What was sent and did not arrive, and what arrived twice, is counted exactly.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../lab/appliance.ts";
import { sleep } from "../lab/netns.ts";
import { type Failed, type Figure, figure, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";
import { settled } from "./outside.ts";
import { APP, ORIGIN, Rig, SERVICE, type Sink } from "./rig.ts";

/** Frames per stream and burst: a veth queues 256. A burst takes the kernel some milliseconds to set up. */
const burst = 64;
const tickMs = 5;

const streams = [
  { stream: 1, name: "passing", sink: "core" },
  { stream: 2, name: "taken", sink: "app" },
  { stream: 3, name: "back", sink: "ran" },
] as const satisfies { stream: number; name: string; sink: Sink }[];

interface Result {
  sent: number;
  lost: number;
  doubled: number;
  strays: number;
  seconds: number;
}

/** Load for as long as `during` takes, and a moment before and after. */
async function underLoad(rig: Rig, during: () => Promise<void>): Promise<Result> {
  const templates = [rig.uplink(ORIGIN), rig.uplink(SERVICE), rig.reply()];
  const load = streams.map(({ stream }, i) => ({ stream, from: templates[i]! }));
  const before = streams.map(({ stream, sink }) => ({ sent: rig.sent(stream), ...rig.arrived(sink, stream) }));
  const strays = (): number =>
    streams.reduce((sum, { stream, sink }) => {
      const { [sink]: _, ...others } = rig.everywhere(stream);
      return sum + Object.values(others).reduce((a, b) => a + b, 0);
    }, 0);
  const straysBefore = strays();
  const began = Date.now();
  let broken: Error | undefined;
  const timer = setInterval(() => {
    try {
      rig.sendInTurn(load, burst);
    } catch (error) {
      broken = error as Error;
      clearInterval(timer);
    }
  }, tickMs);
  try {
    await sleep(300);
    await during();
    await sleep(300);
  } finally {
    clearInterval(timer);
  }
  if (broken) throw broken;
  const seconds = (Date.now() - began) / 1000;
  const result: Result = { sent: 0, lost: 0, doubled: 0, strays: strays() - straysBefore, seconds };
  for (const [i, { stream, sink }] of streams.entries()) {
    await settled(rig, sink, stream);
    const was = before[i]!;
    const now = rig.arrived(sink, stream);
    const sent = rig.sent(stream) - was.sent;
    const doubled = now.doubled - was.doubled;
    result.sent += sent;
    result.doubled += doubled;
    result.lost += sent - (now.packets - was.packets - doubled);
  }
  return result;
}

/** A copy of what is built: a build that runs meanwhile must not change what is measured. */
function copyRelease(release: string): string {
  for (const folder of ["bin", "dist", "build"]) {
    cpSync(join(repository, folder), join(release, folder), { recursive: true });
  }
  symlinkSync(join(repository, "node_modules"), join(release, "node_modules"));
  cpSync(join(repository, "package.json"), join(release, "package.json"));
  return release;
}

/** The same with one instruction more at the beginning of `access` and `core`, which does nothing. */
function otherRelease(release: string): string {
  copyRelease(release);
  const sources = join(release, "source");
  mkdirSync(sources);
  cpSync(join(repository, "dataplane", "ebpf", "bpf"), sources, { recursive: true });
  const main = join(sources, "offramp.bpf.c");
  const text = readFileSync(main, "utf8");
  const changed = text.replaceAll(
    /^(int (?:access|core)\(struct xdp_md \*ctx\)\s*\{)/gm,
    '$1\n\tasm volatile("r0 = 4711" ::: "r0");\n',
  );
  if (changed === text) throw new Error("the programs' beginning was not found: no other release can be made");
  writeFileSync(main, changed);
  const machine = execFileSync("uname", ["-m"], { encoding: "utf8" }).trim();
  const object = join(release, "build", "offramp.bpf.o");
  const include = ["-I", join(release, "build"), "-I", sources, "-I", `/usr/include/${machine}-linux-gnu`];
  // As bin/build does it.
  const flags = ["-O2", "-g", "-w", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_x86"];
  const stdio = ["ignore", "ignore", "pipe"] as ["ignore", "ignore", "pipe"];
  execFileSync("clang", [...flags, ...include, "-c", main, "-o", object], { stdio });
  execFileSync("llvm-strip", ["-g", object], { stdio });
  return release;
}

interface Event {
  name: string;
  during: (rig: Rig) => Promise<void>;
}

/** @throws Error unless the program in force is (or is not) another than before */
async function expectProgram(rig: Rig, same: boolean, body: () => Promise<void>): Promise<void> {
  const before = rig.program();
  await body();
  const after = rig.program();
  if (after === 0) throw new Error("no program is in force");
  if ((after === before) !== same)
    throw new Error(`the program in force is ${same ? "another" : "the same"}: nothing was shown`);
}

/** `ours`, `other`: folders of two releases. */
const events = (ours: string, other: string): Event[] => [
  {
    name: "nothing happens",
    during: () => sleep(1000),
  },
  {
    name: "kill -9 of the control plane, start (adopts)",
    during: (rig) =>
      expectProgram(rig, true, async () => {
        await rig.process?.end("SIGKILL");
        await sleep(500);
        await rig.start(ours);
      }),
  },
  {
    name: "restart: SIGTERM, start (adopts)",
    during: (rig) =>
      expectProgram(rig, true, async () => {
        await rig.process?.end("SIGTERM", 15_000);
        await rig.start(ours);
      }),
  },
  {
    name: "program upgrade: start of another release, and back",
    during: async (rig) => {
      for (const from of [other, ours]) {
        await expectProgram(rig, false, async () => {
          await rig.process?.end("SIGTERM", 15_000);
          await rig.start(from);
        });
      }
    },
  },
  {
    name: "20 other services added, 20 deleted",
    during: async (rig) => {
      for (let n = 0; n < 20; n++) await rig.service(`other-${n}`, `192.88.99.${n + 1}`);
      for (let n = 0; n < 20; n++) await rig.must("DELETE", `/service/other-${n}?flush=true`);
    },
  },
  {
    name: "10 000 rules applied, swapped five times with one changed, and taken away",
    during: async (rig) => {
      const www = { name: "www", serviceIP: SERVICE, applicationIP: APP };
      const others = (last: number) =>
        Array.from({ length: 9999 }, (_, n) => ({
          name: `other-${n}`,
          serviceIP: `10.${200 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`,
          applicationIP: n === 7 ? `10.60.0.${last}` : APP,
        }));
      for (let n = 0; n < 6; n++) await rig.must("PUT", "/api/v1/services", [www, ...others(50 + n)]);
      await rig.must("PUT", "/api/v1/services", [www]);
    },
  },
];

export async function loss({ quick, say }: Effort): Promise<Section> {
  const rows: (Figure | Failed)[] = [];
  try {
    await Rig.with({ start: false }, async (rig) => {
      const ours = copyRelease(join(rig.machines.directory, "ours"));
      const other = otherRelease(join(rig.machines.directory, "other"));
      await rig.start(ours);
      await rig.service("www", SERVICE);
      await rig.learn();
      rig.send(rig.uplink(SERVICE), 1);
      await settled(rig, "app");
      for (const { name, during } of events(ours, other)) {
        say(name);
        rows.push(await row(rig, name, during, quick ? 1 : 3));
      }
    });
  } catch (error) {
    rows.push({ what: "all", failed: (error as Error).message });
  }
  return {
    name: "loss",
    title: "Packets lost under load: a third passing, a third taken, a third coming back; numbered",
    rows,
  };
}

async function row(
  rig: Rig,
  name: string,
  during: (rig: Rig) => Promise<void>,
  times: number,
): Promise<Figure | Failed> {
  const total: Result = { sent: 0, lost: 0, doubled: 0, strays: 0, seconds: 0 };
  try {
    for (let time = 0; time < times; time++) {
      const result = await underLoad(rig, () => during(rig));
      total.sent += result.sent;
      total.lost += result.lost;
      total.doubled += result.doubled;
      total.strays += result.strays;
      total.seconds += result.seconds;
    }
  } catch (error) {
    return { what: name, failed: (error as Error).message };
  }
  const { sent, lost, doubled, strays, seconds } = total;
  // A load that hardly flowed proves nothing.
  if (sent / seconds < 500) return { what: name, failed: `only ${(sent / seconds).toFixed(0)} packets per second` };
  const oddities = doubled + strays === 0 ? "" : `, ${doubled} twice, ${strays} at the wrong end`;
  return figure(name, "lost", [lost], {
    bar: { most: 0 },
    note: `of ${sent} in ${times === 1 ? "one go" : `${times} goes`}, ${(sent / seconds).toFixed(0)} per second${oddities}`,
  });
}
