/**
 * How does a test of the site as code get a site?
 *
 * The real `offramp run` with real programs, MEC platform and name server, in the network namespace that the test file is in
 * (test/ebpf/namespace.ts); its API has TLS, a token, and an authority of the test's own.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, type Dispatcher, request } from "undici";
import { ip } from "../ebpf/namespace.ts";
import { state as directory, makeSite } from "../ebpf/site.ts";
import { Authority } from "../mep/auth/openssl.ts";
import { Victim } from "../mortal.ts";

const port = 8090;

export class Edge {
  readonly api = `https://127.0.0.1:${port}`;
  /** Of the management API; nobody but its owner may see it. */
  readonly token = "only-the-operator-of-paris-knows-this";
  readonly ca: string;
  readonly config = join(directory, "site.yaml");
  /** Of the test; goes away with it. */
  readonly directory = directory;
  readonly #agent: Agent;
  #process: Victim | undefined;

  private constructor(ca: string) {
    this.ca = ca;
    this.#agent = new Agent({ connect: { ca } });
  }

  /** Call inside the test's namespace. */
  static async start(): Promise<Edge> {
    makeSite();
    ip("address add 10.60.0.1/24 dev apps0");
    const authority = new Authority(directory, "management");
    const { cert, key } = authority.sign("api", "edge", ["IP:127.0.0.1"]);
    const edge = new Edge(readFileSync(authority.own.cert, "utf8"));
    const tokenFile = join(directory, "token");
    writeFileSync(tokenFile, `${edge.token}\n`, { mode: 0o600 });
    writeFileSync(
      edge.config,
      `site: { name: paris, stateDir: ${join(directory, "state")} }
dataplanes: [{ name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16] }]
limits: { sessions: 1024, flows: 4096, rules: 64 }
apps: { interface: apps0, address: 10.60.0.1/24 }
api: { listen: 127.0.0.1:${port}, tokenFile: ${tokenFile}, tls: { cert: ${cert}, key: ${key} } }
mep:
  mp1: { listen: 10.60.0.1:8091, insecure: true }
  dns: { listen: 10.60.0.1:53 }
`,
    );
    await edge.run();
    return edge;
  }

  /** Begins `offramp run`; returns when it is ready. */
  async run(): Promise<void> {
    this.#process = new Victim("dist/mep/cli/main.js", "run", "--config", this.config);
    await this.#process.says('"msg":"ready"');
    if (this.#process.ended) throw new Error(`offramp ended: ${this.#process.log.slice(-4000)}`);
  }

  /** `kill -9`, at once. */
  async kill(): Promise<void> {
    await this.#process?.end("SIGKILL");
  }

  /** Answers of the API as they are. */
  async call(method: Dispatcher.HttpMethod, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const answer = await request(`${this.api}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, body: text === "" ? undefined : JSON.parse(text) };
  }

  /** @throws unless it is answered 2xx */
  async must<T>(method: Dispatcher.HttpMethod, path: string, body?: unknown): Promise<T> {
    const answer = await this.call(method, path, body);
    if (answer.status < 300) return answer.body as T;
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /** Services of the site, by name. */
  async services(): Promise<Record<string, unknown>> {
    const all = await this.must<{ name: string }[]>("GET", "/service");
    return Object.fromEntries(all.map((one) => [one.name, one]));
  }

  async stop(): Promise<void> {
    await this.#agent.close();
    await this.#process?.end("SIGTERM");
  }
}
