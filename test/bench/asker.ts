/**
 * How long does the appliance's API take, without the start of a process in it?
 *
 * Runs in the appliance's namespace: questions as JSON lines on stdin, answers on stdout (test/lab/rpc.ts). One connection
 * is kept open, as an orchestrator's would be.
 */
import { Agent, request } from "node:http";
import { answerQuestions } from "../lab/rpc.ts";

interface Question {
  method: string;
  path: string;
  body?: unknown;
}

const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function ask({ method, path, body }: Question): Promise<{ status: number; body: string; ms: number }> {
  return new Promise((resolve, reject) => {
    const data = body === undefined ? undefined : JSON.stringify(body);
    const began = process.hrtime.bigint();
    const asked = request(
      {
        host: "127.0.0.1",
        port: 8090,
        agent,
        method,
        path,
        timeout: 60_000,
        headers: data === undefined ? {} : { "content-type": "application/json", "content-length": data.length },
      },
      (reply) => {
        const chunks: Buffer[] = [];
        reply.on("data", (chunk: Buffer) => chunks.push(chunk));
        reply.on("error", reject);
        reply.on("end", () => {
          const ms = Number(process.hrtime.bigint() - began) / 1e6;
          resolve({ status: reply.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8"), ms });
        });
      },
    );
    asked.on("timeout", () => asked.destroy(new Error("no answer in a minute")));
    asked.on("error", reject);
    asked.end(data);
  });
}

answerQuestions(ask);
