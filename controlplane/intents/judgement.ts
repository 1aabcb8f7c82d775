/**
 * May a service stand beside those that are there, and what does it do to them?
 *
 * Refused: a name or a match that is taken, a priority that leaves a packet two owners, a service that could never act because
 * others have all of its packets or because they are protected, and one whose packets would come back. Accepted, but told:
 * what takes all packets from an older service, and what no packet of this site can meet, because a site may grow.
 */
import { Problem, type ProblemCode } from "../errors.ts";
import { type Conflict, conflicts } from "./compile.ts";
import type { ValidationContext } from "./context.ts";
import type { Intent } from "./model.ts";
import { universeOf } from "./universe.ts";
import { type Finding, judge, sharedPacket } from "./verify.ts";

const codeOf: Record<Conflict["kind"], ProblemCode> = {
  "same-name": "name-taken",
  "same-match": "same-match",
  ambiguous: "ambiguous",
};

function refuseConflicts(intent: Intent, others: readonly Intent[], context: ValidationContext): void {
  const found = conflicts(intent, others);
  const first = found[0];
  if (!first) return;
  const other = others.find(({ name }) => name === first.service);
  const packet = other && first.kind !== "same-name" && sharedPacket(intent, other, universeOf(context));
  throw new Problem(codeOf[first.kind], found.map((conflict) => conflict.message).join("; "), {
    services: [...new Set(found.map((conflict) => conflict.service))],
    ...(packet && { packet }),
  });
}

/** What is to be told of a service that is accepted. @throws Problem */
export function refuse(intent: Intent, others: readonly Intent[], context: ValidationContext): Finding[] {
  refuseConflicts(intent, others, context);
  const { refused, warned } = judge(intent, others, context);
  const first = refused[0];
  if (!first) return warned;
  const looped = refused.filter(({ kind }) => kind === "loop");
  if (looped.length > 0) {
    throw new Problem("invalid-service", looped.map(({ field, message }) => `${field}: ${message}`).join("; "), {
      errors: looped.map(({ field = "", message }) => ({ field, message })),
    });
  }
  const [, ...services] = first.services;
  throw new Problem(first.kind === "shadowed" ? "shadowed" : "unreachable", first.message, {
    ...(services.length > 0 && { services }),
    ...(first.packet && { packet: first.packet }),
  });
}

const quoted = (name: string): string => `"${encodeURIComponent(name)}"`;

/**
 * Value of the header Offramp-Warning: a list (RFC 9651) of what kind of finding it is, about which service, because of which
 * others. Names are percent-encoded. Undefined when there is nothing to say.
 */
export function warningHeader(findings: readonly Finding[]): string | undefined {
  if (findings.length === 0) return undefined;
  const shown = findings.slice(0, 20).map(({ kind, services: [about = "", ...by] }) => {
    const others = by.length > 0 ? `;by=${quoted(by.slice(0, 5).join(","))}` : "";
    return `${kind};service=${quoted(about)}${others}`;
  });
  return shown.join(", ");
}
