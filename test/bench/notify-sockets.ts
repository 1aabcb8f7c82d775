/**
 * How fast are many apps told over WebSockets?
 *
 * Part of section `notify`: 1 000 subscriptions, each with its WebSocket, all of them open. In the same round a bare WebSocket
 * server sends the same octets over as many, each as soon as it is asked to.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { Notifier } from "../../mep/notify/notifier.ts";
import type { Subscriber } from "../../mep/parts.ts";
import type { Figure } from "./figures.ts";
import { measured, note, type Round, rowsOf, Sink, subscribers } from "./notify.ts";

const instances = 100;

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

const numberOf = (path = ""): number => Number(path.slice(1));

export async function overWebSockets(rounds: number): Promise<Figure[]> {
  const all = Array.from(
    { length: subscribers },
    (_, number): Subscriber => ({ id: `s${number}`, instance: `app${number % instances}`, websocket: true }),
  );
  const notifier = new Notifier({
    instance: () => undefined,
    reach: () => "is not asked",
    sockets: { timeoutMs: 60_000 },
  });
  for (const one of all) notifier.admit(one);
  const own = createServer();
  own.on("upgrade", (request, stream, head) => {
    const subscriber = all[numberOf(request.url)];
    if (subscriber) notifier.sockets.upgrade(subscriber, request, stream, head);
  });
  const plain = createServer();
  const sockets: WebSocket[] = [];
  new WebSocketServer({ server: plain, perMessageDeflate: false }).on("connection", (socket, request) => {
    sockets[numberOf(request.url)] = socket;
  });
  const sink = await Sink.start();
  const ours: Round[] = [];
  const bare: Round[] = [];
  try {
    for (const server of [own, plain]) await sink.connect(await listen(server), subscribers);
    // The first round finds everything cold.
    for (let round = -1; round < rounds; round += 1) {
      const mine = await measured(sink, () => {
        for (const [number, one] of all.entries()) notifier.send(one, note(number));
      });
      const theirs = await measured(sink, () => {
        for (const [number, socket] of sockets.entries()) socket.send(JSON.stringify(note(number)));
      });
      if (round < 0) continue;
      ours.push(mine);
      bare.push(theirs);
    }
  } finally {
    sink.stop();
    await notifier.stop();
    for (const socket of sockets) socket.terminate();
    for (const server of [own, plain]) server.close();
  }
  return rowsOf("WebSocket", ours, bare, "ratio: to a bare server's");
}
