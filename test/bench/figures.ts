/**
 * What is a figure, and how is it shown?
 *
 * A figure is a median with its range, over rounds or over events, and where there is one the bar beside it. A figure whose
 * check failed has no value: the table says why instead. Text and Markdown come from the same rows.
 */
export interface Figure {
  what: string;
  unit: string;
  /** Digits behind the point. */
  digits: number;
  median: number;
  low: number;
  high: number;
  /** Median over the rounds of the value divided by its yardstick's of the same round. */
  ratio?: number;
  /** Bar for `ratio`, or for `median` where there is no ratio. */
  bar?: { most?: number; least?: number };
  /** What is to be known beside it. */
  note?: string;
}

export interface Failed {
  what: string;
  failed: string;
}

export interface Section {
  name: string;
  title: string;
  rows: (Figure | Failed)[];
}

export const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

/** The value below which `part` of all lie (nearest rank). @throws RangeError when there is none */
export function quantile(values: readonly number[], part: number): number {
  const all = sorted(values);
  const value = all[Math.min(all.length - 1, Math.max(0, Math.ceil(part * all.length) - 1))];
  if (value === undefined) throw new RangeError("no values");
  return value;
}

export function median(values: readonly number[]): number {
  const all = sorted(values);
  const [low, high] = [all[(all.length - 1) >> 1], all[all.length >> 1]];
  if (low === undefined || high === undefined) throw new RangeError("no values");
  return (low + high) / 2;
}

/** A figure over rounds. `ratios`: by round, of those rounds in which both were measured. */
export function figure(
  what: string,
  unit: string,
  values: readonly number[],
  more: { digits?: number; ratios?: readonly number[]; bar?: Figure["bar"]; note?: string } = {},
): Figure {
  const { ratios, ...rest } = more;
  return {
    what,
    unit,
    digits: 0,
    median: median(values),
    low: Math.min(...values),
    high: Math.max(...values),
    ...(ratios && ratios.length > 0 && { ratio: median(ratios) }),
    ...rest,
  };
}

/**
 * Ratios by round. Rounds whose yardstick came out at nothing or less (a disturbance in the empty program's turn) do not
 * count. @throws Error when these are more than half: then the machine is too restless to say anything.
 */
export function ratios(values: readonly number[], yardstick: readonly number[]): number[] {
  const found = values.flatMap((value, round) => {
    const by = yardstick[round] ?? 0;
    return by > 0 && value > 0 ? [value / by] : [];
  });
  if (found.length * 2 <= values.length)
    throw new Error(`only ${found.length} of ${values.length} rounds can be compared`);
  return found;
}

/** True, false, or undefined when there is no bar. */
export function met({ bar, ratio, median }: Figure): boolean | undefined {
  if (!bar) return undefined;
  // What is printed is what is judged: two digits.
  const value = Math.round((ratio ?? median) * 100) / 100;
  return value <= (bar.most ?? Number.POSITIVE_INFINITY) && value >= (bar.least ?? Number.NEGATIVE_INFINITY);
}

const barText = ({ bar }: Figure): string =>
  bar?.most !== undefined ? `≤ ${bar.most}` : bar?.least !== undefined ? `≥ ${bar.least}` : "";

const number = (value: number, digits: number): string => value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/g, " ");

const cells = (row: Figure | Failed): string[] => {
  if ("failed" in row) return [row.what, `no figure: ${row.failed}`, "", "", "", "", ""];
  const judged = met(row);
  const single = row.low === row.high;
  return [
    row.what,
    `${number(row.median, row.digits)} ${row.unit}`.trim(),
    single ? "" : `${number(row.low, row.digits)} … ${number(row.high, row.digits)}`,
    row.ratio === undefined ? "" : row.ratio.toFixed(2),
    barText(row),
    judged === undefined ? "" : judged ? "met" : "not met",
    row.note ?? "",
  ];
};

const heads = ["", "median", "range", "ratio", "bar", "", ""];

export function asText({ title, rows }: Section): string {
  const table = [heads, ...rows.map(cells)];
  const widths = heads.map((_, i) =>
    Math.max(...table.map((row) => (row[1]?.startsWith("no figure") && i > 0 ? 0 : (row[i]?.length ?? 0)))),
  );
  const lines = table.map((row) =>
    row.map((cell, i) => (i === 0 || i === 6 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "),
  );
  return `${title}\n${lines.map((line) => `  ${line.trimEnd()}`).join("\n")}\n`;
}

export function asMarkdown({ title, rows }: Section): string {
  const line = (row: string[]): string => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const used = heads.map((_, i) => i < 3 || rows.some((row) => (cells(row)[i] ?? "") !== ""));
  const keep = (row: string[]): string[] => row.filter((_, i) => used[i]);
  const aligned = heads.map((_, i) => (i === 0 || i === 6 ? "---" : "---:"));
  return [
    `**${title}**`,
    "",
    line(keep(heads)),
    line(keep(aligned)),
    ...rows.map((row) => line(keep(cells(row)))),
  ].join("\n");
}

/** Puts `text` between `<!-- bench:name -->` and `<!-- /bench:name -->`. @throws Error when a marker is missing */
export function between(document: string, name: string, text: string): string {
  const [from, to] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const [at, end] = [document.indexOf(from), document.indexOf(to)];
  if (at < 0 || end < at) throw new Error(`there are no markers ${from} … ${to}`);
  return `${document.slice(0, at + from.length)}\n${text}\n${document.slice(end)}`;
}
