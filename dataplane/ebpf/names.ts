/**
 * How do names whose queries are taken get into force, and out?
 *
 * `names` holds each as it is on the wire (RFC 1035 §3.1), in lower case. A query meets one name, so names come and go one
 * by one, and it never sees half a change; a change that fails takes back what it has done. The flag in `rules_state` spares
 * packets the look while there are none. Flows of queries that were taken before run out by themselves.
 */
import { addressOctets } from "../address.ts";
import { DataplaneError, type Difference } from "../dataplane.ts";
import type { Names, Steering } from "../steering.ts";
import { MAX_NAMES, NAME_MAX } from "./consts.ts";
import type { Kernel } from "./kernel.ts";
import { nameServer, rulesHeader } from "./layout.ts";

const THERE = Uint8Array.of(1);
const LABEL_MAX = 63;

/** Key of a name in the map. @throws DataplaneError when it has none */
export function nameKey(name: string): Uint8Array {
  const key = new Uint8Array(NAME_MAX);
  let at = 0;
  for (const label of name.split(".")) {
    const octets = Buffer.from(label, "latin1");
    const fits = octets.length > 0 && octets.length <= LABEL_MAX && at + octets.length + 2 < NAME_MAX;
    if (!fits || !/^[!-@[-~]+$/.test(label)) throw new DataplaneError(`"${name}" is not a name in lower case`, "names");
    key[at] = octets.length;
    key.set(octets, at + 1);
    at += octets.length + 1;
  }
  return key;
}

/** The name that a key stands for. */
export function nameOfKey(key: Uint8Array): string {
  const labels: string[] = [];
  for (let at = 0; key[at]; at += key[at]! + 1) {
    labels.push(Buffer.from(key.subarray(at + 1, at + 1 + key[at]!)).toString("latin1"));
  }
  return labels.join(".");
}

/** Who answers, as the programs read it. */
export function renderServer({ server, server6 }: Names): Uint8Array {
  return nameServer.encode({
    address4: addressOctets(server.address),
    port4: server.port,
    ...(server6 && { address6: addressOctets(server6.address), port6: server6.port }),
  });
}

/** What of the value is not the programs' own. */
const serverText = (octets: Uint8Array): string =>
  Buffer.from(octets.subarray(0, nameServer.offset.waiting)).toString("hex");

export class NameTable {
  readonly #kernel: Kernel;
  /** What is in the map; read when it is first asked for. */
  #names: Set<string> | undefined;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  #there(): Set<string> {
    this.#names ??= new Set([...this.#kernel.map("names").keys()].map(nameOfKey));
    return this.#names;
  }

  #isOn(): boolean {
    return rulesHeader.decode(this.#kernel.map("rules_state").lookup(0)!).names !== 0;
  }

  /**
   * These and no others from now on. Returns how to take it back.
   * @throws DataplaneError and the old ones are in force
   */
  apply(names: Names): () => void {
    const wanted = new Map(names.names.map((name) => [name, nameKey(name)]));
    if (wanted.size > MAX_NAMES)
      throw new DataplaneError(`${wanted.size} names, there is room for ${MAX_NAMES}`, "names");
    const kernel = this.#kernel;
    const [map, servers] = [kernel.map("names"), kernel.map("name_server")];
    const there = this.#there();
    const undo: (() => void)[] = [];
    const takeBack = (): void => {
      for (const step of undo.splice(0).reverse()) step();
    };
    const turn = (on: boolean): void => {
      const was = this.#isOn();
      if (was === on) return;
      kernel.raiseGeneration({ names: on ? 1 : 0 });
      undo.push(() => kernel.raiseGeneration({ names: was ? 1 : 0 }));
    };
    try {
      const before = servers.lookup(0)!;
      const server = renderServer(names);
      const moves = wanted.size > 0 && serverText(before) !== serverText(server);
      if (moves || wanted.size === 0) turn(false);
      // First what goes: the table may be full.
      for (const name of [...there]) {
        if (wanted.has(name)) continue;
        const key = nameKey(name);
        map.delete(key);
        there.delete(name);
        undo.push(() => {
          map.update(key, THERE);
          there.add(name);
        });
      }
      for (const [name, key] of wanted) {
        if (there.has(name)) continue;
        map.update(key, THERE);
        there.add(name);
        undo.push(() => {
          map.delete(key);
          there.delete(name);
        });
      }
      if (moves) {
        servers.update(0, server);
        undo.push(() => servers.update(0, before));
      }
      if (wanted.size > 0) turn(true);
    } catch (error) {
      takeBack();
      if (error instanceof DataplaneError) throw error;
      throw new DataplaneError(`names: ${(error as Error).message}`, "names");
    }
    return takeBack;
  }

  /** The name server answers: whoever says which names there are knows. */
  trust(): void {
    const servers = this.#kernel.map("name_server");
    servers.update(0, nameServer.encode({ ...nameServer.decode(servers.lookup(0)!), waiting: 0 }));
  }

  /** Where what is in force is not as `steering` says; where it says nothing, it is. */
  differences({ names }: Steering): Difference[] {
    if (!names) return [];
    const wanted = new Set(names.names);
    const held = new Set([...this.#kernel.map("names").keys()].map(nameOfKey));
    const found: Difference[] = [];
    const to = `taken to ${names.server.address}`;
    for (const name of wanted) if (!held.has(name)) found.push({ table: "names", key: name, intended: to });
    for (const name of held) if (!wanted.has(name)) found.push({ table: "names", key: name, found: "taken" });
    if (wanted.size === 0) return found;
    const server = serverText(this.#kernel.map("name_server").lookup(0)!);
    const intended = serverText(renderServer(names));
    if (server !== intended) found.push({ table: "name_server", key: "server", intended, found: server });
    if (!this.#isOn()) found.push({ table: "rules_state", key: "names", intended: "1", found: "0" });
    return found;
  }
}
