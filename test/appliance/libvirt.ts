/**
 * How does a test get a libvirt of its own?
 *
 * libvirtd by hand, without systemd, D-Bus and polkit: with a mount namespace in which its folders (/etc/libvirt,
 * /var/lib/libvirt, …) are the test's, and in the network namespace that the test runs in, so that bridges, DHCP servers and rules of
 * its networks end with that. Clients reach it over `uri`; what it has made is under `folder`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command, must, Process, until } from "../lab/netns.ts";

/** What libvirtd keeps things in; each is the test's own. */
const places = ["/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt", "/run/libvirt"];

/** QEMU as root, without confinement: there is no machine around it that could do that. */
const qemuConf = `user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
remember_owner = 0
`;

const network = `<network>
  <name>default</name>
  <bridge name="virbr0" stp="off" delay="0"/>
  <forward mode="nat"/>
  <ip address="192.168.122.1" netmask="255.255.255.0">
    <dhcp><range start="192.168.122.2" end="192.168.122.254"/></dhcp>
  </ip>
</network>
`;

export class Libvirtd {
  readonly folder: string;
  readonly uri: string;
  readonly #process: Process;

  private constructor(folder: string) {
    this.folder = folder;
    const socket = join(folder, "socket");
    this.uri = `qemu:///system?socket=${join(socket, "libvirt-sock")}`;
    for (const place of places) mkdirSync(join(folder, place), { recursive: true });
    for (const own of [socket, join(folder, "pool")]) mkdirSync(own, { recursive: true });
    writeFileSync(join(folder, "etc/libvirt/qemu.conf"), qemuConf);
    const settings = [`unix_sock_dir = "${socket}"`, 'auth_unix_rw = "none"', 'auth_unix_ro = "none"'];
    writeFileSync(join(folder, "libvirtd.conf"), `${settings.join("\n")}\n`);
    const binds = places.map((place) => `mkdir -p ${place} && mount --bind ${folder}${place} ${place}`).join(" && ");
    const daemon = `exec libvirtd --config ${folder}/libvirtd.conf --pid-file ${folder}/pid`;
    this.#process = new Process("libvirtd", ["unshare", "--mount", "sh", "-c", `${binds} && ${daemon}`]);
  }

  /** With a network `default` (DHCP, 192.168.122.0/24) and a pool `default`. */
  static async start(): Promise<Libvirtd> {
    const daemon = new Libvirtd(mkdtempSync(join(tmpdir(), "ofr-libvirt-")));
    try {
      await until(
        "libvirtd to answer",
        async () => {
          if (daemon.#process.code !== undefined) throw new Error(`libvirtd ended: ${daemon.#process.log}`);
          return (await daemon.virsh("version")).code === 0;
        },
        120_000,
        200,
      );
      const file = join(daemon.folder, "network.xml");
      writeFileSync(file, network);
      await daemon.must("net-define", file);
      await daemon.must("net-start", "default");
      await daemon.must("pool-create-as", "default", "dir", "--target", join(daemon.folder, "pool"));
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  virsh(...words: string[]) {
    return command(["virsh", "--quiet", "--connect", this.uri, ...words]);
  }

  /** Standard output. @throws Error with what it said */
  async must(...words: string[]): Promise<string> {
    return (await must(["virsh", "--quiet", "--connect", this.uri, ...words])).stdout;
  }

  /** With its domains and networks. */
  async stop(): Promise<void> {
    for (const [list, end] of [
      ["list", "destroy"],
      ["net-list", "net-destroy"],
    ] as const) {
      const { stdout } = await this.virsh(list, "--name");
      for (const name of stdout.split("\n").filter((one) => one !== "")) await this.virsh(end, name);
    }
    await this.#process.end("SIGTERM", 10_000);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
