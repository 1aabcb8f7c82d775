/**
 * How does a test see to it that every request and every answer is as the interface descriptions say?
 *
 *   const check = conforming(app);   …   check({ method, url, body, status, headers, text })
 *
 * By ETSI's descriptions where ../shared is, and always by our own, which /openapi.json is made of. The helpers by which the
 * platform's tests make requests call it, so what is asked in any test is judged.
 */
import type { FastifyInstance } from "fastify";
import * as assert from "uvu/assert";
import { Contract, type Exchange, type Json } from "./contract.ts";
import { mec011 } from "./etsi.ts";

const own = new Map<string, Contract>();

/** Made once for servers that say the same. */
function ownContract(app: FastifyInstance): Contract {
  const document = app.swagger() as Json;
  const key = JSON.stringify(document);
  let found = own.get(key);
  if (!found) {
    found = new Contract({ name: "our own", document, roots: [""], anywhere: [405] });
    own.set(key, found);
  }
  return found;
}

/** `app`: is ready. The function throws what is violated. */
export function conforming(app: FastifyInstance): (exchange: Exchange) => void {
  const contracts = [...mec011(), ownContract(app)];
  return (exchange) => {
    const found = contracts.flatMap((contract) => contract.violations(exchange));
    const shown = `${JSON.stringify(exchange.body)?.slice(0, 2000)} ─▶ ${exchange.text.slice(0, 2000)}`;
    assert.ok(found.length === 0, `${found.join("\n")}\n${shown}`);
  };
}

/** The same for what is sent to apps; `notificationType` says which it is. */
export function conformingNotification(body: Json): void {
  const names: Record<string, string> = {
    SerAvailabilityNotification: "ServiceAvailabilityNotification",
    AppTerminationNotification: "AppTerminationNotification",
  };
  const name = names[body.notificationType];
  for (const contract of mec011()) {
    if (!name || !contract.has(name)) continue;
    const found = contract.violationsOf(name, body);
    assert.ok(found.length === 0, `${found.join("\n")}\n${JSON.stringify(body)}`);
  }
}
