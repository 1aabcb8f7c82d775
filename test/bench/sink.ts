/**
 * When has each notification arrived?
 *
 * A process of its own: an HTTP server that answers 204, and over the channel to its parent, when asked, the times at which
 * requests were complete: nanoseconds of CLOCK_MONOTONIC, which is the same in all processes.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

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
process.on("message", () => {
  process.send?.({ times });
  times = [];
});
process.on("disconnect", () => process.exit(0));
