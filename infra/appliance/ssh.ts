/**
 * How does an appliance run on a Debian machine that is there already?
 *
 *   host key pinned ─▶ Offramp's package, by its SHA-256 ─▶ /etc/offramp/{site.yaml,token,tls.crt,tls.key} ─▶ offramp.service
 *
 * Over `ssh` with the keys of whoever runs Pulumi, as root. `/etc/offramp/made` says that the files are ours, and whether they are
 * finished: what somebody else has set up is never touched. Packages that came along with Offramp's stay when it goes.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { run } from "./command.ts";
import { fetchTo, type Source, sourceProblems } from "./file.ts";
import { type Found, type Machine, type Place, type Size, takenBack, type Where } from "./place.ts";
import { type Problem, sshKeyProblems, type UserData, unknownOf } from "./user-data.ts";

export interface SshPlace {
  host: string;
  /** Default: 22. */
  port?: number;
  /** Has to be root, or somebody who is. Default: root. */
  user?: string;
  /** Public key of the machine, as in its /etc/ssh/ssh_host_ed25519_key.pub: another machine is not spoken to. */
  hostKey: string;
  /** File with the private key. Default: what ssh finds. */
  identity?: string;
  /** Offramp's Debian package. */
  package: Source;
}

const folder = "/etc/offramp";
const alias = "offramp-appliance";

export function sshProblems(given: Record<string, unknown>, path: string): Problem[] {
  const problems = unknownOf(given, ["host", "port", "user", "hostKey", "identity", "package"], path);
  const { host, port = 22, user = "root", hostKey, identity = "default" } = given;
  if (typeof host !== "string" || !/^[A-Za-z0-9][A-Za-z0-9.:-]*$/.test(host)) {
    problems.push({ path: `${path}.host`, reason: "must be a name or an address" });
  }
  if (!Number.isInteger(port) || Number(port) < 1 || Number(port) > 65_535) {
    problems.push({ path: `${path}.port`, reason: "must be a port from 1 to 65535" });
  }
  if (!/^[a-z_][a-z0-9_-]*$/.test(String(user)))
    problems.push({ path: `${path}.user`, reason: "must be a user's name" });
  if (typeof identity !== "string" || identity === "") {
    problems.push({ path: `${path}.identity`, reason: "must be the path of a private key" });
  }
  const [key] = sshKeyProblems([hostKey]);
  if (key) problems.push({ path: `${path}.hostKey`, reason: "must be the machine's public key: ssh-ed25519 AAAA…" });
  return [...problems, ...sourceProblems(given.package, `${path}.package`)];
}

/** `site.yaml` of a machine on which the files are where this place puts them. */
export function siteYaml({ site, tls }: Pick<UserData, "site" | "tls">): string {
  const paths = {
    ...(tls && { tls: { cert: `${folder}/tls.crt`, key: `${folder}/tls.key` } }),
    tokenFile: `${folder}/token`,
  };
  return stringify({ ...site, api: { listen: "0.0.0.0:8090", ...paths, ...site.api } }, { lineWidth: 0 });
}

export class Ssh implements Place {
  readonly #options: SshPlace;

  constructor(options: SshPlace) {
    this.#options = options;
  }

  get #where(): Where {
    const { host, port = 22 } = this.#options;
    const name = host.includes(":") ? `[${host}]` : host;
    return { api: `https://${name}:8090`, ssh: `${name}:${port}` };
  }

  /** @param script run by the machine's shell; secrets belong into `input` */
  async #run(script: string, input?: string | { file: string }): Promise<string> {
    const { host, port = 22, user = "root", hostKey, identity } = this.#options;
    const own = mkdtempSync(join(tmpdir(), "offramp-ssh-"));
    try {
      const known = join(own, "known");
      writeFileSync(known, `${alias} ${hostKey.split(" ").slice(0, 2).join(" ")}\n`);
      const pinned = ["StrictHostKeyChecking=yes", `HostKeyAlias=${alias}`, `UserKnownHostsFile=${known}`];
      const options = [...pinned, "GlobalKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=20"];
      const words = ["-p", String(port), "-l", user, ...(identity === undefined ? [] : ["-i", identity])];
      return await run("ssh", [...words, ...options.flatMap((one) => ["-o", one]), host, script], { input });
    } catch (error) {
      throw new Error(`${user}@${host}: ${(error as Error).message}`);
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
  }

  async #put(path: string, text: string): Promise<void> {
    await this.#run(`umask 077 && cat > ${path}.new && mv ${path}.new ${path}`, text);
  }

  /** Undefined: nothing of Offramp's is there. */
  async #made(): Promise<"yes" | "no" | undefined> {
    const said = await this.#run(
      `if [ -e ${folder}/made ]; then cat ${folder}/made; elif [ -e ${folder}/site.yaml ]; then echo other; fi`,
    );
    const word = said.trim();
    if (word === "other") {
      throw new Error(
        `${this.#options.host} has a ${folder}/site.yaml of somebody else's: remove it, or take another machine`,
      );
    }
    return word === "yes" || word === "no" ? word : undefined;
  }

  async create({ userData }: Machine): Promise<Where> {
    const made = await this.#made();
    if (made === "yes") throw new Error(`${this.#options.host} has an appliance already: import it, or take another`);
    if (made === "no") await this.remove();
    try {
      await this.#run(`mkdir -p -m 755 ${folder} && echo no > ${folder}/made`);
      await this.#install();
      await this.#put(`${folder}/token`, `${userData.token}\n`);
      if (userData.tls) {
        await this.#put(`${folder}/tls.crt`, userData.tls.cert);
        await this.#put(`${folder}/tls.key`, userData.tls.key);
      }
      await this.#put(`${folder}/site.yaml`, siteYaml(userData));
      return await this.start();
    } catch (error) {
      return await takenBack(this, error);
    }
  }

  async #install(): Promise<void> {
    const own = mkdtempSync(join(tmpdir(), "offramp-package-"));
    const there = "/var/tmp/offramp-appliance.deb";
    try {
      const file = join(own, "offramp.deb");
      await fetchTo(this.#options.package, file);
      await this.#run(`umask 077 && cat > ${there}`, { file });
      const { sha256 } = this.#options.package;
      const install = `DEBIAN_FRONTEND=noninteractive apt-get install -y -q ${there} >&2`;
      await this.#run(`echo '${sha256}  ${there}' | sha256sum -c --quiet >&2 && ${install}`);
    } finally {
      rmSync(own, { recursive: true, force: true });
      await this.#run(`rm -f ${there}`).catch(() => undefined);
    }
  }

  async keep(): Promise<void> {
    await this.#put(`${folder}/made`, "yes\n");
  }

  async read(): Promise<Found | undefined> {
    if ((await this.#made()) !== "yes") return undefined;
    const installed = `dpkg-query -W -f='\${db:Status-Abbrev}' offramp 2>/dev/null || true`;
    if (!(await this.#run(installed)).startsWith("ii")) return undefined;
    const state = await this.#run("systemctl is-active offramp.service || true");
    return { running: state.trim() === "active", where: this.#where };
  }

  async start(_size?: Size): Promise<Where> {
    await this.#run("systemctl enable -q offramp-wire.service offramp.service && systemctl restart offramp.service");
    return this.#where;
  }

  async stop(): Promise<void> {
    await this.#run("systemctl stop offramp.service");
  }

  async remove(): Promise<void> {
    if ((await this.#made()) === undefined) return;
    const steps = [
      "if dpkg-query -W offramp >/dev/null 2>&1; then",
      "  systemctl disable -q --now offramp-wire.service offramp.service || true",
      "  DEBIAN_FRONTEND=noninteractive apt-get purge -y -q offramp >&2",
      "fi",
      `rm -rf /var/lib/offramp ${folder}`,
    ];
    await this.#run(`set -e\n${steps.join("\n")}`);
  }

  async console(): Promise<string[]> {
    const said = await this.#run("journalctl -u offramp.service -n 20 -o cat --no-pager || true").catch(() => "");
    return said.split("\n").filter((line) => line !== "");
  }
}
