/**
 * `AppPackage`: the package of an app, onboarded at the site (GS MEC 010-2).
 *
 * What it is is its content: another content is another package. `sha256` of the file is found here, and where the program
 * gives it too, a file that is not that one is refused before anything is sent.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { type Site, SiteError } from "../../site.ts";
import { type Checked, type Kind, type Properties, unknownProperties, unknownValue } from "../kind.ts";

const packagesPath = "/app_pkgm/v1/app_packages";

interface Info {
  id: string;
  appDId?: string;
  appName?: string;
  appProvider?: string;
  appSoftwareVersion?: string;
  checksum?: { hash: string };
  onboardingState: string;
  operationalState: string;
}

const known = ["archive", "sha256"];
const at = (id: string): string => `${packagesPath}/${encodeURIComponent(id)}`;

async function digest(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}

const outputsOf = ({ id, appDId, appName, appProvider, appSoftwareVersion }: Info): Properties => ({
  packageId: id,
  appDId,
  appName,
  appProvider,
  appSoftwareVersion,
});

async function check(inputs: Properties): Promise<Checked> {
  const failures = unknownProperties(inputs, known, `a package has ${known.join(" and ")}`);
  const { archive, sha256 } = inputs;
  if (archive === unknownValue) return { inputs, failures };
  if (typeof archive !== "string") {
    failures.push({ property: "archive", reason: "is required: the path of a zip that offramp app pack has made" });
    return { inputs, failures };
  }
  try {
    const found = await digest(archive);
    if (sha256 !== undefined && sha256 !== unknownValue && sha256 !== found) {
      failures.push({ property: "sha256", reason: `is not that of ${archive}, which has ${found}` });
    }
    return { inputs: { ...inputs, sha256: found }, failures };
  } catch (error) {
    failures.push({ property: "archive", reason: (error as Error).message });
    return { inputs, failures };
  }
}

/** One of this content that an earlier attempt has made, whose answer was lost. */
async function ofContent(site: Site, sha256: string, state: string): Promise<Info | undefined> {
  const all = (await site.get<Info[]>(packagesPath)) ?? [];
  return all.find(({ checksum, onboardingState }) => checksum?.hash === sha256 && onboardingState === state);
}

export const appPackage: Kind = {
  type: "AppPackage",
  fixed: ["sha256"],
  aside: ["archive"],
  check,

  async create(site, { archive, sha256 }) {
    const hash = String(sha256);
    const body = {
      appPkgName: hash.slice(0, 12),
      appPkgVersion: "1",
      checksum: { algorithm: "SHA-256", hash },
    };
    const { id } = await site.change<Info>("POST", packagesPath, body, () => ofContent(site, hash, "CREATED"));
    const info = async () => {
      const one = await site.get<Info>(at(id));
      return one?.onboardingState === "ONBOARDED" ? one : undefined;
    };
    try {
      await site.upload(`${at(id)}/package_content`, String(archive), info);
    } catch (error) {
      // What was refused leaves nothing behind; what nobody answered may have been done.
      if (!(error instanceof SiteError)) throw error;
      await site.change("DELETE", at(id), undefined, async () => true);
      const there = await ofContent(site, hash, "ONBOARDED");
      if (!there) throw error;
      return { id: there.id, outputs: outputsOf(there), found: true };
    }
    const one = await info();
    if (!one) throw new Error(`package ${id} was uploaded, but is not onboarded`);
    return { id, outputs: outputsOf(one) };
  },

  async read(site, id, { archive }) {
    const one = await site.get<Info>(at(id));
    if (one?.onboardingState !== "ONBOARDED") return undefined;
    return {
      inputs: { ...(archive !== undefined && { archive }), sha256: one.checksum?.hash },
      outputs: outputsOf(one),
    };
  },

  async update() {
    return {};
  },

  async remove(site, id) {
    const one = await site.get<Info>(at(id));
    if (!one) return;
    const is = (state: string) => async () => {
      const now = await site.get<Info>(at(id));
      return !now || now.operationalState === state ? true : undefined;
    };
    const become = (state: string) => site.change("PATCH", at(id), { operationalState: state }, is(state));
    const enabled = one.onboardingState === "ONBOARDED" && one.operationalState === "ENABLED";
    if (enabled) await become("DISABLED");
    try {
      await site.change("DELETE", at(id), undefined, async () => ((await site.get(at(id))) ? undefined : true));
    } catch (error) {
      if (enabled && error instanceof SiteError) await become("ENABLED");
      throw error;
    }
  },
};
