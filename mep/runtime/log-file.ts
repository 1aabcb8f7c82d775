/**
 * What has an instance printed?
 *
 * conmon writes the file, one line of the instance a line: `<time> stdout F <text>`; `P` where a long line goes on in the next one
 * (the CRI log format). When the file has reached its size it begins anew.
 */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import type { LogLine } from "./runtime.ts";

const everyMs = 250;
const most = 1 << 20;

/** Pure: whole lines of a file, and what waits for the rest of its line. */
export class LogParser {
  #rest = "";
  #parts: LogLine | undefined;

  parse(text: string): LogLine[] {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => {
      const [, time = "", stream = "", tag = "", said = ""] = /^(\S+) (stdout|stderr) ([FP]) ?(.*)$/s.exec(line) ?? [];
      if (time === "") return [];
      const begun = this.#parts;
      const whole: LogLine = {
        time: begun?.time ?? time,
        stream: stream as LogLine["stream"],
        text: (begun?.text ?? "") + said,
      };
      this.#parts = tag === "P" ? whole : undefined;
      return tag === "P" ? [] : [whole];
    });
  }
}

export function readLog(file: string, tail: number): LogLine[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return [];
  }
  const lines = new LogParser().parse(text);
  return tail <= 0 ? [] : lines.slice(-tail);
}

/** Gives what is written to the file from now on, until the returned function is called. */
export function followLog(file: string, listener: (line: LogLine) => void): () => void {
  let parser = new LogParser();
  let decoder = new StringDecoder();
  let inode: number | undefined;
  let offset = 0;
  const look = (begin: boolean): void => {
    let descriptor: number;
    try {
      descriptor = openSync(file, "r");
    } catch {
      return;
    }
    try {
      const { ino, size } = fstatSync(descriptor);
      if (begin) [inode, offset] = [ino, size];
      if (ino !== inode || size < offset) {
        [inode, offset] = [ino, 0];
        [parser, decoder] = [new LogParser(), new StringDecoder()];
      }
      const buffer = Buffer.alloc(Math.min(size - offset, most));
      const count = readSync(descriptor, buffer, 0, buffer.length, offset);
      offset += count;
      for (const line of parser.parse(decoder.write(buffer.subarray(0, count)))) listener(line);
    } finally {
      closeSync(descriptor);
    }
  };
  look(true);
  const timer = setInterval(() => look(false), everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
