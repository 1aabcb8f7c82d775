/**
 * Where does an appliance run, as a program says it?
 *
 * `place: { qemu: { … } }`: one member, named by the place. What each takes is checked here, so that all that is wrong is named
 * before anything is made.
 */
import { Libvirt, type LibvirtPlace, libvirtProblems } from "./libvirt.ts";
import type { Identity, Place } from "./place.ts";
import { Provided, type ProvidedPlace, providedProblems } from "./provided.ts";
import { Qemu, type QemuPlace, qemuProblems } from "./qemu.ts";
import { Ssh, type SshPlace, sshProblems } from "./ssh.ts";
import type { Problem } from "./user-data.ts";

export type PlaceArgs =
  | { /** QEMU of the machine that Pulumi runs on. */ qemu: QemuPlace }
  | { libvirt: LibvirtPlace }
  | { /** A Debian machine that is there already. */ ssh: SshPlace }
  | { /** Others have made it, with the token and certificate that it was given. */ provided: ProvidedPlace };

const problemsBy = {
  qemu: qemuProblems,
  libvirt: libvirtProblems,
  ssh: sshProblems,
  provided: providedProblems,
};
const names = Object.keys(problemsBy);

/** @param path of `place` */
export function placeProblems(place: unknown, path = "place"): Problem[] {
  const given = typeof place === "object" && place !== null ? Object.entries(place) : [];
  const [name = "", options] = given[0] ?? [];
  if (given.length !== 1 || !names.includes(name)) {
    return [{ path, reason: `must be one of ${names.map((one) => `{ ${one}: { … } }`).join(", ")}` }];
  }
  const at = `${path}.${name}`;
  if (typeof options !== "object" || options === null) return [{ path: at, reason: "must be an object" }];
  return problemsBy[name as keyof typeof problemsBy](options as Record<string, unknown>, at);
}

/** @param place one without problems */
export function placeOf(place: PlaceArgs, identity: Identity): Place {
  if ("qemu" in place) return new Qemu(identity.name, place.qemu);
  if ("libvirt" in place) return new Libvirt(identity, place.libvirt);
  if ("ssh" in place) return new Ssh(place.ssh);
  return new Provided(place.provided);
}
