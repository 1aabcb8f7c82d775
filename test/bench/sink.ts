/**
 * When has each notification arrived?
 *
 * A process of its own: an HTTP server that answers 204, and over the channel to its parent, when asked, the times at which
 * requests were complete: nanoseconds of CLOCK_MONOTONIC, which is the same in all processes. Told to, it connects WebSockets
 * to a server, `/0` and so on, whose messages count likewise.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocket } from "ws";

let times: string[] = [];

const server = createServer((request, response) => {
  request.resume().on("end", () => {
    times.push(String(process.hrtime.bigint()));
    response.writeHead(204).end();
  });
});
server.keepAliveTimeout = 5000;
server.listen({ host: "0.0.0.0", port: 0, backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as AddressInfo).port });
});

async function connect(port: number, count: number): Promise<void> {
  for (let number = 0; number < count; number += 1) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/${number}`);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    socket.on("message", () => times.push(String(process.hrtime.bigint())));
    socket.on("error", () => undefined);
  }
}

process.on("message", (message: { connect?: { port: number; count: number } }) => {
  if (message.connect) {
    const { port, count } = message.connect;
    connect(port, count).then(
      () => process.send?.({ connected: count }),
      () => process.exit(1),
    );
    return;
  }
  process.send?.({ times });
  times = [];
});
process.on("disconnect", () => process.exit(0));
