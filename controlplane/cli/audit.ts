/**
 * `offramp audit ls|verify|export`: who did what, whether the log is whole, and how it is kept elsewhere.
 *
 * `export` checks what it receives, entry by entry, before it is a file; only what is safely in that file can be removed from
 * the appliance (`--truncate`). `verify` asks the agent, or reads the log itself (`--config`), or an export (`--file`).
 */
import { closeSync, createReadStream, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import { type Command, InvalidArgumentError } from "commander";
import { type Verdict, verifyTable } from "../access/audit.ts";
import { AuditTable } from "../access/audit-table.ts";
import { type Anchor, ChainReader, type Entry } from "../access/chain.ts";
import { loadSite } from "../config/load.ts";
import { CliError, Client, type ClientOptions, query } from "./client.ts";
import { plural, print, type Show, table } from "./output.ts";

type Common = ClientOptions & Show;

interface EntryView extends Partial<Omit<Entry, "time" | "kind">> {
  number: number;
  time: string;
  kind: string;
  who: string;
}

interface AuditView {
  total: number;
  entries: EntryView[];
}

interface ListOptions extends Common {
  who?: string;
  on?: string;
  kind?: string;
  from?: string;
  status?: string;
  since?: string;
  until?: string;
  before?: string;
  limit?: string;
}

function whatOf({ kind, method, path, object, of, detail }: EntryView): string {
  const did = [method, path].filter(Boolean).join(" ");
  const times = detail?.times === undefined ? "" : `${detail.times} more like it`;
  const about = kind === "exported" ? `entries up to ${of} removed` : "";
  const said = [did, object, times, about].filter(Boolean).join(", ");
  return kind === "outcome" ? said : said === "" ? kind : `${kind}: ${said}`;
}

/** An attempt says nothing that its outcome does not say as well. */
export function auditLines({ total, entries }: AuditView): string[] {
  if (entries.length === 0) return ["nothing"];
  const settled = new Set(entries.filter(({ kind }) => kind === "outcome").map(({ of }) => of));
  const shown = entries.filter(({ kind, number }) => kind !== "attempt" || !settled.has(number));
  const rows = shown.map((entry) => [
    String(entry.number),
    entry.time,
    entry.who,
    entry.address ?? "-",
    entry.status === undefined ? "-" : String(entry.status),
    whatOf(entry),
  ]);
  const last = entries.at(-1)?.number ?? 0;
  const more =
    entries.length < total ? [`${plural(total, "entry").replace("entrys", "entries")}; older: --before ${last}`] : [];
  return [...table(["NUMBER", "TIME", "WHO", "FROM", "STATUS", "WHAT"], rows), ...more];
}

const verdictLines = ({ entries, head, fault }: Verdict): string[] => [
  fault === undefined
    ? `${entries} entries, all as they were written`
    : `WRONG: ${fault}; ${entries} before it are in order`,
  `head ${head.number}:${head.digest}`,
];

/** Reads an export; what is wrong with it ends the reading. */
async function verifyLines(
  lines: AsyncIterable<string>,
  each: (line: string) => void = () => undefined,
): Promise<Verdict> {
  let reader: ChainReader | undefined;
  let anchor: Anchor | undefined;
  let fault: string | undefined;
  for await (const line of lines) {
    if (line === "") continue;
    const value = JSON.parse(line) as { anchor: Anchor } | Entry;
    if (reader === undefined) {
      if (!("anchor" in value)) throw new CliError("this is no export of an audit log: its first line has no anchor");
      anchor = value.anchor;
      reader = new ChainReader(anchor);
    } else {
      fault = reader.follow(value as Entry);
      if (fault !== undefined) break;
    }
    each(line);
  }
  if (!reader || !anchor) throw new CliError("this is no export of an audit log: it is empty");
  return { entries: reader.count, head: reader.head, anchor, ...(fault !== undefined && { fault }) };
}

function headOf(text: string): Anchor {
  const found = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text);
  if (!found) throw new InvalidArgumentError("must be <number>:<digest>, as verify printed it");
  return { number: Number(found[1]), digest: found[2] ?? "" };
}

/** Writes what comes, durable when it returns; nothing is left of what was not whole. */
async function save(file: string, lines: AsyncIterable<string>): Promise<Verdict> {
  const unfinished = `${file}.unfinished`;
  const descriptor = openSync(unfinished, "w", 0o600);
  try {
    const verdict = await verifyLines(lines, (line) => writeSync(descriptor, `${line}\n`));
    if (verdict.fault !== undefined) throw new CliError(`nothing was kept: ${verdict.fault}`);
    fsyncSync(descriptor);
    renameSync(unfinished, file);
    return verdict;
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

export function auditVerb(command: Command, api: (command: Command) => Command): void {
  command.description("who did what, when, and what became of it");
  api(command.command("ls"))
    .description("entries, newest first")
    .option("--who <who>", 'such as "user alice", token, loopback, "app <client id>", nobody')
    .option("--on <api>", "management, mp1, agent, command line")
    .option("--kind <kind>", "outcome, refused, interrupted, …")
    .option("--from <address>", "only from this address")
    .option("--status <status>", "only with this answer")
    .option("--since <time>", "from then on: 2026-11-21T12:00:00Z")
    .option("--until <time>", "until then")
    .option("--before <number>", "entries with smaller numbers")
    .option("--limit <n>", "show so many", "50")
    .action(async (options: ListOptions) => {
      const { who, on, kind, from: address, status, since, until, before, limit } = options;
      const path = `/api/v1/audit${query({ who, api: on, kind, address, status, since, until, before, limit })}`;
      print(await new Client(options).get<AuditView>(path), auditLines, options);
    });
  api(command.command("verify"))
    .description("is every entry as it was written, and none missing? exit code 3 when not")
    .option("-c, --config <file>", "site.yaml: read the log itself")
    .option("-f, --file <file>", "an export")
    .option("--head <number:digest>", "a head that was noted earlier, which must be in the log", headOf)
    .action(async (options: Common & { config?: string; file?: string; head?: Anchor }) => {
      const verdict = await verify(options);
      print(verdict, verdictLines, options);
      if (verdict.fault !== undefined) process.exitCode = 3;
    });
  api(command.command("export"))
    .description("the whole log into a file, one JSON object a line, checked before it is kept")
    .requiredOption("-f, --file <file>", "where to")
    .option("--truncate", "remove from the appliance what the file has then")
    .action(async (options: Common & { file: string; truncate?: boolean }) => {
      const client = new Client(options);
      const { body } = await client.request("GET", "/api/v1/audit/export");
      if (!body) throw new CliError("the agent sent nothing");
      const input = Readable.fromWeb(body as ReadableStream);
      const verdict = await save(options.file, createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }));
      const { number: through, digest } = verdict.head;
      if (options.truncate && verdict.entries > 0) {
        await client.json("POST", "/api/v1/audit/truncate", { through, digest });
      }
      print(
        verdict,
        (done) => [...verdictLines(done), ...(options.truncate ? ["removed from the appliance"] : [])],
        options,
      );
    });
}

type VerifyOptions = Common & { config?: string; file?: string; head?: Anchor };

async function verify({ config, file, head, ...options }: VerifyOptions): Promise<Verdict> {
  if (file !== undefined) {
    const seen: (string | undefined)[] = [];
    const note = (line: string) => {
      const entry = JSON.parse(line) as Partial<Entry>;
      if (head && entry.number === head.number) seen.push(entry.digest);
    };
    const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY });
    return against(await verifyLines(lines, note), head, seen[0]);
  }
  if (config !== undefined) {
    const table = new AuditTable(loadSite(config).stateDir, { readOnly: true });
    try {
      return against(await verifyTable(table), head, head && table.get(head.number)?.digest);
    } finally {
      table.close();
    }
  }
  const client = new Client(options);
  const verdict = await client.get<Verdict>("/api/v1/audit/verify");
  if (!head) return verdict;
  const page = await client.get<AuditView>(`/api/v1/audit${query({ before: head.number + 1, limit: 1 })}`);
  const [found] = page.entries;
  return against(verdict, head, found?.number === head.number ? found.digest : undefined);
}

/** What was noted must be there, or be what an export took. */
function against(verdict: Verdict, noted: Anchor | undefined, digest: string | undefined): Verdict {
  if (!noted || verdict.fault !== undefined) return verdict;
  const { anchor } = verdict;
  const known = noted.number === anchor.number ? anchor.digest : digest;
  if (known === noted.digest || (known === undefined && noted.number < anchor.number)) return verdict;
  const said = known === undefined ? "is not there any more" : "is not the one that was noted";
  return { ...verdict, fault: `entry ${noted.number} ${said}` };
}
