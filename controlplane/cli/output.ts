/**
 * How is data shown: as JSON for programs, as text for people?
 *
 * Verbs hand over data and a pure function that turns it into lines; what is printed with `--json` is the same data.
 */

/** Columns are as wide as their widest cell; the last is not padded. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => [...(row[column] ?? "")].length)));
  return all.map((row) =>
    row
      .map((cell, column) =>
        column === head.length - 1 ? cell : cell + " ".repeat((widths[column] ?? 0) - [...cell].length),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** `90s` → `1m30s`. */
export function age(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${whole % 60}s`;
  return `${Math.floor(whole / 3600)}h${Math.floor((whole % 3600) / 60)}m`;
}

/** Thousands apart: `1 234 567`. */
export const number = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, " ");

export const plural = (count: number, noun: string): string => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

export interface Show {
  json?: boolean;
}

/** One place writes to standard output. A reader that went away (`| head`) is no failure. */
export function print<T>(data: T, format: (data: T) => readonly string[], { json }: Show): void {
  const text = json ? JSON.stringify(data, null, 2) : format(data).join("\n");
  if (text !== "") process.stdout.write(`${text}\n`);
}
