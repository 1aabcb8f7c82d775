/**
 * How does a test get an agent?
 *
 * The real agent, store, API and compiler on a data plane in memory, listening on a port of the kernel's choice, with a
 * state directory that goes away afterwards.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { Agent } from "../../controlplane/agent.ts";
import { loadSite, parseSite } from "../../controlplane/config/load.ts";
import type { MakeExtension } from "../../controlplane/extension.ts";
import { SiteYaml } from "../../controlplane/site/file.ts";
import { platformOf } from "../../mep/platform.ts";
import { MemoryDataplane } from "./memory-dataplane.ts";

export interface Running {
  agent: Agent;
  dataplane: MemoryDataplane;
  url: string;
  stateDir: string;
  /** site.yaml as a reload reads it; a restart makes it new. */
  file: { text: string };
  /** JSON in, status and JSON out. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Ends the agent and starts another one on the same state. */
  restart(): Promise<Running>;
  stop(): Promise<void>;
}

export interface Answer {
  status: number;
  type: string | null;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was answered
  body: any;
}

export const siteText = (
  stateDir: string,
  extra = "api: { listen: 127.0.0.1:0 }",
  limits = "{ rules: 50 }",
): string => `
site: { name: test, stateDir: ${stateDir} }
dataplanes:
  - { name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16] }
  - { name: s2, access: acc1, core: cor1, uePools: [10.46.0.0/16], mode: observe }
limits: ${limits}
protect: [192.0.2.0/24]
apps: { interface: apps0, address: 10.60.0.1/24 }
${extra}
`;

export interface StartOptions {
  extra?: string;
  /** Of site.yaml, in one line. */
  limits?: string;
  stateDir?: string;
  /** Changes site.yaml before it is read. */
  edit?: (text: string) => string;
  prepare?: (dataplane: MemoryDataplane) => void;
  /** Where site.yaml lies, as a file that the API may replace; written where it is not there yet. */
  yaml?: { path: string; restart?: () => void };
  /** In place of the platform. */
  extensions?: readonly MakeExtension[];
}

export async function start(options: StartOptions = {}): Promise<Running> {
  const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), "ofr-api-"));
  const text = siteText(stateDir, options.extra, options.limits);
  const file = { text: options.edit?.(text) ?? text };
  const { yaml } = options;
  if (yaml && !existsSync(yaml.path)) writeFileSync(yaml.path, file.text);
  const config = yaml ? loadSite(yaml.path) : parseSite(file.text);
  let dataplane: MemoryDataplane | undefined;
  const agent = new Agent({
    config,
    backend: (backend) => {
      dataplane = new MemoryDataplane(backend);
      options.prepare?.(dataplane);
      return { dataplane, capture: dataplane.slow };
    },
    log: pino({ level: "silent" }),
    read: () => (yaml ? loadSite(yaml.path) : parseSite(file.text)),
    ...(yaml && { yaml: { file: new SiteYaml(yaml.path), restart: yaml.restart ?? (() => undefined) } }),
    extensions: options.extensions ?? [platformOf],
  });
  const clear = () => rmSync(stateDir, { recursive: true, force: true });
  try {
    await agent.start();
  } catch (error) {
    if (options.stateDir === undefined) clear();
    throw error;
  }
  const url = agent.address() ?? "";
  return {
    agent,
    dataplane: dataplane as MemoryDataplane,
    url,
    stateDir,
    file,
    async call(method, path, body, headers = {}) {
      const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
      const type: Record<string, string> = text === undefined ? {} : { "content-type": "application/json" };
      const response = await fetch(url + path, { method, body: text, headers: { ...type, ...headers } });
      const received = await response.text();
      let parsed: unknown = received;
      try {
        parsed = JSON.parse(received);
      } catch {
        // stays text
      }
      const { status, headers: got } = response;
      return { status, type: got.get("content-type"), headers: got, body: parsed };
    },
    async restart() {
      await agent.stop();
      return start({ ...options, stateDir });
    },
    async stop() {
      await agent.stop();
      clear();
    },
  };
}

/** Runs `body` with an agent, and ends it whatever happens. */
export async function withAgent(body: (running: Running) => Promise<void>, options?: StartOptions): Promise<void> {
  const running = await start(options);
  try {
    await body(running);
  } finally {
    await running.stop();
  }
}
