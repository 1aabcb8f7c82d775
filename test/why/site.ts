/**
 * A running agent on a real wire, for asking it why.
 *
 *   enb0 ═ acc0 ── agent ── cor0 ═ sgw0        apps0 ═ app0
 *
 * Service `web`: UDP to 203.0.113.80 port 80 goes to 10.60.0.10:8080. 192.0.2.0/24 is protected.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import pino from "pino";
import { Agent } from "../../controlplane/agent.ts";
import { parseSite } from "../../controlplane/config/load.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { ip } from "../ebpf/namespace.ts";
import { makeSite, state } from "../ebpf/site.ts";

export const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Site {
  agent: Agent;
  dataplane: EbpfDataplane;
  url: string;
  post(path: string, body: unknown): Promise<{ status: number; body: Record<string, unknown> }>;
}

export const web = {
  name: "web",
  rules: {
    priority: 100,
    nw_dst: "203.0.113.80",
    nw_src: "0.0.0.0/0",
    protocol: 17,
    tp_dst: 80,
    endpoint: "10.60.0.10:8080",
  },
};

/** Call inside the test's namespace, once. */
export async function startSite(): Promise<Site> {
  makeSite();
  ip("address add 10.60.0.1/24 dev apps0");
  const config = parseSite(`
site: { name: why, stateDir: ${state} }
dataplanes: [{ name: s1, access: acc0, core: cor0 }]
limits: { sessions: 1024, flows: 4096, rules: 1024 }
protect: [192.0.2.0/24]
apps: { interface: apps0, address: 10.60.0.1/24 }
api: { listen: 127.0.0.1:0 }
`);
  let dataplane: EbpfDataplane | undefined;
  const agent = new Agent({
    config,
    backend: (backend) => {
      dataplane = new EbpfDataplane(backend);
      return { dataplane, slow: dataplane.slow };
    },
    log: pino({ level: "silent" }),
  });
  await agent.start();
  const url = agent.address()!;
  const post = async (path: string, body: unknown) => {
    const headers = { "content-type": "application/json" };
    const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  await post("/service", web);
  return { agent, dataplane: dataplane!, url, post };
}

/** `bin/offramp …` as a process of its own; `started` is called as soon as it runs. */
export function offramp(url: string, args: string[], started: () => void = () => {}) {
  return new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
    const child = spawn(process.execPath, ["--import", "tsx", "mep/cli/main.ts", ...args], {
      cwd: root,
      env: { ...process.env, OFFRAMP_API: url },
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (octets) => {
      out += octets;
    });
    child.stderr.on("data", (octets) => {
      err += octets;
    });
    child.on("spawn", started);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, err }));
  });
}
