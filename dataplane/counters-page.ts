/**
 * How are the counters documented? docs/counters.md is what this prints; test/docs/counters.test.ts compares the two.
 *
 *   node --import tsx dataplane/counters-page.ts > docs/counters.md
 */
import { pathToFileURL } from "node:url";
import { counters } from "./counters.ts";

export function countersPage(): string {
  const rows = counters.map(({ name, kind, text }) => `| \`${name}\` | ${kind} | ${text} |`);
  return `# Counters

Made from \`dataplane/counters.ts\`; a test compares.

Kinds: \`pass\` went to the opposite port untouched, \`take\` left its tunnel, \`reply\` was put into a tunnel, \`drop\` went
nowhere, \`slow\` went to the control plane, \`chain\` went to a function of a chain, \`note\` is counted beside one of the others.

| name | kind | what happened |
| --- | --- | --- |
${rows.join("\n")}
`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) process.stdout.write(countersPage());
