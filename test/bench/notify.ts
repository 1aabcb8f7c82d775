/**
 * How fast are many apps told what has happened?
 *
 * Section `notify`: one change, 1 000 subscribers, each an app of its own at an address of its own, so each has a connection of
 * its own. Beside it, in the same round, the same octets are posted to the same places by a bare HTTP client with as many
 * requests at a time: what the ratio is above 1 is the price of order, bounds, breakers and the check of every address.
 */
import { type ChildProcess, fork } from "node:child_process";
import { Agent } from "undici";
import { formatAddress } from "../../controlplane/intents/prefix.ts";
import { Notifier } from "../../mep/notify/notifier.ts";
import { queueDefaults } from "../../mep/notify/queue.ts";
import { type Place, reach } from "../../mep/notify/reach.ts";
import type { Subscriber } from "../../mep/parts.ts";
import { type Figure, figure, quantile, ratios, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";
import { overWebSockets } from "./notify-sockets.ts";

export const subscribers = 1000;

export const note = (number: number): object => ({
  notificationType: "SerAvailabilityNotification",
  serviceReferences: [
    {
      link: { href: "https://10.60.0.1:8091/mec_service_mgmt/v1/services/0d8e3a5c-43f4-4a7b-b8a5-2d8c0f8f4a11" },
      serName: "camera",
      serInstanceId: "0d8e3a5c-43f4-4a7b-b8a5-2d8c0f8f4a11",
      state: "ACTIVE",
      changeType: "ADDED",
    },
  ],
  _links: {
    subscription: { href: `https://10.60.0.1:8091/mec_service_mgmt/v1/applications/${number}/subscriptions/s` },
  },
});

export class Sink {
  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {}

  static async start(): Promise<Sink> {
    const source = import.meta.url.endsWith(".ts");
    const file = new URL(source ? "./sink.ts" : "./sink.js", import.meta.url);
    const child = fork(file, { execArgv: source ? ["--import", import.meta.resolve("tsx")] : [] });
    const { port } = await new Promise<{ port: number }>((resolve, reject) => {
      child.once("message", (message) => resolve(message as { port: number }));
      child.once("exit", (code) => reject(new Error(`the receiver ended with ${code}`)));
    });
    return new Sink(child, port);
  }

  private async ask<T>(question: object): Promise<T> {
    const answer = new Promise<T>((resolve, reject) => {
      const ended = (code: number | null) => reject(new Error(`the receiver ended with ${code}`));
      this.child.once("exit", ended);
      this.child.once("message", (message) => {
        this.child.off("exit", ended);
        resolve(message as T);
      });
    });
    this.child.send(question);
    return answer;
  }

  /** Since it was asked last; nanoseconds. */
  async times(): Promise<bigint[]> {
    return (await this.ask<{ times: string[] }>({})).times.map(BigInt);
  }

  /** WebSockets from there to a server here. */
  async connect(port: number, count: number): Promise<void> {
    await this.ask({ connect: { port, count } });
  }

  stop(): void {
    this.child.disconnect();
  }
}

export interface Round {
  /** Milliseconds from the change until each has it. */
  arrived: number[];
  last: number;
}

/** @throws Error when not everybody got it within a minute */
export async function measured(sink: Sink, send: () => void): Promise<Round> {
  await sink.times();
  const began = process.hrtime.bigint();
  send();
  const arrived: number[] = [];
  const end = Date.now() + 60_000;
  while (arrived.length < subscribers) {
    if (Date.now() > end) throw new Error(`${arrived.length} of ${subscribers} arrived within a minute`);
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (const time of await sink.times()) arrived.push(Number(time - began) / 1e6);
  }
  if (arrived.length !== subscribers) throw new Error(`${arrived.length} arrived, ${subscribers} were sent`);
  return { arrived, last: Math.max(...arrived) };
}

export async function notify({ quick, say }: Effort): Promise<Section> {
  const rounds = quick ? 5 : 25;
  const sink = await Sink.start();
  const places = Array.from({ length: subscribers }, (_, number): Place => {
    const addresses = [`127.1.${number >> 8}.${number & 255}`];
    return { id: `app${number}`, provider: `tenant${number % 10}`, addresses, external: true };
  });
  const byId = new Map(places.map((place) => [place.id, place]));
  const site = reach({
    own: () => ["10.60.0.1/32"],
    barred: () => ["198.18.0.0/15", "10.45.0.0/16"],
    networks: () => ["10.60.0.0/24"],
    instances: () => places,
    egress: () => false,
  });
  const all = places.map(
    ({ id, addresses }): Subscriber => ({
      id: `s-${id}`,
      instance: id,
      callbackReference: `http://${addresses[0]}:${sink.port}/notify`,
    }),
  );
  const ours: Record<"cold" | "warm", Round[]> = { cold: [], warm: [] };
  const bare: Record<"cold" | "warm", Round[]> = { cold: [], warm: [] };
  try {
    // The first round finds everything cold.
    for (let round = -1; round < rounds; round += 1) {
      say(`round ${round + 1}`);
      const notifier = new Notifier({
        instance: (id) => byId.get(id),
        // Nothing is sent twice because the machine is slow.
        timeoutMs: 60_000,
        // The site's policy is asked, and loopback allowed all the same: it stands for the apps' network here.
        reach: (who, address, port) => {
          const why = site(who, address, port);
          return formatAddress(address).startsWith("127.1.") ? undefined : why;
        },
      });
      const agent = new Agent({ connections: 8, pipelining: 1, keepAliveTimeout: 2000, keepAliveMaxTimeout: 2000 });
      try {
        for (const state of ["cold", "warm"] as const) {
          const own = await measured(sink, () => {
            for (const [number, one] of all.entries()) notifier.send(one, note(number));
          });
          if (round >= 0) ours[state].push(own);
        }
        for (const state of ["cold", "warm"] as const) {
          // Its failures show in what does not arrive.
          const client = await measured(sink, () => void postAll(agent, all).catch(() => undefined));
          if (round >= 0) bare[state].push(client);
        }
      } finally {
        await notifier.stop();
        await agent.destroy();
      }
    }
  } finally {
    sink.stop();
  }
  say("WebSockets");
  return {
    name: "notify",
    title: "One change told to 1 000 subscribers, each with an address and a connection of its own",
    rows: [
      ...rowsOf("POST, connections open", ours.warm, bare.warm, "ratio: to a bare client's"),
      ...rowsOf("POST, connections to be made", ours.cold, bare.cold, "ratio: to a bare client's"),
      ...(await overWebSockets(rounds)),
    ],
  };
}

export function rowsOf(what: string, ours: readonly Round[], bare: readonly Round[], note: string): Figure[] {
  const own = ours.map(({ last }) => last);
  const each = ours.flatMap(({ arrived }) => arrived);
  const rates = own.map((last) => (subscribers * 1000) / last);
  const theirs = bare.map(({ last }) => last);
  return [
    figure(`${what}: notifications a second`, "/s", rates, { ratios: ratios(theirs, own), note }),
    figure(`${what}: until the last has it`, "ms", own, { digits: 1 }),
    single(`${what}: until the last has it, p99 over rounds`, quantile(own, 0.99)),
    single(`${what}: until one has it, p50`, quantile(each, 0.5)),
    single(`${what}: until one has it, p99`, quantile(each, 0.99)),
  ];
}

const single = (what: string, value: number): Figure => figure(what, "ms", [value], { digits: 1 });

async function postAll(agent: Agent, all: readonly Subscriber[]): Promise<void> {
  const queue = all.entries();
  const worker = async () => {
    for (const [number, { callbackReference = "" }] of queue) {
      const { origin, pathname } = new URL(callbackReference);
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify(note(number));
      const answer = await agent.request({ origin, path: pathname, method: "POST", headers, body });
      await answer.body.dump();
    }
  };
  await Promise.all(Array.from({ length: queueDefaults.atOnce }, worker));
}
