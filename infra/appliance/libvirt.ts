/**
 * How does an appliance run in a libvirt, here or on another machine?
 *
 * Through `virsh`: a domain, two volumes (`<name>.qcow2`, `<name>-seed.iso`), and networks for wires that nobody named. The domain
 * is defined before anything else and says whether it is finished: so an attempt whose end nobody heard of is found, and
 * what others have made under the same names is never touched.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { attempt, run } from "./command.ts";
import { fetchTo } from "./file.ts";
import { digestOf } from "./keys.ts";
import {
  diskOf,
  domainXml,
  hangProblems,
  type LibvirtWires,
  metadataUri,
  networkXml,
  ownNetworks,
  seedOf,
} from "./libvirt-xml.ts";
import {
  type Found,
  type Identity,
  lastLines,
  type Machine,
  type Place,
  type Size,
  shutdownMs,
  takenBack,
  type Where,
} from "./place.ts";
import { writeSeed } from "./seed.ts";
import { type Adapters, type Problem, renderMetaData, renderUserData, unknownOf } from "./user-data.ts";

export interface LibvirtPlace {
  /** Default: `qemu:///system`. */
  uri?: string;
  /** Storage pool; default: `default`. */
  pool?: string;
  /** Default: kvm; `qemu` where there is no virtualisation in hardware. */
  driver?: "kvm" | "qemu";
  wires?: LibvirtWires;
  /** Of the API, where libvirt cannot tell it: neither DHCP of its own, nor a fixed address. */
  address?: string;
  /** File on libvirt's machine for the serial console. Default: none. */
  log?: string;
}

const pollMs = 500;
/** Until the VM has an address by DHCP: a machine that emulates takes its time. */
const addressMs = 300_000;

export function libvirtProblems(given: Record<string, unknown>, path: string): Problem[] {
  const known = ["uri", "pool", "driver", "wires", "address", "log"];
  const problems = unknownOf(given, known, path);
  for (const name of ["uri", "pool", "address", "log"]) {
    const value = given[name];
    if (value !== undefined && (typeof value !== "string" || value === "")) {
      problems.push({ path: `${path}.${name}`, reason: "must be a text" });
    }
  }
  if (given.driver !== undefined && !["kvm", "qemu"].includes(String(given.driver))) {
    problems.push({ path: `${path}.driver`, reason: "must be kvm or qemu" });
  }
  return [...problems, ...hangProblems((given.wires ?? {}) as LibvirtWires, `${path}.wires`)];
}

export class Libvirt implements Place {
  readonly #name: string;
  readonly #options: LibvirtPlace;
  readonly #pool: string;
  readonly #adapters: Adapters;
  /** Absent: libvirt knows it by DHCP. */
  readonly #address: string | undefined;

  constructor({ name, adapters, management }: Identity, options: LibvirtPlace) {
    this.#name = name;
    this.#options = options;
    this.#pool = options.pool ?? "default";
    this.#adapters = adapters;
    const fixed = management && "address" in management ? management.address.split("/")[0] : undefined;
    this.#address = options.address ?? fixed;
  }

  #words(words: readonly string[]): string[] {
    return ["--quiet", "--connect", this.#options.uri ?? "qemu:///system", ...words];
  }

  #virsh(...words: string[]): Promise<string> {
    return run("virsh", this.#words(words));
  }

  #try(...words: string[]): Promise<boolean> {
    return attempt("virsh", this.#words(words));
  }

  /** Of a domain of ours: whether it was ever finished. Undefined: there is none of this name. @throws Error for others' */
  async #made(): Promise<boolean | undefined> {
    const names = (await this.#virsh("list", "--all", "--name")).split("\n");
    if (!names.includes(this.#name)) return undefined;
    const said = await this.#virsh("metadata", this.#name, "--uri", metadataUri, "--config").catch(() => "");
    if (!said.includes("made="))
      throw new Error(`libvirt has a domain ${this.#name} that is no appliance: name another`);
    return said.includes('made="yes"');
  }

  async #volumes(): Promise<string[]> {
    const listed = await this.#virsh("vol-list", this.#pool);
    const ours = [diskOf(this.#name), seedOf(this.#name)];
    return ours.filter((volume) => listed.split("\n").some((line) => line.trim().split(/\s+/)[0] === volume));
  }

  async create(machine: Machine): Promise<Where> {
    if (!machine.image) throw new Error("libvirt needs an image");
    const made = await this.#made();
    if (made) throw new Error(`libvirt has an appliance ${this.#name} already: import it, or name another`);
    if (made === false) await this.remove();
    await this.#refuseOthers();
    const folder = mkdtempSync(join(tmpdir(), "offramp-libvirt-"));
    try {
      await this.#define(machine);
      for (const { network } of this.#networks()) {
        await this.#withXml(networkXml(network), (file) => this.#virsh("net-define", file));
        await this.#virsh("net-start", network);
        await this.#virsh("net-autostart", network);
      }
      const disk = join(folder, "disk");
      await fetchTo(machine.image, disk);
      await this.#upload(diskOf(this.#name), "qcow2", disk);
      const text = renderUserData(machine.userData);
      const { hostname } = machine.userData;
      const seed = join(folder, "seed");
      await writeSeed(seed, { userData: text, metaData: renderMetaData(`${this.#name}-${digestOf(text)}`, hostname) });
      await this.#upload(seedOf(this.#name), "raw", seed);
      return await this.start(machine);
    } catch (error) {
      return await takenBack(this, error);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  #networks() {
    return ownNetworks(this.#name, { adapters: this.#adapters, wires: this.#options.wires ?? {} });
  }

  /** What is there already is somebody else's. */
  async #refuseOthers(): Promise<void> {
    const [volume] = await this.#volumes();
    if (volume)
      throw new Error(`pool ${this.#pool} has a volume ${volume} already: remove it, or name the appliance otherwise`);
    const networks = (await this.#virsh("net-list", "--all", "--name")).split("\n");
    const other = this.#networks().find(({ network }) => networks.includes(network));
    if (other)
      throw new Error(`libvirt has a network ${other.network} already: name it in place.libvirt.wires, or remove it`);
  }

  async #withXml<T>(xml: string, use: (file: string) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(tmpdir(), "offramp-libvirt-"));
    try {
      writeFileSync(join(folder, "xml"), xml);
      return await use(join(folder, "xml"));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  async #define({ memory, vcpus }: Size): Promise<void> {
    const { driver = "kvm", wires = {}, log } = this.#options;
    const [name, pool, adapters] = [this.#name, this.#pool, this.#adapters];
    const xml = domainXml({ name, driver, memory, vcpus, adapters, wires, pool, log });
    await this.#withXml(xml, (file) => this.#virsh("define", file));
  }

  async #upload(volume: string, format: string, file: string): Promise<void> {
    // What is written may be longer than what was asked for; libvirt looks at it afterwards.
    await this.#virsh("vol-create-as", this.#pool, volume, "1M", "--format", format);
    await this.#virsh("vol-upload", "--pool", this.#pool, volume, file);
    await this.#virsh("pool-refresh", this.#pool);
  }

  async keep(): Promise<void> {
    const words = [
      "metadata",
      this.#name,
      "--uri",
      metadataUri,
      "--key",
      "offramp",
      "--set",
      '<appliance made="yes"/>',
    ];
    await this.#virsh(...words, "--config");
  }

  async #running(): Promise<boolean> {
    return (await this.#virsh("domstate", this.#name)).trim() === "running";
  }

  async read(): Promise<Found | undefined> {
    if (!(await this.#made())) return undefined;
    if ((await this.#volumes()).length < 2) return undefined;
    const running = await this.#running();
    const said = await this.#virsh("dominfo", this.#name);
    const number = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(said)?.[1]);
    const size = { memory: number("Max memory") / 1024, vcpus: number("CPU\\(s\\)") };
    return { running, where: running ? await this.#where() : { api: "" }, size };
  }

  async start(size: Size): Promise<Where> {
    if (!(await this.#running())) {
      await this.#resize(size);
      await this.#virsh("start", this.#name);
    }
    return this.#where();
  }

  async #resize({ memory, vcpus }: Size): Promise<void> {
    await this.#virsh("setmaxmem", this.#name, `${memory}M`, "--config");
    await this.#virsh("setmem", this.#name, `${memory}M`, "--config");
    await this.#virsh("setvcpus", this.#name, String(vcpus), "--maximum", "--config");
    await this.#virsh("setvcpus", this.#name, String(vcpus), "--config");
  }

  /** Waits until the VM has an address. */
  async #where(): Promise<Where> {
    const of = (address: string): Where => ({ api: `https://${address}:8090`, ssh: `${address}:22` });
    if (this.#address) return of(this.#address);
    const mac = this.#adapters.mgmt0 ?? "";
    for (const until = Date.now() + addressMs; Date.now() < until; await sleep(pollMs)) {
      const said = await this.#virsh("domifaddr", this.#name, "--source", "lease");
      const line = said.split("\n").find((one) => one.includes(mac.toLowerCase()));
      const address = /ipv4\s+([\d.]+)/.exec(line ?? "")?.[1];
      if (address) return of(address);
      if (!(await this.#running())) break;
    }
    const lines = (await this.console()).join("\n");
    throw new Error(`${this.#name} has got no address of libvirt's network: give place.libvirt.address\n${lines}`);
  }

  async stop(): Promise<void> {
    if (!(await this.#running())) return;
    await this.#try("shutdown", this.#name);
    for (const until = Date.now() + shutdownMs; Date.now() < until; await sleep(pollMs)) {
      if (!(await this.#running())) return;
    }
    await this.#try("destroy", this.#name);
  }

  async remove(): Promise<void> {
    if ((await this.#made()) === undefined) return;
    const xml = await this.#virsh("dumpxml", this.#name);
    await this.#try("destroy", this.#name);
    for (const volume of await this.#volumes()) await this.#virsh("vol-delete", "--pool", this.#pool, volume);
    const networks = (await this.#virsh("net-list", "--all", "--name")).split("\n");
    for (const { network } of this.#networks()) {
      if (!networks.includes(network) || !xml.includes(`network='${network}'`)) continue;
      await this.#try("net-destroy", network);
      await this.#virsh("net-undefine", network);
    }
    // Last: whoever has to begin again finds what is left by it.
    await this.#virsh("undefine", this.#name);
    if (this.#options.log !== undefined) rmSync(this.#options.log, { force: true });
  }

  async console(): Promise<string[]> {
    const { log } = this.#options;
    return log !== undefined && existsSync(log) ? lastLines(readFileSync(log, "utf8")) : [];
  }
}
