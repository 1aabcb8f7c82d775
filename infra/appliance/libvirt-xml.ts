/**
 * What is libvirt told about an appliance?
 *
 * Pure: the domain, and the networks that are made for wires that nobody named. Source: libvirt's domain and network XML
 * formats (libvirt.org/formatdomain.html, formatnetwork.html).
 */
import { createHash } from "node:crypto";
import { type AdapterName, type Adapters, adapterNames, type Problem } from "./user-data.ts";

/** Where an adapter hangs. */
export type Hang =
  | { /** One of libvirt's networks. */ network: string }
  | { bridge: string }
  | { /** Frames as UDP datagrams: `127.0.0.1:5001`. */ udp: { local: string; remote: string } };

export interface LibvirtWires {
  /** Default: the network `default`. */
  management?: Hang;
  /** Of these, one that is absent is a network of its own, made and removed with the VM. */
  access?: Hang;
  core?: Hang;
  apps?: Hang;
}

const wires: Record<AdapterName, keyof LibvirtWires> = {
  mgmt0: "management",
  acc0: "access",
  cor0: "core",
  apps0: "apps",
};

export interface DomainOptions {
  name: string;
  /** `kvm`, or `qemu` for QEMU's own emulation. */
  driver: "kvm" | "qemu";
  memory: number;
  vcpus: number;
  adapters: Adapters;
  wires: LibvirtWires;
  pool: string;
  /** File that libvirt copies the serial console into; absent: none. */
  log?: string;
}

/** Namespace of what is kept with the domain. */
export const metadataUri = "urn:offramp:appliance";

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" };
const escaped = (text: string | number): string => String(text).replace(/[&<>"']/g, (one) => escapes[one] ?? one);

export const diskOf = (name: string): string => `${name}.qcow2`;
export const seedOf = (name: string): string => `${name}-seed.iso`;

/** The networks that are made for the VM, by wire. */
export function ownNetworks(name: string, { adapters, wires: given }: Pick<DomainOptions, "adapters" | "wires">) {
  return adapterNames
    .filter((adapter) => adapter !== "mgmt0" && adapters[adapter] !== undefined && given[wires[adapter]] === undefined)
    .map((adapter) => ({ adapter, network: `${name}-${wires[adapter]}` }));
}

/** Always the same for the same name: so a domain can be defined again. */
function uuidOf(name: string): string {
  const hex = createHash("sha256").update(`offramp ${name}`).digest("hex").slice(0, 32);
  const version = `${hex.slice(0, 12)}8${hex.slice(13, 16)}8${hex.slice(17)}`;
  return version.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function interfaceXml(adapter: AdapterName, index: number, options: DomainOptions): string[] {
  const mac = options.adapters[adapter];
  if (mac === undefined) return [];
  const usual = adapter === "mgmt0" ? "default" : `${options.name}-${wires[adapter]}`;
  const hang = options.wires[wires[adapter]] ?? { network: usual };
  const [type, source] =
    "network" in hang
      ? ["network", `<source network="${escaped(hang.network)}"/>`]
      : "bridge" in hang
        ? ["bridge", `<source bridge="${escaped(hang.bridge)}"/>`]
        : ["udp", udpXml(hang.udp)];
  return [
    `    <interface type="${type}">`,
    `      <mac address="${escaped(mac)}"/>`,
    `      ${source}`,
    `      <model type="virtio"/>`,
    `      <address type="pci" domain="0x0000" bus="0x00" slot="0x0${index + 3}" function="0x0"/>`,
    "    </interface>",
  ];
}

function udpXml({ local, remote }: { local: string; remote: string }): string {
  const [address, port] = remote.split(":");
  const [ownAddress, ownPort] = local.split(":");
  const own = `<local address="${escaped(ownAddress ?? "")}" port="${escaped(ownPort ?? "")}"/>`;
  return `<source address="${escaped(address ?? "")}" port="${escaped(port ?? "")}">${own}</source>`;
}

const volume = (pool: string, name: string) => `<source pool="${escaped(pool)}" volume="${escaped(name)}"/>`;

/** The domain, as what is being made (`made="no"`). */
export function domainXml(options: DomainOptions): string {
  const { name, driver, memory, vcpus, pool, log } = options;
  return [
    `<domain type="${driver}">`,
    `  <name>${escaped(name)}</name>`,
    `  <uuid>${uuidOf(name)}</uuid>`,
    `  <metadata><offramp:appliance xmlns:offramp="${metadataUri}" made="no"/></metadata>`,
    `  <memory unit="MiB">${memory}</memory>`,
    `  <vcpu>${vcpus}</vcpu>`,
    `  <os><type arch="x86_64" machine="pc">hvm</type><boot dev="hd"/></os>`,
    "  <features><acpi/><apic/></features>",
    `  <cpu mode="${driver === "kvm" ? "host-passthrough" : "maximum"}"/>`,
    "  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>restart</on_crash>",
    "  <devices>",
    `    <disk type="volume" device="disk">`,
    `      <driver name="qemu" type="qcow2" discard="unmap"/>${volume(pool, diskOf(name))}`,
    `      <target dev="vda" bus="virtio"/>`,
    "    </disk>",
    `    <disk type="volume" device="disk">`,
    `      <driver name="qemu" type="raw"/>${volume(pool, seedOf(name))}`,
    `      <target dev="vdb" bus="virtio"/><readonly/>`,
    "    </disk>",
    `    <controller type="usb" model="none"/>`,
    ...adapterNames.flatMap((adapter, index) => interfaceXml(adapter, index, options)),
    `    <serial type="pty">${log === undefined ? "" : `<log file="${escaped(log)}" append="on"/>`}<target port="0"/></serial>`,
    `    <watchdog model="i6300esb" action="reset"/>`,
    `    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>`,
    `    <memballoon model="none"/>`,
    "  </devices>",
    "</domain>",
    "",
  ].join("\n");
}

/** An isolated network: a bridge without addresses, on which every frame goes to everybody. */
export const networkXml = (name: string): string =>
  [
    "<network>",
    `  <name>${escaped(name)}</name>`,
    `  <bridge stp="off" delay="0" macTableManager="kernel"/>`,
    "</network>",
    "",
  ].join("\n");

export function hangProblems(given: LibvirtWires, path: string): Problem[] {
  const known = Object.values(wires);
  return Object.entries(given).flatMap(([name, hang]) => {
    const at = `${path}.${name}`;
    if (!known.includes(name as keyof LibvirtWires)) {
      return [{ path: at, reason: `is not known; there are ${known.join(", ")}` }];
    }
    const members = Object.keys((hang ?? {}) as object);
    if (members.length === 1 && ["network", "bridge", "udp"].includes(members[0] ?? "")) return [];
    return [{ path: at, reason: "must be { network }, { bridge } or { udp: { local, remote } }" }];
  });
}
