/**
 * How does a browser of this machine get at a page of a lab?
 *
 *   127.0.0.1:8091 here ──▶ socket in the lab's directory ──▶ this program in the namespace ──▶ 10.60.0.1:8091
 *
 * Namespaces share files, so a socket that has a path leads from one to the other.
 *
 *   door.ts --socket /tmp/lab-…/mp1.socket --to 10.60.0.1:8091        the end inside
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Lab } from "./lab.ts";

/** Octets both ways, until one side ends. */
function splice(from: Socket, to: NetConnectOpts): void {
  const other = connect(to);
  for (const [one, peer] of [
    [from, other],
    [other, from],
  ] as const) {
    one.on("error", () => peer.destroy());
    one.on("close", () => peer.destroy());
    one.pipe(peer);
  }
}

/**
 * Leads from a port of this machine's loopback to a port as seen from machine `ns`, as long as the lab and this process are there.
 * Returns the port: `wanted`, or another one where that is taken.
 */
export async function openDoor(lab: Pick<Lab, "machines">, ns: string, to: string, wanted: number): Promise<number> {
  const path = join(lab.machines.directory, `${ns}.socket`);
  const inside = lab.machines.helper(ns, `door ${ns}`, "door", ["--socket", path, "--to", to]);
  await inside.said(/^ready$/m, 20_000);
  const server = createServer((socket) => splice(socket, { path }));
  for (const port of [wanted, 0]) {
    server.listen({ host: "127.0.0.1", port });
    const good = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (good) break;
  }
  // Nobody waits for a door alone.
  server.unref();
  return (server.address() as AddressInfo).port;
}

async function serve(path: string, to: string): Promise<void> {
  const { hostname, port } = new URL(`tcp://${to}`);
  const server = createServer((socket) => splice(socket, { host: hostname, port: Number(port) }));
  server.listen(path);
  await once(server, "listening");
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const { values } = parseArgs({ options: { socket: { type: "string" }, to: { type: "string" } } });
  await serve(values.socket ?? "", values.to ?? "");
  process.stdout.write("ready\n");
}
