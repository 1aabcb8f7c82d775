/**
 * How does Mp1 answer, asked from the appliance's own namespace?
 *
 * A process there: questions as JSON lines on stdin, answers on stdout (test/lab/rpc.ts). Connections stay open, one set of
 * each number of them.
 *
 * Usage: loader.ts <address> <port>
 */
import { answerQuestions } from "../lab/rpc.ts";
import { type Load, LoadConnections } from "./http-load.ts";

interface Question {
  connections: number;
  /** Octets as text: no body of ours has others than ASCII. */
  requests: { octets: string; status: number }[];
}

const [host = "", port = ""] = process.argv.slice(2);
const open = new Map<number, Promise<LoadConnections>>();

async function send({ connections, requests }: Question): Promise<Load> {
  const known = open.get(connections) ?? LoadConnections.open(Number(port), connections, host);
  open.set(connections, known);
  const all = requests.map(({ octets, status }) => ({ octets: Buffer.from(octets, "latin1"), status }));
  return (await known).send(all);
}

answerQuestions(send);
