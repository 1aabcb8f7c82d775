/**
 * Are these bodies together a set of services, and what does static verification say of it? (C7)
 */
import { Problem } from "../errors.ts";
import type { ValidationContext } from "./context.ts";
import type { FieldError, Intent } from "./model.ts";
import { validateService } from "./validate.ts";
import { type Finding, findingLimit, verifyInTurns } from "./verify.ts";

/** As `GET /api/v1/verify` and `offramp verify` tell it. */
export interface Verification {
  /** How many were looked at. */
  rules: number;
  /** False: there may be more findings than are told. */
  complete: boolean;
  findings: Finding[];
  /** What is in the data plane, compared with what the services mean. Absent: nobody has looked. */
  deployed?: { agrees: boolean; differences: string[] };
}

const mostErrors = 100;

/** @throws Problem that names everything that is wrong with the list */
export function readSet(bodies: readonly unknown[], context: ValidationContext): Intent[] {
  const errors: FieldError[] = [];
  const intents = new Map<string, Intent>();
  for (const [index, body] of bodies.entries()) {
    const checked = validateService(body, context);
    if (!checked.ok) {
      for (const { field, message } of checked.errors) {
        errors.push({ field: field ? `[${index}].${field}` : `[${index}]`, message });
      }
      continue;
    }
    const { intent } = checked;
    if (intents.has(intent.name)) {
      errors.push({ field: `[${index}].name`, message: `"${intent.name}" is in the list already` });
    }
    intents.set(intent.name, intent);
  }
  if (errors.length === 0) return [...intents.values()];
  const shown = errors.slice(0, mostErrors);
  const said = shown.map(({ field, message }) => `${field}: ${message}`).join("; ");
  const rest = errors.length - shown.length;
  throw new Problem("invalid-service", rest > 0 ? `${said}; and ${rest} more` : said, { errors: shown });
}

export async function verifySet(intents: readonly Intent[], context: ValidationContext): Promise<Verification> {
  const findings = await verifyInTurns(intents, context);
  return { rules: intents.length, complete: findings.length < findingLimit, findings };
}
