/**
 * How fast does an HTTP server answer, as seen over connections that stay open?
 *
 * As little as can be between the clock and the socket, so that the server is what is measured: requests are octets made
 * before, answers are read up to their Content-Length. Each connection has one request under way.
 */
import { connect, type Socket } from "node:net";

export interface Request {
  /** All of it: request line, headers, body. */
  octets: Buffer;
  status: number;
  /** Octets of the body that has to come; undefined: any. */
  length?: number;
}

export interface Load {
  /** Requests per second. */
  rate: number;
  /** Milliseconds, of each request. */
  latencies: number[];
  /** Location of each answer that had one. */
  locations: string[];
}

export function octetsOf(method: string, path: string, headers: Record<string, string>, body?: object): Buffer {
  const text = body === undefined ? "" : JSON.stringify(body);
  const all = {
    host: "127.0.0.1",
    ...headers,
    ...(body && { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) }),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${text}`);
}

interface Head {
  status: number;
  /** Octets of head and body together. */
  total: number;
  length: number;
  location?: string;
}

function readHead(octets: Buffer): Head | undefined {
  const end = octets.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const text = octets.toString("latin1", 0, end);
  const status = Number(text.slice(9, 12));
  const length = status === 204 ? 0 : Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? Number.NaN);
  if (Number.isNaN(length)) throw new Error(`an answer without Content-Length: ${text.slice(0, 200)}`);
  const location = /\r\nlocation: (\S+)/i.exec(text)?.[1];
  return { status, length, total: end + 4 + length, ...(location !== undefined && { location }) };
}

const idleMs = 5000;

export class LoadConnections {
  readonly #sockets: Socket[] = [];
  /** When the last answer came. */
  #used = performance.now();

  private constructor(
    readonly port: number,
    readonly host: string,
  ) {}

  static async open(port: number, count: number, host = "127.0.0.1"): Promise<LoadConnections> {
    const load = new LoadConnections(port, host);
    for (let i = 0; i < count; i += 1) load.#sockets.push(await load.#connect());
    return load;
  }

  async #connect(): Promise<Socket> {
    const socket = connect(this.port, this.host);
    socket.setNoDelay(true);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return socket;
  }

  /** Servers close what has been idle for some seconds: what may be closed any moment is made anew. */
  async #renew(): Promise<void> {
    if (performance.now() - this.#used < idleMs) return;
    for (const [i, socket] of this.#sockets.entries()) {
      socket.destroy();
      this.#sockets[i] = await this.#connect();
    }
  }

  /** Sends all of `requests`, each once. @throws Error when an answer is not what it has to be */
  async send(requests: readonly Request[]): Promise<Load> {
    const latencies: number[] = [];
    const locations: string[] = [];
    let next = 0;
    await this.#renew();
    const began = performance.now();
    await Promise.all(
      this.#sockets.map(
        (socket) =>
          new Promise<void>((resolve, reject) => {
            let current: Request | undefined;
            let sent = 0;
            let got: Buffer[] = [];
            let size = 0;
            let head: Head | undefined;
            const end = (error?: Error) => {
              socket.removeAllListeners("data").removeAllListeners("close").removeAllListeners("error");
              if (error) reject(error);
              else resolve();
            };
            const go = () => {
              current = requests[next];
              next += 1;
              if (!current) return end();
              sent = performance.now();
              socket.write(current.octets);
            };
            const answered = ({ status, length, location }: Head) => {
              latencies.push(performance.now() - sent);
              if (status !== current?.status || (current.length !== undefined && current.length !== length)) {
                const text = Buffer.concat(got).toString("latin1").slice(0, 300);
                return end(new Error(`${status} with ${length} octets instead of ${current?.status}: ${text}`));
              }
              if (location !== undefined) locations.push(location);
              got = [];
              size = 0;
              head = undefined;
              go();
            };
            socket.on("data", (chunk: Buffer) => {
              got.push(chunk);
              size += chunk.length;
              if (!head) {
                got = [Buffer.concat(got)];
                head = readHead(got[0] ?? chunk);
              }
              if (head && size >= head.total) answered(head);
            });
            socket.once("close", () => end(new Error("the server closed a connection")));
            socket.once("error", end);
            go();
          }),
      ),
    );
    this.#used = performance.now();
    return { rate: (requests.length * 1000) / (performance.now() - began), latencies, locations };
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
