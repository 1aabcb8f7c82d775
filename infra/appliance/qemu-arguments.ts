/**
 * What is QEMU told for an appliance?
 *
 * Pure. Adapters are plugged in the order mgmt0, acc0, cor0, apps0; `mgmt0` is QEMU's own network (the VM gets 10.0.2.15 by
 * DHCP there), of which the ports of API and SSH are this machine's 127.0.0.1. The others hang on taps or UDP tunnels, or on nothing.
 */
import type { Problem } from "./user-data.ts";
import { type AdapterName, type Adapters, adapterNames } from "./user-data.ts";

/** Where an adapter of the VM hangs. */
export type Attachment =
  | {
      /** Made by QEMU. */ tap: string /** Network namespace that it is moved into. */;
      namespace?: string;
      bridge?: string;
    }
  | { /** Frames as UDP datagrams: `127.0.0.1:5001`. */ udp: { local: string; remote: string } };

export interface Wires {
  access?: Attachment;
  core?: Attachment;
  apps?: Attachment;
}

export const wireOf: Record<Exclude<AdapterName, "mgmt0">, keyof Wires> = {
  acc0: "access",
  cor0: "core",
  apps0: "apps",
};

export interface QemuOptions {
  name: string;
  folder: string;
  accelerator: "kvm" | "tcg";
  memory: number;
  vcpus: number;
  adapters: Adapters;
  wires: Wires;
  ports: { api: number; ssh: number };
  /** Of the VM on QEMU's network. */
  guest: string;
}

const colons = (text: string, what: string): string => {
  const at = text.lastIndexOf(":");
  return `${what}.type=inet,${what}.host=${text.slice(0, at)},${what}.port=${text.slice(at + 1)}`;
};

function backend(name: string, attachment: Attachment): string {
  if ("tap" in attachment) return `tap,id=${name},ifname=${attachment.tap},script=no,downscript=no`;
  return `dgram,id=${name},${colons(attachment.udp.local, "local")},${colons(attachment.udp.remote, "remote")}`;
}

function adapterArguments({ adapters, wires, ports, guest }: QemuOptions): string[] {
  return adapterNames.flatMap((name, index) => {
    const mac = adapters[name];
    if (mac === undefined) return [];
    const attachment = name === "mgmt0" ? undefined : wires[wireOf[name]];
    const forwarded = [
      `hostfwd=tcp:127.0.0.1:${ports.api}-${guest}:8090`,
      `hostfwd=tcp:127.0.0.1:${ports.ssh}-${guest}:22`,
    ];
    const net =
      name === "mgmt0" ? ["user", `id=${name}`, ...forwarded].join(",") : attachment && backend(name, attachment);
    const device = `virtio-net-pci,mac=${mac},addr=0x${(index + 16).toString(16)}`;
    return net === undefined ? ["-device", device] : ["-netdev", net, "-device", `${device},netdev=${name}`];
  });
}

/** Arguments of `qemu-system-x86_64`. */
export function qemuArguments(options: QemuOptions): string[] {
  const { name, folder, accelerator, memory, vcpus } = options;
  const at = (file: string) => `${folder}/${file}`.replaceAll(",", ",,");
  return [
    ...["-name", name.replaceAll(",", ",,"), "-machine", "pc", "-nodefaults", "-no-user-config", "-display", "none"],
    ...(accelerator === "kvm" ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg,thread=multi", "-cpu", "max"]),
    ...["-m", `${memory}M`, "-smp", String(vcpus), "-device", "virtio-rng-pci"],
    ...["-device", "i6300esb", "-action", "watchdog=reset"],
    ...["-drive", `file=${at("disk.qcow2")},if=virtio,format=qcow2,discard=unmap`],
    ...["-drive", `file=${at("seed.iso")},if=virtio,format=raw,readonly=on`],
    ...["-chardev", `file,id=serial,path=${at("serial.log")},append=on`, "-serial", "chardev:serial"],
    ...["-qmp", `unix:${at("monitor")},server=on,wait=off`],
    ...adapterArguments(options),
    ...["-daemonize", "-pidfile", at("pid")],
  ];
}

const interfaceName = /^(?!\.{1,2}$)[^/:\s,]{1,15}$/;
const socket = /^(\d{1,3}\.){3}\d{1,3}:\d{1,5}$/;

function attachmentProblems(attachment: Attachment, path: string): Problem[] {
  if ("tap" in attachment) {
    const { tap, namespace, bridge, ...others } = attachment;
    const problems = Object.keys(others).map((name) => ({
      path: `${path}.${name}`,
      reason: "is not known; a tap has tap, namespace, bridge",
    }));
    if (!interfaceName.test(tap)) problems.push({ path: `${path}.tap`, reason: "must be the name of an interface" });
    if (bridge !== undefined && !interfaceName.test(bridge)) {
      problems.push({ path: `${path}.bridge`, reason: "must be the name of an interface" });
    }
    if (namespace !== undefined && !/^[^/\s]+$/.test(namespace)) {
      problems.push({ path: `${path}.namespace`, reason: "must be the name of a network namespace" });
    }
    return problems;
  }
  const { local, remote } = attachment.udp ?? {};
  return Object.entries({ local, remote })
    .filter(([, value]) => !socket.test(String(value)))
    .map(([name]) => ({ path: `${path}.udp.${name}`, reason: "must be address and port such as 127.0.0.1:5001" }));
}

export function wireProblems(wires: Wires, path: string): Problem[] {
  const known = Object.values(wireOf);
  return Object.entries(wires).flatMap(([name, attachment]) =>
    known.includes(name as keyof Wires)
      ? attachmentProblems(attachment, `${path}.${name}`)
      : [{ path: `${path}.${name}`, reason: `is not known; there are ${known.join(", ")}` }],
  );
}
