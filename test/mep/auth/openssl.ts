/**
 * How does a test get certificates, and a program that shows them?
 *
 * Made by openssl as an operator would make them, in a directory that the caller removes; requests go over real sockets.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { Agent, type AgentOptions, request } from "node:https";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";

export interface Pair {
  /** Paths, PEM. */
  cert: string;
  key: string;
}

const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const openssl = (...words: string[]) => execFileSync("openssl", words, { stdio: ["ignore", "pipe", "pipe"] });
const pairAt = (directory: string, name: string): Pair => ({
  cert: join(directory, `${name}.pem`),
  key: join(directory, `${name}.key`),
});

/** An authority that signs certificates. */
export class Authority {
  readonly #directory: string;
  readonly own: Pair;

  constructor(directory: string, name: string) {
    this.#directory = directory;
    this.own = pairAt(directory, name);
    const { cert, key } = this.own;
    openssl("req", "-x509", ...curve, "-subj", `/CN=${name}`, "-days", "2", "-out", cert, "-keyout", key);
  }

  /** @param names subject alternative names as openssl has them: `IP:127.0.0.1`, `DNS:…`, `URI:…` */
  sign(file: string, commonName: string, names: readonly string[] = []): Pair {
    const pair = pairAt(this.#directory, file);
    const authority = ["-CA", this.own.cert, "-CAkey", this.own.key];
    const extensions = ["-addext", "basicConstraints=critical,CA:FALSE"];
    if (names.length > 0) extensions.push("-addext", `subjectAltName=${names.join(",")}`);
    const subject = ["-subj", `/CN=${commonName}`, "-days", "2"];
    openssl("req", "-x509", ...authority, ...curve, ...subject, ...extensions, "-out", pair.cert, "-keyout", pair.key);
    return pair;
  }

  /** One whose time is over. */
  signExpired(file: string, commonName: string): Pair {
    const pair = pairAt(this.#directory, file);
    const at = (name: string) => join(this.#directory, `${file}.${name}`);
    openssl("req", ...curve, "-subj", `/CN=${commonName}`, "-out", at("csr"), "-keyout", pair.key);
    writeFileSync(at("index"), "");
    writeFileSync(
      at("cnf"),
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${at("index")}\nnew_certs_dir=${this.#directory}\nrand_serial=yes
default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n`,
    );
    const authority = ["-cert", this.own.cert, "-keyfile", this.own.key];
    const times = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"];
    openssl(
      "ca",
      "-batch",
      "-config",
      at("cnf"),
      ...authority,
      ...times,
      "-in",
      at("csr"),
      "-out",
      pair.cert,
      "-notext",
    );
    return pair;
  }
}

export interface Reply {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was answered
  body: any;
  /** The connection went on with an earlier one's secrets. */
  resumed: boolean;
}

export interface Caller {
  (method: string, url: string, sent?: { headers?: Record<string, string>; body?: string }): Promise<Reply>;
  close(): void;
}

/** Somebody who trusts that authority, and shows that certificate, or none. Every request has a connection of its own. */
export function caller(trusted: Authority, shown?: Pair, more: AgentOptions = {}): Caller {
  const agent = new Agent({
    ca: readFileSync(trusted.own.cert),
    ...(shown && { cert: readFileSync(shown.cert), key: readFileSync(shown.key) }),
    keepAlive: false,
    ...more,
  });
  const ask = (
    method: string,
    url: string,
    { headers = {}, body }: { headers?: Record<string, string>; body?: string } = {},
  ) =>
    new Promise<Reply>((resolve, reject) => {
      const sent = request(url, { method, agent, headers }, (answer) => {
        let text = "";
        answer.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        answer.on("error", reject);
        answer.on("end", () => {
          const json = String(answer.headers["content-type"] ?? "").includes("json") && text !== "";
          const { statusCode = 0, headers: got } = answer;
          resolve({ status: statusCode, headers: got, body: json ? JSON.parse(text) : text, resumed });
        });
      });
      let resumed = false;
      sent.on("socket", (socket) => {
        socket.on("secureConnect", () => {
          resumed = (socket as TLSSocket).isSessionReused();
        });
      });
      sent.on("error", reject);
      sent.end(body);
    });
  return Object.assign(ask, { close: () => agent.destroy() });
}
