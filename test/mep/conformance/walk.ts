/**
 * Does a server know every path and method of an interface description, and no other?
 *
 *   each path ─▶ each method: listed ─▶ answered as listed, and with success; not listed ─▶ 405, Allow says what is
 *
 * Resources are made as the walk goes: what is answered 201 stands in later paths. Methods that take something away come last.
 */
import * as assert from "uvu/assert";
import type { Contract } from "./contract.ts";

export interface Walk {
  contract: Contract;
  root: string;
  /** Paths of the document that this server has; the others belong to another. */
  has: (path: string) => boolean;
  /** Values of path parameters; those that come with a POST are replaced by its Location. */
  parameters: Record<string, string>;
  /** Bodies by `POST /path`. */
  bodies: Record<string, unknown>;
  /** Called before `POST /path`. */
  before?: Record<string, () => void>;
  /** Judges the exchange itself, and throws. */
  call(
    method: string,
    url: string,
    body?: unknown,
  ): Promise<{ status: number; headers: Record<string, unknown>; text?: string }>;
}

const order = ["post", "get", "put", "patch", "delete"];

export interface Walked {
  listed: number;
  unlisted: number;
}

export async function walk({ contract, root, has, parameters, bodies, before = {}, call }: Walk): Promise<Walked> {
  const known = { ...parameters };
  const paths = [...new Set(contract.operations.map(({ path }) => path))].filter(has);
  const concrete = (path: string) =>
    root +
    path.replace(/\{([^}]+)\}/g, (_, name: string) => {
      assert.ok(known[name], `no value for {${name}} of ${path}`);
      return encodeURIComponent(known[name] ?? "");
    });
  const listedOf = (path: string) => contract.operations.filter((one) => one.path === path).map(({ method }) => method);
  const walked = { listed: 0, unlisted: 0 };

  // The shorter path makes what the longer one names.
  const steps = order.flatMap((method) => paths.map((path) => ({ method, path })));
  for (const { method, path } of steps.filter((step) => listedOf(step.path).includes(step.method))) {
    const key = `${method.toUpperCase()} ${path}`;
    before[key]?.();
    const { status, headers, text = "" } = await call(method.toUpperCase(), concrete(path), bodies[key]);
    assert.ok(status >= 200 && status < 300, `${key}: ${status} ${text}`);
    walked.listed += 1;
    if (status !== 201) continue;
    const made = decodeURIComponent(String(headers.location).split("/").at(-1) ?? "");
    const longer = paths.find((other) => other.startsWith(`${path}/{`));
    const name = /\{([^}]+)\}$/.exec(longer ?? "")?.[1];
    if (name) known[name] = made;
  }

  walked.unlisted = await refusesOthers({ contract, has, call, concrete });
  return walked;
}

/** What is not listed is answered 405, and Allow says what is. Returns how many methods that are. */
export async function refusesOthers({
  contract,
  has,
  call,
  concrete,
}: Pick<Walk, "contract" | "has" | "call"> & { concrete: (path: string) => string }): Promise<number> {
  let unlisted = 0;
  for (const path of new Set(contract.operations.map((one) => one.path))) {
    if (!has(path)) continue;
    const listed = contract.operations.filter((one) => one.path === path).map(({ method }) => method);
    for (const method of order.filter((one) => !listed.includes(one as (typeof listed)[number]))) {
      const { status, headers } = await call(method.toUpperCase(), concrete(path));
      assert.is(status, 405, `${method} ${path}`);
      const allowed = String(headers.allow)
        .split(", ")
        .filter((one) => one !== "HEAD")
        .map((one) => one.toLowerCase());
      assert.equal(allowed.sort(), listed.sort(), `Allow of ${path}`);
      unlisted += 1;
    }
  }
  return unlisted;
}
