/**
 * `Appliance`: an appliance with its VM, wherever that runs.
 *
 *   inputs ─place─▶ VM, with a seed that holds configuration, token and certificate ─▶ /readyz answers, by that certificate
 *
 * Its id is its name. A token and a certificate that the program does not give are made before the VM is. Another
 * configuration is put over the API; another size is a power cycle; a VM that has died, or was switched off by hand, is started
 * again with its state. Another image, place or network is another appliance.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import ipaddr from "ipaddr.js";
import { macAddresses } from "../../appliance/addresses.ts";
import { sourceProblems } from "../../appliance/file.ts";
import { fingerprintOf, makeCertificate, makeToken, nameIn } from "../../appliance/keys.ts";
import { type Machine, type Place, takenBack, type Where } from "../../appliance/place.ts";
import { type PlaceArgs, placeOf, placeProblems } from "../../appliance/places.ts";
import {
  type Adapters,
  adapterProblems,
  documentProblems,
  hostnameProblems,
  type Management,
  managementProblems,
  type Problem,
  sshKeyProblems,
  type Tls,
  tlsProblems,
  tokenProblems,
} from "../../appliance/user-data.ts";
import { configurationOf, configure, whole } from "../../configure.ts";
import { Site, type SiteAccess } from "../../site.ts";
import { type Checked, type Kind, type Properties, unknownProperties, unknownValue } from "../kind.ts";
import { said } from "./site-configuration.ts";

type Configuration = Machine["userData"]["site"];

/** Inputs with what was left out filled in. */
interface Wanted {
  name: string;
  place: PlaceArgs;
  image?: { path?: string; url?: string; sha256: string };
  memory: number;
  vcpus: number;
  configuration: Configuration;
  adapters: Adapters;
  management: Management;
  sshKeys: readonly string[];
  token?: string;
  tls?: Tls;
  running: boolean;
  patience: number;
}

const known = [
  "name",
  "place",
  "image",
  "memory",
  "vcpus",
  "configuration",
  "adapters",
  "management",
  "sshKeys",
  "token",
  "tls",
  "running",
  "patience",
];
/** Seconds until a new VM has to be ready; one that is emulated takes its time. */
const usualPatience = 600;
const pollMs = 500;

const wantedOf = (inputs: Properties): Wanted => inputs as unknown as Wanted;

/** Where a value is not known yet, nothing can be said about it or about what is in it. */
function isOpen(inputs: unknown, path: string): boolean {
  let value = inputs;
  for (const member of path.split(/[.[\]]+/).filter((one) => one !== "")) {
    if (value === unknownValue) return true;
    value = (value as Record<string, unknown> | undefined)?.[member];
  }
  return value === unknownValue;
}

function number(value: unknown, path: string, least: number, unit: string): Problem[] {
  if (Number.isInteger(value) && Number(value) >= least) return [];
  return [{ path, reason: `must be a whole number of ${unit}, ${least} or more` }];
}

function problemsOf(inputs: Properties): Problem[] {
  const {
    place = {},
    name,
    configuration,
    memory,
    vcpus,
    adapters,
    management,
    sshKeys,
    token,
    tls,
    patience,
  } = inputs;
  const brings = Object.keys(place as object).some((one) => ["ssh", "provided"].includes(one));
  const foreign = { path: "image", reason: "is not used here: this place brings its own" };
  return [
    ...hostnameProblems(name, "name"),
    ...placeProblems(place),
    ...(brings ? (inputs.image === undefined ? [] : [foreign]) : sourceProblems(inputs.image, "image")),
    ...documentProblems(configuration, "configuration"),
    ...number(memory, "memory", 256, "MiB"),
    ...number(vcpus, "vcpus", 1, "processors"),
    ...number(patience, "patience", 0, "seconds"),
    ...adapterProblems(adapters),
    ...managementProblems(management),
    ...sshKeyProblems(sshKeys, "sshKeys"),
    ...(token === undefined ? [] : tokenProblems(token)),
    ...(tls === undefined ? [] : tlsProblems(tls)),
  ];
}

function check(inputs: Properties, name: string): Checked {
  const filled: Record<string, unknown> = {
    name,
    memory: 512,
    vcpus: 1,
    management: { dhcp: true },
    sshKeys: [],
    running: true,
    patience: usualPatience,
    ...inputs,
  };
  if (filled.adapters === undefined && filled.name !== unknownValue)
    filled.adapters = macAddresses(String(filled.name));
  const failures = unknownProperties(inputs, known, `an appliance has ${known.join(", ")}`);
  const problems = problemsOf(filled).filter(({ path }) => !isOpen(filled, path));
  return {
    inputs: filled,
    failures: [...failures, ...problems.map(({ path, reason }) => ({ property: path, reason }))],
  };
}

const accessOf = (state: Properties, api = String(state.api)): SiteAccess => ({
  api,
  token: String(state.token),
  ...(state.ca !== undefined && { ca: String(state.ca), serverName: String(state.serverName) }),
});

async function asking<T>(access: SiteAccess, use: (site: Site) => Promise<T>): Promise<T> {
  const site = new Site(access);
  try {
    return await use(site);
  } finally {
    await site.close();
  }
}

/** Asks something of the appliance once, without patience. */
const once = <T>(access: SiteAccess, use: (site: Site) => Promise<T>) => asking({ ...access, patience: 0 }, use);

/** As the program said it, where the site has the same; else as it would have to be said to get what the site has. */
async function documentAt(access: SiteAccess, had: Configuration): Promise<Configuration> {
  const now = await asking({ ...access, patience: 5_000 }, configurationOf);
  return isDeepStrictEqual(whole(had, now), now.site) ? had : said(now, had);
}

/** Resolves when it is ready and takes the token. @throws Error with the last lines of its console */
async function ready(place: Place, access: SiteAccess, patience: number): Promise<void> {
  const until = Date.now() + patience * 1000;
  for (let why = ""; ; await sleep(pollMs)) {
    try {
      const status = await once(access, (site) => site.status("/readyz"));
      if (status === 200) {
        const user = await once(access, (site) => site.status("/api/v1/whoami"));
        if (user === 200) return;
        why = `it does not take the token (${user})`;
      } else why = `/readyz answered ${status}`;
    } catch (error) {
      why = (error as Error).message;
    }
    const running = (await place.read())?.running ?? true;
    if (running && Date.now() < until) continue;
    const lines = await place.console();
    const said = lines.length > 0 ? `. The last that it said:\n${lines.map((line) => `  ${line}`).join("\n")}` : "";
    throw new Error(`the appliance ${running ? `was not ready within ${patience} s` : "has stopped"}: ${why}${said}`);
  }
}

const placed = (inputs: Properties): Place => placeOf(wantedOf(inputs).place, wantedOf(inputs));

const outputsOf = ({ api, ssh }: Where): Properties => ({
  ...(api !== "" && { api, address: new URL(api).hostname.replace(/^\[|\]$/g, "") }),
  ...(ssh !== undefined && { ssh }),
});

/** Those of the API that are known before the VM is there. */
function addressesOf({ place, management }: Wanted): string[] {
  if ("qemu" in place) return ["127.0.0.1"];
  if ("ssh" in place) return ipaddr.isValid(place.ssh.host) ? [place.ssh.host] : [];
  return "address" in management ? [management.address.split("/")[0] ?? ""] : [];
}

async function create(inputs: Properties): Promise<{ id: string; outputs: Properties }> {
  const { name, configuration, management, adapters, sshKeys, patience, image, memory, vcpus, ...given } =
    wantedOf(inputs);
  const token = given.token ?? makeToken();
  const tls = given.tls ?? (await makeCertificate(name, addressesOf(wantedOf(inputs))));
  const secrets = {
    identity: randomUUID(),
    token,
    ca: tls.cert,
    privateKey: tls.key,
    serverName: nameIn(tls.cert) ?? name,
    fingerprint: fingerprintOf(tls.cert),
  };
  const place = placed(inputs);
  const userData = {
    hostname: name,
    sshAuthorizedKeys: sshKeys,
    site: configuration,
    adapters,
    management,
    token,
    tls,
  };
  const where = await place.create({ name, image, memory, vcpus, adapters, management, userData });
  try {
    await ready(place, accessOf(secrets, where.api), patience);
    // The seed of one that others have made may be an older one.
    if ("provided" in given.place) await put(accessOf(secrets, where.api), configuration);
    await place.keep({ inputs, secrets });
    if (!given.running) await place.stop();
  } catch (error) {
    return await takenBack(place, error);
  }
  return { id: name, outputs: { ...outputsOf(where), ...secrets } };
}

/** Nothing, where the site has it already. */
const put = (access: SiteAccess, document: Configuration) =>
  asking(access, async (site) => {
    const now = await configurationOf(site);
    if (!isDeepStrictEqual(whole(document, now), now.site)) await configure(site, document);
  });

async function update(wanted: Properties, had: Properties, state: Properties): Promise<Properties> {
  const { memory, vcpus, running, patience, configuration } = wantedOf(wanted);
  const place = placed(wanted);
  const found = await place.read();
  if (!found) throw new Error("its VM is gone: refresh, and it is made anew");
  const resized = found.size !== undefined && !isDeepStrictEqual(found.size, { memory, vcpus });
  if (found.running && (!running || resized)) await place.stop();
  const configured = isDeepStrictEqual(configuration, wantedOf(had).configuration);
  if (!running && configured) return {};
  const where = await place.start({ memory, vcpus });
  await ready(place, accessOf(state, where.api), patience);
  if (!configured) {
    await put(accessOf(state, where.api), configuration);
    await ready(place, accessOf(state, where.api), patience);
  }
  const { identity, token, ca, privateKey, serverName, fingerprint } = state;
  await place.keep({ inputs: wanted, secrets: { identity, token, ca, privateKey, serverName, fingerprint } });
  if (!running) await place.stop();
  return outputsOf(where);
}

/** Of a program's words for where it is, on import: `qemu:<folder>` of `<name>`. */
function placeIn(id: string): { name: string; place: PlaceArgs } {
  const [name = "", kind, ...rest] = id.split("|");
  if (kind === "qemu") return { name, place: { qemu: { folder: rest.join("|") || undefined } } };
  throw new Error("an appliance is imported by name and place: edge-7|qemu|/path/of/its/folder");
}

export const appliance: Kind = {
  type: "Appliance",
  makesSite: true,
  fixed: ["name", "place", "image", "adapters", "management", "sshKeys", "token", "tls"],
  aside: ["patience"],
  kept: ["identity", "api", "address", "ssh", "token", "ca", "privateKey", "serverName", "fingerprint"],
  check,

  create: (_, inputs) => create(inputs),

  async read(_, id, had, state) {
    if (had.place === undefined) {
      const { name, place } = placeIn(id);
      const found = await placeOf(place, { name, adapters: {} }).read();
      const { inputs, secrets } = (found?.memo ?? {}) as { inputs?: Properties; secrets?: Properties };
      if (!found || !inputs) return undefined;
      return {
        id: name,
        inputs: { ...inputs, running: found.running, ...found.size },
        outputs: { ...outputsOf(found.where), ...secrets },
      };
    }
    const found = await placed(had).read();
    if (!found) return undefined;
    const { configuration } = wantedOf(had);
    // One that does not answer now is as it was, for all that is known.
    const document = found.running
      ? await documentAt(accessOf(state, found.where.api), configuration).catch(() => configuration)
      : configuration;
    const inputs = { ...had, configuration: document, running: found.running, ...found.size };
    return { inputs, outputs: outputsOf(found.where) };
  },

  async update(_, _id, inputs, had, state) {
    return { outputs: await update(inputs, had, state) };
  },

  async remove(_, _id, had) {
    await placed(had).remove();
  },
};
