/**
 * How is a running QEMU spoken to, and which of this machine's ports are free?
 *
 * Over its monitor socket (QMP): a greeting, `qmp_capabilities`, then one command. Source: QEMU Machine Protocol
 * Specification, docs/interop/qmp-spec.
 */
import { connect, createServer } from "node:net";

const patienceMs = 10_000;

/** What it answers. @throws Error when nobody listens there, or it says no */
export function tell(socket: string, command: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const client = connect(socket);
    const done = (error?: Error, value?: unknown) => {
      client.destroy();
      if (error) reject(error);
      else resolve(value);
    };
    let text = "";
    let asked = false;
    client.setTimeout(patienceMs, () => done(new Error(`${socket}: no answer`)));
    client.on("error", done);
    // `quit` may end it before its answer is through.
    client.on("close", () => (asked && command === "quit" ? resolve(undefined) : reject(new Error("it went away"))));
    client.setEncoding("utf8").on("data", (data: string) => {
      text += data;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const message = JSON.parse(text.slice(0, end)) as Record<string, unknown>;
        text = text.slice(end + 1);
        if ("QMP" in message) client.write('{"execute":"qmp_capabilities"}\n');
        else if ("error" in message) done(new Error(`${command}: ${JSON.stringify(message.error)}`));
        else if ("return" in message && !asked) {
          asked = true;
          client.write(`${JSON.stringify({ execute: command })}\n`);
        } else if ("return" in message) done(undefined, message.return);
      }
    });
  });
}

/** TCP ports of 127.0.0.1 that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve, reject) => {
        server.once("error", reject).listen(0, "127.0.0.1", () => resolve(server));
      });
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}
