/**
 * How does a lab get a web cache as an app, and who speaks for it over Mp1?
 *
 * docs/examples/squid as its README has it: packed, onboarded and started by `offramp app`, in a lab made with `egress`. Squid
 * knows nothing of Mp1; `App` asks in its place, with its own credentials.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Appliance, repository } from "./appliance.ts";
import { internet, type Lab, type Ue } from "./lab.ts";

/** Section `mep` of site.yaml for a lab with `egress`. */
export const platform = {
  mp1: { listen: "10.60.0.1:8091" },
  dns: { listen: "10.60.0.1:53", upstream: [internet.dns] },
  apps: { tof: "10.61.0.0/24", platform: "10.62.0.0/24", egress: "wan0" },
};
export const mp1Url = `https://${platform.mp1.listen}`;

/** What a command printed. @throws Error with what it complained of */
export async function offramp(appliance: Appliance, ...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await appliance.cli(...argv);
  if (code !== 0) throw new Error(`offramp ${argv.join(" ")}: exit ${code}: ${stderr}${stdout}`);
  return stdout;
}

/** Packs the cache and begins an instance of it. */
export async function installCache(lab: Lab, appliance: Appliance, id: string): Promise<void> {
  const zip = join(lab.machines.directory, "squid.zip");
  await offramp(appliance, "app", "pack", join(repository, "docs/examples/squid"), "-o", zip);
  await offramp(appliance, "app", "install", zip, "--id", id);
}

export interface Mp1Reply {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever was answered
  body: any;
}

/** Requests to Mp1 as an app instance: OAuth 2.0 client credentials, TLS checked by Mp1's own certificate. */
export class App {
  readonly #lab: Lab;
  readonly #id: string;
  readonly #ca: string;
  readonly #token: string;

  private constructor(lab: Lab, id: string, ca: string, token: string) {
    this.#lab = lab;
    this.#id = id;
    this.#ca = ca;
    this.#token = token;
  }

  /** With a new secret of the instance. */
  static async as(lab: Lab, appliance: Appliance, id: string): Promise<App> {
    const ca = join(lab.machines.directory, "mp1.pem");
    writeFileSync(ca, await offramp(appliance, "app", "ca"));
    const printed = await offramp(appliance, "app", "credentials", id, "--json");
    const { clientId, clientSecret } = JSON.parse(printed) as { clientId: string; clientSecret: string };
    const form = ["-u", `${clientId}:${clientSecret}`, "-d", "grant_type=client_credentials"];
    const { status, body } = await curl(lab, ca, [...form, `${mp1Url}/oauth2/token`]);
    if (status !== 200) throw new Error(`no token: ${status} ${JSON.stringify(body)}`);
    return new App(lab, id, ca, body.access_token);
  }

  /** `path` below `/mec_app_support/v1/applications/<id>`. */
  ask(method: "GET" | "PUT" | "POST", path: string, body?: object): Promise<Mp1Reply> {
    const data = body ? ["-H", "content-type: application/json", "--data-binary", JSON.stringify(body)] : [];
    const url = `${mp1Url}/mec_app_support/v1/applications/${this.#id}${path}`;
    return curl(this.#lab, this.#ca, ["-X", method, "-H", `authorization: Bearer ${this.#token}`, ...data, url]);
  }

  /** Changes the state of a traffic rule. Returns the status of the PUT. */
  async put(rule: string, state: "ACTIVE" | "INACTIVE"): Promise<number> {
    const path = `/traffic_rules/${rule}`;
    const { body } = await this.ask("GET", path);
    return (await this.ask("PUT", path, { ...body, state })).status;
  }
}

async function curl(lab: Lab, ca: string, argv: string[]): Promise<Mp1Reply> {
  const all = ["curl", "-sS", "-m", "60", "--cacert", ca, "-w", "\n%{http_code}", ...argv];
  const { stdout, stderr } = await lab.exec("tof", all, { timeoutMs: 90_000 });
  const cut = stdout.lastIndexOf("\n");
  const text = stdout.slice(0, Math.max(cut, 0));
  const status = Number(stdout.slice(cut + 1));
  if (!(status > 0)) throw new Error(`Mp1 does not answer: ${stderr}`);
  return { status, body: text === "" ? undefined : JSON.parse(text) };
}

/** How often a line of Squid's log says that: `TCP_MISS`, `TCP_MEM_HIT`. Squid writes it when a request is over. */
export async function logged(appliance: Appliance, id: string, result: string): Promise<number> {
  const lines = JSON.parse(await offramp(appliance, "app", "logs", id, "--tail", "1000", "--json"));
  return (lines as { text: string }[]).filter(({ text }) => text.includes(` ${result}/`)).length;
}

/** Requests that the origin has answered so far, asked where the cache is not asked: on another port. Counts itself. */
export async function answered(lab: Lab, ue: Ue): Promise<number> {
  const { text } = await lab.phoneHttp(ue, `http://${internet.host}:8080/`);
  return (JSON.parse(text) as { requests: number }).requests;
}

/** A page that may be kept for an hour, of an origin that is far away. */
export const page = (seed: number, bytes: number, address = internet.www): string =>
  `http://${address}/data?bytes=${bytes}&seed=${seed}&age=3600`;
