/**
 * Who resolves names in the Internet of the lab, and what does a phone get that asks?
 *
 * An Unbound of its own in the namespace `inet`, on all of its addresses: whatever resolver of the Internet is asked answers.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./appliance.ts";
import type { Lab, ScriptedUe } from "./lab.ts";
import type { Process } from "./netns.ts";

export interface Question {
  server: string;
  name: string;
  type?: "A" | "AAAA" | "HTTPS";
  tcp?: boolean;
  /** Questions with the same label leave one UDP socket. */
  socket?: string;
}

export interface Resolved {
  /** Who answered, as the phone sees it. */
  from: string;
  code: string;
  /** Addresses, sorted. */
  data: string[];
  /** The one who answers says that the name is its own. */
  aa: boolean;
}

/** Answers these names with these addresses, and no others. */
export async function startResolver(lab: Lab, names: Record<string, string>): Promise<Process> {
  const file = join(lab.machines.directory, "resolver.conf");
  const records = Object.entries(names).map(([name, address]) => {
    const type = address.includes(":") ? "AAAA" : "A";
    return `  local-zone: "${name}." typetransparent\n  local-data: "${name}. 60 IN ${type} ${address}"\n`;
  });
  writeFileSync(
    file,
    `server:
  directory: "${lab.machines.directory}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  module-config: "iterator"
  interface: 0.0.0.0
  interface: ::0
  interface-automatic: yes
  local-zone: "." static
  access-control: 0.0.0.0/0 allow
  access-control: ::0/0 allow
${records.join("")}remote-control:
  control-enable: no
`,
  );
  const started = lab.machines.start("inet", "resolver", ["unbound", "-d", "-c", file], {
    PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin`,
  });
  await started.said(/start of service/, 20_000);
  return started;
}

/** One question after the other; undefined where no answer comes. */
export async function resolve(
  lab: Lab,
  ue: Pick<ScriptedUe, "ns">,
  questions: Question[],
  timeoutS = 5,
): Promise<(Resolved | undefined)[]> {
  const program = join(repository, "test", "lab", "resolve.py");
  const { stdout, stderr } = await lab.exec(ue.ns, ["python3", program, String(timeoutS)], {
    input: JSON.stringify(questions),
    timeoutMs: (timeoutS * questions.length + 20) * 1000,
  });
  if (!stdout) throw new Error(stderr);
  return (JSON.parse(stdout) as (Resolved | null)[]).map((one) => one ?? undefined);
}
