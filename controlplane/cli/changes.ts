/**
 * Many services at once, and the way back: apply, confirm, rollback, history.
 */
import { type Command, InvalidArgumentError } from "commander";
import { milliseconds } from "../config/duration.ts";
import type { SetResult, Waiting } from "../intents/sets.ts";
import {
  type HistoryView,
  historyLines,
  type RevisionView,
  revisionLines,
  setLines,
  waitingLines,
} from "./change-views.ts";
import { Client, type ClientOptions, query } from "./client.ts";
import { print, type Show } from "./output.ts";
import { readServices } from "./source.ts";

/** Warnings go where they do not disturb what reads the answer. */
function printSet(done: SetResult, options: Show): void {
  for (const { message } of done.warnings ?? []) process.stderr.write(`warning: ${message}\n`);
  print(done, setLines, options);
}

type Common = ClientOptions & Show;

function seconds(text: string): number {
  const time = milliseconds(text);
  if (!Number.isFinite(time) || time < 1000 || time % 1000 !== 0) {
    throw new InvalidArgumentError("must be whole seconds, as 120s, 5m or 1h");
  }
  return time / 1000;
}

function revision(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError("must be a revision's number: see offramp history");
  return Number(text);
}

export function applyVerb(command: Command): void {
  command
    .description("make the services exactly those of a file, all of them or nothing")
    .requiredOption("-f, --file <file>", "a list of services, YAML or JSON; - is standard input")
    .option("--confirm <time>", "take the change back unless it is confirmed in time: 120s", seconds)
    .option("--dry-run", "only say what would change")
    .action(async (options: Common & { file: string; confirm?: number; dryRun?: boolean }) => {
      const { file, confirm, dryRun } = options;
      const path = `/api/v1/services${query({ confirm, dryRun: dryRun ? "true" : undefined })}`;
      const done = await new Client(options).json<SetResult>("PUT", path, readServices(file, true));
      printSet(done, options);
    });
}

export function confirmVerb(command: Command): void {
  command
    .description("keep the change that waits to be confirmed")
    .action(async (options: Common) =>
      print(await new Client(options).json<Waiting>("POST", "/api/v1/confirm"), waitingLines, options),
    );
}

export function rollbackVerb(command: Command): void {
  command
    .argument("[revision]", "default: before the change that waits to be confirmed", revision)
    .description("go back to the services of an earlier revision; a new revision")
    .action(async (to: number | undefined, options: Common) => {
      const body = to === undefined ? {} : { revision: to };
      printSet(await new Client(options).json<SetResult>("POST", "/api/v1/rollback", body), options);
    });
}

export function historyVerb(command: Command): void {
  command
    .argument("[revision]", "show this one", revision)
    .description("changes of the services, newest first")
    .option("--services", "of one revision: the whole set that it left")
    .option("--offset <n>", "skip so many", revision, 0)
    .option("--limit <n>", "show so many", revision, 20)
    .action(
      async (number: number | undefined, options: Common & { services?: boolean; offset: number; limit: number }) => {
        const client = new Client(options);
        if (number === undefined) {
          const { offset, limit } = options;
          return print(
            await client.get<HistoryView>(`/api/v1/history${query({ offset, limit })}`),
            historyLines,
            options,
          );
        }
        const path = `/api/v1/history/${number}${query({ services: options.services ? "true" : undefined })}`;
        print(await client.get<RevisionView>(path), revisionLines, options);
      },
    );
}
