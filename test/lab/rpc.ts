/**
 * How does a test talk with a helper process in a namespace?
 *
 * JSON lines: a question with an `id` on its stdin, an answer with the same `id` on its stdout. Lines without `id` are
 * events.
 */
import { createInterface } from "node:readline";
import type { Process } from "./netns.ts";

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

export class Rpc {
  readonly process: Process;
  private next = 1;
  private readonly waiting = new Map<number, Waiting>();
  /** Called with each line that answers nothing. */
  onEvent: (event: Record<string, unknown>) => void = () => undefined;

  constructor(process: Process) {
    this.process = process;
    process.onLine((line) => {
      if (!line.startsWith("{")) return;
      const message = JSON.parse(line) as { id?: number; result?: unknown; error?: string };
      if (message.id === undefined) return this.onEvent(message);
      const one = this.waiting.get(message.id);
      if (!one) return;
      this.waiting.delete(message.id);
      clearTimeout(one.timer);
      if (message.error !== undefined) one.reject(new Error(`${process.name}: ${message.error}`));
      else one.resolve(message.result);
    });
    void process.ended.then((code) => {
      for (const one of this.waiting.values()) {
        clearTimeout(one.timer);
        one.reject(new Error(`${process.name} ended with ${code}:\n${process.log}`));
      }
      this.waiting.clear();
    });
  }

  async ready(): Promise<this> {
    await this.process.said(/"ready":true/, 20_000);
    return this;
  }

  /** @throws what the helper answered as its error, or when it does not answer in `timeoutMs`. */
  call<T>(op: string, question: object = {}, timeoutMs = 60_000): Promise<T> {
    const id = this.next++;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Error(`${this.process.name}: no answer to ${op} in ${timeoutMs} ms`));
      }, timeoutMs);
      this.waiting.set(id, { resolve: resolve as (result: unknown) => void, reject, timer });
      this.process.write(JSON.stringify({ id, op, ...question }));
    });
  }
}

/** The helper's end: `work` answers each question, several at a time; the process ends with its stdin. */
export function answerQuestions<Question>(work: (question: Question) => Promise<unknown>): void {
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const { id, ...question } = JSON.parse(line) as { id: number };
      const answer = (message: object) => process.stdout.write(`${JSON.stringify({ id, ...message })}\n`);
      work(question as Question).then(
        (result) => answer({ result }),
        (error: Error) => answer({ error: error.message || `${error}` }),
      );
    })
    .on("close", () => process.exit(0));
}
