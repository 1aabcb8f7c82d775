/**
 * How is podman asked?
 *
 * Storage, state and settings of our own, so that nobody's containers meet: runc, or where there is none crun (which refuses
 * hybrid control groups), no systemd, no events. A unit is a container too, whose root holds links into /usr and nothing else of
 * the appliance. Its monitor, conmon, belongs to no agent: instances outlive it.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { run } from "../../dataplane/ebpf/command.ts";
import { namespacePath } from "./network.ts";
import { commandLines, pause } from "./processes.ts";
import { type InstanceSpec, RuntimeError } from "./runtime.ts";

export interface PodmanPlaces {
  /** Images and containers; below stateDir. */
  storage: string;
  /** What ends with the machine; short, since it holds sockets. */
  running: string;
  /** containers.conf */
  settings: string;
}

/** Beside the limits of each instance; without them runc asks for more than a service without CAP_SYS_RESOURCE may give. */
const settings = (oci: string): string => `[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "${oci}"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
`;

/** What a unit sees of /etc: how programs find libraries, names and authorities; no configuration of anybody. */
const visibleEtc = [
  "alternatives",
  "ld.so.cache",
  "localtime",
  "mime.types",
  "nsswitch.conf",
  "protocols",
  "services",
  "ssl/certs",
];

const logOctets = 4 << 20;

export interface Launch {
  spec: InstanceSpec;
  /** Of container and namespace. */
  name: string;
  /** Holds `log`, `pid`, `resolv.conf`, `credentials.json`, `ca.pem`. */
  directory: string;
  /** Of a unit its root; of a container its image. */
  from: string;
  /** User and group of a unit; first of the 65536 users and groups that are a container's 0, 1, …. Nobody else's. */
  user: number;
  cgroup: string;
  /** Memory is limited by podman, not by the group around. */
  limitsMemory: boolean;
  environment: Record<string, string>;
  /** There is a `ca.pem`, by which it checks the platform's certificate. */
  trusts: boolean;
}

/** Arguments of `podman run`. Pure. */
export function runArguments(launch: Launch, etc: readonly string[]): string[] {
  const { spec, name, directory, cgroup } = launch;
  const { limits, kind, command } = spec;
  const mounts = [
    { source: join(directory, "resolv.conf"), target: "/etc/resolv.conf" },
    ...(spec.credentials ? [{ source: join(directory, "credentials.json"), target: credentialsPath }] : []),
    ...(launch.trusts ? [{ source: join(directory, "ca.pem"), target: caPath }] : []),
    ...(kind === "unit"
      ? [{ source: "/usr", target: "/usr" }, ...etc.map((path) => ({ source: path, target: path }))]
      : []),
    ...spec.files,
  ];
  const ids = `0:${launch.user}:65536`;
  const memory = ["--memory", `${limits.memory}b`, "--memory-swap", `${limits.memory}b`];
  return [
    ...["run", "--detach", "--pull", "never", "--name", name, "--hostname", name],
    ...["--network", `ns:${namespacePath(name.replace(/^oa-/, ""))}`, "--no-hosts"],
    ...["--cap-drop", "all", "--security-opt", "no-new-privileges", "--read-only"],
    ...["--cgroup-parent", cgroup, "--cpus", `${limits.cpu}`, "--pids-limit", `${limits.pids}`],
    ...(launch.limitsMemory ? memory : []),
    ...[
      "--log-driver",
      "k8s-file",
      "--log-opt",
      `path=${join(directory, "log")}`,
      "--log-opt",
      `max-size=${logOctets}b`,
    ],
    ...["--pidfile", join(directory, "pid")],
    ...mounts.flatMap(({ source, target }) => ["--volume", `${source}:${target}:ro`]),
    ...Object.entries(launch.environment).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
    ...(kind === "unit" ? ["--user", `${launch.user}:${launch.user}`, "--rootfs", launch.from, ...command] : []),
    ...(kind === "container" ? ["--uidmap", ids, "--gidmap", ids] : []),
    ...(kind === "container" && command.length > 0 ? ["--entrypoint", JSON.stringify(command)] : []),
    ...(kind === "container" ? [launch.from] : []),
  ];
}

export const credentialsPath = "/run/offramp/credentials.json";
export const caPath = "/run/offramp/ca.pem";

/** The root of a unit: what leads to the appliance's programs. */
export function makeRoot(directory: string): void {
  for (const name of ["usr", "etc", "proc", "sys", "dev", "run", "tmp", "var", "var/tmp"]) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    rmSync(join(directory, name), { force: true });
    symlinkSync(`usr/${name}`, join(directory, name));
  }
  chmodSync(directory, 0o755);
  // What is mounted over them takes their modes.
  for (const name of ["run", "tmp", "var/tmp"]) chmodSync(join(directory, name), 0o1777);
}

export const etcOfUnits = (exists: (path: string) => boolean): string[] =>
  visibleEtc.map((name) => `/etc/${name}`).filter(exists);

export interface ContainerState {
  status: string;
  pid: number;
  exitCode: number;
}

export class Podman {
  readonly #places: PodmanPlaces;

  constructor(places: PodmanPlaces) {
    this.#places = places;
  }

  prepare(): void {
    const { storage, running, settings: file } = this.#places;
    mkdirSync(storage, { recursive: true, mode: 0o700 });
    mkdirSync(running, { recursive: true, mode: 0o700 });
    const places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin"];
    const oci = places.some((folder) => existsSync(join(folder, "runc"))) ? "runc" : "crun";
    writeFileSync(file, settings(oci));
  }

  /** @throws DataplaneError with what podman said; RuntimeError where there is none */
  async #podman(...words: string[]): Promise<string> {
    const { storage, running, settings: file } = this.#places;
    const own = ["--root", storage, "--runroot", join(running, "run"), "--tmpdir", join(running, "tmp")];
    try {
      // Where a container meets its memory limit, its monitor leaves a file "oom" in the directory that it was started in.
      return await run("env", "-C", running, `CONTAINERS_CONF=${file}`, "podman", ...own, ...words);
    } catch (error) {
      const [missing] = /env: 'podman': .*/.exec((error as Error).message) ?? [];
      if (missing === undefined) throw error;
      throw new RuntimeError(
        `instances need podman: ${missing}: install the Debian packages podman and runc (or crun)`,
      );
    }
  }

  async run(launch: Launch, etc: readonly string[]): Promise<void> {
    await this.#podman(...runArguments(launch, etc));
  }

  /** Undefined: there is no such container. */
  async state(name: string): Promise<ContainerState | undefined> {
    try {
      const text = await this.#podman("container", "inspect", "--format", "{{json .State}}", name);
      const state = JSON.parse(text) as { Status: string; Pid: number; ExitCode: number };
      return { status: state.Status, pid: state.Pid, exitCode: state.ExitCode };
    } catch {
      return undefined;
    }
  }

  async stop(name: string, graceMs: number): Promise<void> {
    await this.#podman("stop", "--ignore", "--time", `${Math.ceil(graceMs / 1000)}`, name);
  }

  /**
   * Ends it, and takes it away. When a container ends, its monitor starts a podman that tidies up behind it: two at once get into
   * each other's way, so that one is waited for.
   */
  async remove(name: string): Promise<void> {
    await this.stop(name, 0);
    for (let wait = 100; wait > 0 && this.#isTidying(name); wait--) await pause(100);
    for (let more = 25; ; more--) {
      try {
        await this.#podman("rm", "--force", "--ignore", "--time", "0", name);
        return;
      } catch (error) {
        if (more === 0 || !(error as Error).message.includes("busy")) throw error;
        await pause(200);
      }
    }
  }

  /** What podman keeps mounted on its storage while it is used. */
  async unmount(): Promise<void> {
    const mounts = readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .map((line) => line.split(" ")[1] ?? "");
    for (const place of mounts.reverse()) {
      if (place.startsWith(`${this.#places.storage}/`)) await run("umount", "--lazy", place).catch(() => undefined);
    }
  }

  #isTidying(name: string): boolean {
    const { storage } = this.#places;
    return commandLines().some((words) => {
      const [program = ""] = words;
      if (!words.includes(storage)) return false;
      // The monitor's command line names what it is going to start, for every container.
      if (program.endsWith("conmon")) return words[words.indexOf("-n") + 1] === name;
      return program.endsWith("podman") && words.includes("cleanup");
    });
  }

  async names(): Promise<string[]> {
    return (await this.#podman("ps", "--all", "--format", "{{.Names}}")).split("\n").filter(Boolean);
  }

  /**
   * Loads the image unless it is there. Returns its name.
   * @throws RuntimeError when the file is not the one that the digest is of, or no image
   */
  async load(image: { archive: string; digest: string }): Promise<string> {
    const name = imageName(image.digest);
    if (await this.hasImage(name)) return name;
    const hash = createHash("sha256");
    try {
      await pipeline(createReadStream(image.archive), hash);
    } catch (error) {
      throw new RuntimeError(`image: ${image.archive} cannot be read: ${(error as Error).message}`);
    }
    const found = `sha256:${hash.digest("hex")}`;
    if (found !== image.digest) throw new RuntimeError(`image: ${image.archive} is ${found}, not ${image.digest}`);
    try {
      const id = (await this.#podman("pull", "--quiet", `oci-archive:${image.archive}`)).trim().split("\n").pop() ?? "";
      await this.#podman("tag", id, name);
    } catch (error) {
      throw new RuntimeError(`image: podman does not take ${image.archive}: ${(error as Error).message}`);
    }
    return name;
  }

  hasImage(name: string): Promise<boolean> {
    return this.#podman("image", "exists", name).then(
      () => true,
      () => false,
    );
  }

  async removeImage(digest: string): Promise<void> {
    const name = imageName(digest);
    if (!(await this.hasImage(name))) return;
    const id = (await this.#podman("image", "inspect", "--format", "{{.Id}}", name)).trim();
    await this.#podman("untag", id, name);
    // Another package may have the same image, under the digest of its own archive.
    const [names = "[]"] = (await this.#podman("image", "inspect", "--format", "{{json .RepoTags}}", id)).split("\n");
    if (((JSON.parse(names) ?? []) as string[]).every((one) => !one.startsWith(imagePrefix))) {
      await this.#podman("rmi", "--force", id);
    }
  }
}

const imagePrefix = "localhost/offramp";
const imageName = (digest: string): string => `${imagePrefix}:${digest.replace(/^sha256:/, "")}`;
