/**
 * What is left of an agent's name server when the agent is killed?
 *
 * A process for the test to kill: `mortal.ts directory port` starts the name server, gives it one record and prints its pid.
 */
import pino from "pino";
import { DnsServer } from "../../../mep/dns/unbound.ts";

const [directory = "", port = ""] = process.argv.slice(2);
const server = new DnsServer({
  directory,
  listen: [{ address: "127.0.0.1", port: Number(port) }],
  upstream: [],
  apps: [],
  log: pino({ level: "silent" }),
});
await server.start();
await server.set([{ name: "shop.example.com", type: "A", address: "10.60.0.10", ttl: 60 }]);
console.log(server.pid);
