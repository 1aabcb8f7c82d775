/**
 * How does a test run the appliance's VM?
 *
 * QEMU by its own emulation (KVM is not to be had everywhere), a disk of its own over the built one, adapters in PCI order: `user` is
 * the management network with ports of the host led to it, `tap` an adapter whose other end lies in a namespace of the lab. A VM
 * is ended by its pid, also when the test fails; its disk goes with it.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command, must, Process, until } from "../lab/netns.ts";

export type Nic =
  /** Ports of the guest that 127.0.0.1 of the host leads to: `Vm.port`. */
  | { kind: "user"; forward?: number[]; mac?: string }
  /** Bridged in this namespace (full name) with an adapter that is there. */
  | { kind: "tap"; namespace: string; with: string; mac?: string }
  /** Connected to nothing. */
  | { kind: "none"; mac?: string };

export interface VmOptions {
  /** qcow2 that is not written to. */
  disk: string;
  nics: Nic[];
  /** Files of a NoCloud volume. */
  seed?: { "user-data": string; "meta-data"?: string };
  /** MiB. */
  memory?: number;
  cpus?: number;
  /** More words for QEMU. */
  extra?: string[];
  uefi?: boolean;
}

export interface ApiReply<T = unknown> {
  /** 0: nobody answered. */
  status: number;
  body: T;
  text: string;
}

/** A TCP port of 127.0.0.1 that nobody has at this moment. */
const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });

const living = new Set<Vm>();
let listening = false;
let serial = 0;

export class Vm {
  readonly directory: string;
  readonly #options: VmOptions;
  readonly #ports = new Map<number, number>();
  readonly #serial: string;
  #process: Process | undefined;
  #taps: { name: string; namespace: string; with: string }[] = [];

  private constructor(options: VmOptions) {
    this.#options = options;
    this.directory = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "ofr-vm-"));
    this.#serial = join(this.directory, "serial.log");
    living.add(this);
    if (!listening) {
      listening = true;
      process.on("exit", () => {
        for (const vm of living) vm.#destroyNow();
      });
    }
  }

  /** Disk, seed and adapters are made, and the machine is switched on. */
  static async start(options: VmOptions): Promise<Vm> {
    const vm = new Vm(options);
    try {
      await must([
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        options.disk,
        "-F",
        "qcow2",
        join(vm.directory, "disk.qcow2"),
      ]);
      if (options.seed) await vm.seed(options.seed);
      await vm.powerOn();
    } catch (error) {
      await vm.destroy();
      throw error;
    }
    return vm;
  }

  /** What is in the drive at the next start. */
  async seed(files: { "user-data": string; "meta-data"?: string }): Promise<void> {
    const folder = join(this.directory, "seed");
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const iso = join(this.directory, "seed.iso");
    await must(["genisoimage", "-quiet", "-V", "cidata", "-r", "-J", "-o", iso, folder]);
  }

  async powerOn(): Promise<void> {
    const { nics, memory = 1024, cpus = 2, extra = [], uefi = false } = this.#options;
    const iso = join(this.directory, "seed.iso");
    const words = [
      ...["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", `${memory}`, "-smp", `${cpus}`],
      ...["-display", "none", "-vga", "none", "-nodefaults", "-device", "virtio-rng-pci"],
      ...["-serial", `file:${this.#serial}`, "-qmp", `unix:${join(this.directory, "qmp")},server=on,wait=off`],
      ...["-drive", `file=${join(this.directory, "disk.qcow2")},if=virtio,cache=unsafe,discard=unmap`],
      ...(existsSync(iso) ? ["-drive", `file=${iso},if=virtio,format=raw,readonly=on`] : []),
      ...(uefi ? ["-bios", "/usr/share/ovmf/OVMF.fd"] : []),
    ];
    this.#taps = [];
    for (const [index, nic] of nics.entries()) {
      const mac =
        nic.mac ??
        `52:54:00:0f:${(process.pid & 0xff).toString(16).padStart(2, "0")}:${index.toString(16).padStart(2, "0")}`;
      const id = `n${index}`;
      if (nic.kind === "user") {
        const forwards: string[] = [];
        for (const guest of nic.forward ?? [22, 8090]) {
          const host = this.#ports.get(guest) ?? (await freePort());
          this.#ports.set(guest, host);
          forwards.push(`,hostfwd=tcp:127.0.0.1:${host}-:${guest}`);
        }
        words.push("-netdev", `user,id=${id}${forwards.join("")}`);
      } else if (nic.kind === "tap") {
        const name = `ofr${process.pid}-${serial++}`.slice(0, 15);
        this.#taps.push({ name, namespace: nic.namespace, with: nic.with });
        words.push("-netdev", `tap,id=${id},ifname=${name},script=no,downscript=no,vnet_hdr=off`);
      } else {
        words.push("-netdev", `user,id=${id},restrict=on`);
      }
      words.push("-device", `virtio-net-pci,netdev=${id},mac=${mac},romfile=,addr=0x${(8 + index).toString(16)}`);
    }
    words.push(...extra);
    rmSync(this.#serial, { force: true });
    const started = new Process("qemu", words);
    this.#process = started;
    for (const tap of this.#taps) await this.#plug(tap, started);
  }

  /** Moves a tap into its namespace and bridges it with the adapter there: a cable between the two. */
  async #plug(tap: { name: string; namespace: string; with: string }, started: Process): Promise<void> {
    await until(
      `tap ${tap.name}`,
      async () => {
        if (started.code !== undefined) throw new Error(`qemu ended with ${started.code}: ${started.log}`);
        return existsSync(`/sys/class/net/${tap.name}`);
      },
      60_000,
    );
    const bridge = `v-${tap.with}`;
    await must(["ip", "link", "set", tap.name, "netns", tap.namespace]);
    await command([
      "ip",
      "-n",
      tap.namespace,
      "link",
      "add",
      bridge,
      "type",
      "bridge",
      "stp_state",
      "0",
      "mcast_snooping",
      "0",
      "group_fwd_mask",
      "0xfff8",
    ]);
    // What the adapter was called to is the VM's now: two that answer for one address are none.
    await must(["ip", "-n", tap.namespace, "address", "flush", "dev", tap.with]);
    for (const adapter of [tap.with, tap.name]) {
      await must(["ip", "-n", tap.namespace, "link", "set", adapter, "master", bridge]);
      await must(["ip", "-n", tap.namespace, "link", "set", adapter, "up"]);
    }
    await must(["ip", "-n", tap.namespace, "link", "set", bridge, "up"]);
  }

  /** What the console has said since the last start. */
  console(): string {
    return existsSync(this.#serial) ? readFileSync(this.#serial, "utf8") : "";
  }

  async said(pattern: RegExp, timeoutMs = 600_000): Promise<RegExpMatchArray> {
    return until(
      `"${pattern.source}" on the console`,
      () => {
        const match = this.console().match(pattern);
        if (match) return match;
        if (this.#process?.code !== undefined)
          throw new Error(`qemu ended with ${this.#process.code}: ${this.#process.log}`);
        return undefined;
      },
      timeoutMs,
      200,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.console().slice(-4000)}`);
    });
  }

  /** The port of 127.0.0.1 that leads to this one of the guest. */
  port(guest: number): number {
    const host = this.#ports.get(guest);
    if (host === undefined) throw new Error(`port ${guest} is not forwarded`);
    return host;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.code === undefined;
  }

  /** As when the plug is pulled. */
  async powerOff(): Promise<void> {
    await this.#process?.end("SIGKILL");
  }

  async powerCycle(): Promise<void> {
    await this.powerOff();
    await this.powerOn();
  }

  /** A request to the API by TLS; the certificate is looked at by `ca` where given. */
  api<T = unknown>(
    method: string,
    path: string,
    { token, body, ca, timeoutMs = 60_000 }: { token?: string; body?: unknown; ca?: string; timeoutMs?: number } = {},
  ): Promise<ApiReply<T>> {
    return new Promise((resolve) => {
      const none = (): void => resolve({ status: 0, body: undefined as T, text: "" });
      const data = body === undefined ? undefined : JSON.stringify(body);
      const asked = request(
        {
          host: "127.0.0.1",
          port: this.port(8090),
          method,
          path,
          agent: false,
          timeout: timeoutMs,
          ...(ca === undefined ? { rejectUnauthorized: false } : { ca, servername: "localhost" }),
          headers: {
            ...(token !== undefined && { authorization: `Bearer ${token}` }),
            ...(data !== undefined && {
              "content-type": "application/json",
              "content-length": Buffer.byteLength(data),
            }),
          },
        },
        (response) => {
          const parts: Buffer[] = [];
          response.on("data", (part: Buffer) => parts.push(part));
          response.on("error", none);
          response.on("end", () => {
            const text = Buffer.concat(parts).toString();
            let parsed: unknown;
            try {
              parsed = text === "" ? undefined : JSON.parse(text);
            } catch {
              parsed = text;
            }
            resolve({ status: response.statusCode ?? 0, body: parsed as T, text });
          });
        },
      );
      asked.on("timeout", () => asked.destroy(new Error("timeout")));
      asked.on("error", none);
      asked.end(data);
    });
  }

  /** Until `/readyz` answers 200. @throws with the end of the console when it does not */
  async ready(timeoutMs = 600_000): Promise<void> {
    await until(
      "/readyz of the appliance",
      async () => {
        if (!this.running) throw new Error(`qemu ended with ${this.#process?.code}: ${this.#process?.log}`);
        return (await this.api("GET", "/readyz", { timeoutMs: 10_000 })).status === 200;
      },
      timeoutMs,
      300,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.console().slice(-6000)}`);
    });
  }

  /** A command in the guest, as admin, by a key that the seed named. */
  ssh(key: string, script: string, timeoutMs = 120_000): ReturnType<typeof command> {
    return command(
      [
        ...[
          "ssh",
          "-q",
          "-i",
          key,
          "-p",
          `${this.port(22)}`,
          "-o",
          "StrictHostKeyChecking=no",
          "-o",
          "UserKnownHostsFile=/dev/null",
        ],
        ...["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "admin@127.0.0.1", script],
      ],
      { timeoutMs },
    );
  }

  async destroy(): Promise<void> {
    await this.powerOff();
    for (const { namespace, with: adapter } of this.#taps)
      await command(["ip", "-n", namespace, "link", "del", `v-${adapter}`]);
    this.#forget();
  }

  #destroyNow(): void {
    this.#process?.child.kill("SIGKILL");
    this.#forget();
  }

  #forget(): void {
    living.delete(this);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A key pair for `ssh_authorized_keys`, in a folder that the caller removes. */
export async function sshKey(folder: string): Promise<{ file: string; publicKey: string }> {
  const file = join(folder, `key-${randomBytes(4).toString("hex")}`);
  await must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file]);
  return { file, publicKey: readFileSync(`${file}.pub`, "utf8").trim() };
}
