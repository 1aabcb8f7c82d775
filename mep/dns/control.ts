/**
 * How is a running Unbound told something?
 *
 * Over its control socket, a local one, by the protocol of unbound-control(8): `UBCT1 command`, the lines that the command
 * wants, an end of transmission; the answer until it closes. One command for each connection.
 */
import { connect } from "node:net";

const END = "\u0004\n";
const mostOctets = 64 << 20;

/** `lines`: for commands that read some (`local_datas`). @throws Error when nobody listens, it takes too long, or it refuses */
export async function control(
  path: string,
  command: string,
  lines?: readonly string[],
  timeoutMs = 10_000,
): Promise<string> {
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(new Error(`${command}: no answer`)), timeoutMs);
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (more: string) => {
      text += more;
      if (text.length > mostOctets) socket.destroy(new Error(`${command}: the answer is too long`));
    });
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
    socket.on("close", () => {
      clearTimeout(timer);
      reject(new Error(`${command}: closed without an answer`));
    });
    socket.write(`UBCT1 ${command}\n${lines ? lines.map((line) => `${line}\n`).join("") + END : ""}`);
  });
  const refused = /^error.*/m.exec(answer);
  if (refused) throw new Error(`${command}: ${refused[0]}`);
  return answer;
}
