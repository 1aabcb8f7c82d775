/**
 * What does a name server answer?
 */
import { createSocket } from "node:dgram";
import packet from "dns-packet";
import { until } from "../../lab/netns.ts";

export interface Answer {
  code: string;
  /** `A 10.60.0.10 60`, sorted. */
  data: string[];
  authority: string[];
}

/** A UDP port of loopback that nobody has at the moment. */
export async function freePort(): Promise<number> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}

/** Undefined when nothing comes within two seconds. */
async function once(port: number, query: Uint8Array): Promise<Buffer | undefined> {
  const socket = createSocket("udp4");
  try {
    return await new Promise<Buffer | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), 2000);
      socket.on("message", (message) => {
        clearTimeout(timer);
        resolve(message);
      });
      socket.on("error", () => resolve(undefined));
      socket.send(query, port, "127.0.0.1");
    });
  } finally {
    socket.close();
  }
}

/** Asks until it is answered: a name whose records change is silent for a moment. */
export function ask(port: number, name: string, type: "A" | "AAAA" | "HTTPS" = "A"): Promise<Answer> {
  const questions = [{ name, type: type as "A", class: "IN" as const }];
  const query = packet.encode({ type: "query", id: 7, flags: packet.RECURSION_DESIRED, questions });
  return until(
    `an answer for ${name}`,
    async () => {
      const octets = await once(port, query);
      if (!octets) return undefined;
      const {
        answers = [],
        authorities = [],
        rcode,
      } = packet.decode(octets) as ReturnType<typeof packet.decode> & {
        rcode: string;
      };
      const text = (one: object) => {
        const { type, data, ttl } = one as { type: string; data: unknown; ttl: number };
        return `${type} ${data} ${ttl}`;
      };
      return { code: rcode, data: answers.map(text).sort(), authority: authorities.map(({ type }) => type) };
    },
    20_000,
  );
}
