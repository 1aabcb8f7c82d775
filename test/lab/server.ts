/**
 * Who answered, and whom did it see?
 *
 * An HTTP, UDP echo and TCP echo server for one namespace; the Internet's origin and the edge apps are all this. Every
 * answer begins with the server's name and the client's address as the server saw it, which is what the tests compare.
 *
 *   server.ts --name core --listen 203.0.113.10,203.0.113.80 [--http 80,8080] [--echo 7] [--delay 15]
 *
 * HTTP: `/data?bytes=N&seed=S` gives N reproducible octets, which caches may keep for `age=A` seconds, PUT and POST to `/digest` answer with the digest of what
 * arrived, everything else a JSON of what was seen; `--delay` milliseconds later each. It prints one line `ready` when all sockets listen. UDP
 * answers `later <ms> …` so much later. One UDP socket per address, so that the answer leaves from the address that was asked.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createTcpServer, isIPv6 } from "node:net";
import { parseArgs } from "node:util";
import { pattern } from "./pattern.ts";

const { values } = parseArgs({
  options: {
    name: { type: "string", default: "server" },
    listen: { type: "string", default: "0.0.0.0" },
    http: { type: "string", default: "80,8080" },
    echo: { type: "string", default: "7" },
    delay: { type: "string", default: "0" },
  },
});
const name = values.name;
const delay = Number(values.delay);
const plain = (address: string | undefined): string => (address ?? "").replace(/^::ffff:/, "");
let requests = 0;

for (const address of values.listen.split(",").filter(Boolean)) {
  for (const port of values.http.split(",").filter(Boolean).map(Number)) {
    const server = createServer(async (request, reply) => {
      if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
      requests += 1;
      const url = new URL(request.url ?? "/", "http://server");
      const client = plain(request.socket.remoteAddress);
      reply.setHeader("x-server", name);
      reply.setHeader("x-client", client);
      if (url.pathname === "/data") {
        const data = pattern(Number(url.searchParams.get("bytes") ?? 1000), Number(url.searchParams.get("seed") ?? 1));
        const age = url.searchParams.get("age");
        if (age !== null) reply.setHeader("cache-control", `public, max-age=${Number(age)}`);
        reply.setHeader("content-length", data.length);
        reply.end(data);
        return;
      }
      const digest = createHash("sha256");
      let bytes = 0;
      request.on("data", (chunk: Buffer) => {
        digest.update(chunk);
        bytes += chunk.length;
      });
      request.on("end", () => {
        reply.setHeader("content-type", "application/json");
        reply.end(
          JSON.stringify({
            server: name,
            client,
            clientPort: request.socket.remotePort,
            address: plain(request.socket.localAddress),
            port: request.socket.localPort,
            host: request.headers.host,
            forwardedFor: request.headers["x-forwarded-for"],
            path: url.pathname,
            requests,
            ...(bytes > 0 ? { bytes, sha256: digest.digest("hex") } : {}),
          }),
        );
      });
    });
    server.keepAliveTimeout = 120_000;
    server.listen({ host: address, port });
    await once(server, "listening");
  }
  for (const port of values.echo.split(",").filter(Boolean).map(Number)) {
    const udp = createSocket(isIPv6(address) ? "udp6" : "udp4");
    udp.on("message", (data, from) => {
      const head = Buffer.from(`${name} ${plain(from.address)} ${from.port} `);
      const answer = (): void => udp.send(Buffer.concat([head, data]), from.port, from.address, () => undefined);
      const later = /^later (\d+)/.exec(data.toString("latin1", 0, 12))?.[1];
      if (later) setTimeout(answer, Number(later));
      else answer();
    });
    udp.on("error", () => undefined);
    udp.bind(port, address);
    await once(udp, "listening");
    udp.setRecvBufferSize(4 << 20);
    const tcp = createTcpServer((socket) => {
      socket.setNoDelay(true);
      socket.write(`${name} ${plain(socket.remoteAddress)} ${socket.remotePort}\n`);
      socket.on("error", () => socket.destroy());
      socket.pipe(socket);
    });
    tcp.listen({ host: address, port });
    await once(tcp, "listening");
  }
}
console.log("ready");
