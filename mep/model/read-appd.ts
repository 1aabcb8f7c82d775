/**
 * Is this a good AppD, and what does the platform make of it?
 *
 *   text ─YAML or JSON─▶ document ─v2 becomes v3─▶ schema ─▶ rules read ─▶ checks that need more than one attribute ─▶ AppD
 *
 * Every error is named at once, with the path of its attribute. Nothing is filled in that the document does not say.
 */
import { parseDocument } from "yaml";
import { messageOf } from "../../controlplane/errors.ts";
import type { FieldError } from "../../controlplane/intents/model.ts";
import { AddressError, parseAddress } from "../../controlplane/intents/prefix.ts";
import { isObject, Reader } from "../../controlplane/intents/reader.ts";
import {
  type AppD,
  type AppDDocument,
  appD,
  type Configuration,
  configurable,
  configurationRequest,
  type RuntimeSection,
} from "./appd.ts";
import { schemaErrors } from "./check.ts";
import { readDNSRuleDescriptor, readTrafficRuleDescriptor } from "./read-rules.ts";

type Fields = Record<string, unknown>;

const asList = (value: unknown): unknown => (isObject(value) ? [value] : value);

/** Attributes of v2.1.1 in the shape of v3.1.1; what is in neither stays for the schema to refuse. */
function upgrade(document: Fields): Fields {
  const upgraded: Fields = { ...document };
  const change = (key: string, convert: (value: unknown) => unknown) => {
    if (Object.hasOwn(upgraded, key)) upgraded[key] = convert(upgraded[key]);
  };
  const versions = (value: unknown) => {
    const joined = Array.isArray(value) && value.every((one) => typeof one === "string") ? value.join(",") : value;
    return typeof joined === "string" ? joined.replace(/\s*,\s*/g, ",").trim() : joined;
  };
  change("mecVersion", versions);
  change("swImageDescriptor", asList);
  change("osContainerDescriptor", asList);
  change("virtualStorageDescriptor", asList);
  change("appExtCpd", asList);
  for (const key of ["appTrafficRule", "appDNSRule"]) change(key, asList);
  change("appServiceProduced", (value) =>
    Array.isArray(value)
      ? value.map((service) =>
          isObject(service) && isObject(service.transportsSupported)
            ? { ...service, transportsSupported: [service.transportsSupported] }
            : service,
        )
      : value,
  );
  return upgraded;
}

/** Rules of an AppD or of a configuration request, in the spelling of GS MEC 011. */
function readRules(given: Fields, errors: FieldError[]): Pick<AppD, "appTrafficRule" | "appDNSRule"> {
  const read = new Reader();
  const each = <T>(
    key: string,
    one: (read: Reader, value: unknown, field: string) => T | undefined,
  ): T[] | undefined =>
    Array.isArray(given[key])
      ? given[key].flatMap((value, index) => one(read, value, `${key}.${index}`) ?? [])
      : undefined;
  const traffic = each("appTrafficRule", readTrafficRuleDescriptor);
  const dns = each("appDNSRule", readDNSRuleDescriptor);
  errors.push(...read.errors);
  if (traffic)
    sayTwice(
      errors,
      "appTrafficRule",
      traffic.map((rule) => rule.trafficRuleId),
      "trafficRuleId",
    );
  if (dns)
    sayTwice(
      errors,
      "appDNSRule",
      dns.map((rule) => rule.dnsRuleId),
      "dnsRuleId",
    );
  return { ...(traffic && { appTrafficRule: traffic }), ...(dns && { appDNSRule: dns }) };
}

const sayTwice = (errors: FieldError[], path: string, values: readonly string[], what: string) => {
  const seen = new Set<string>();
  for (const [index, value] of values.entries()) {
    if (seen.has(value)) errors.push({ field: `${path}.${index}`, message: `${what} "${value}" is there twice` });
    seen.add(value);
  }
};

/** Minutes and seconds are no matter of one attribute alone. */
function checkTimes(appd: AppDDocument, errors: FieldError[]): void {
  const terminate = appd.terminateAppInstanceOpConfig;
  const change = appd.changeAppInstanceStateOpConfig;
  const pairs = [
    [
      "terminateAppInstanceOpConfig.maxRecommendedGracefulTerminationTimeout",
      terminate?.minGracefulTerminationTimeout,
      terminate?.maxRecommendedGracefulTerminationTimeout,
    ],
    [
      "changeAppInstanceStateOpConfig.maxRecommendedGracefulStopTimeout",
      change?.minGracefulStopTimeout,
      change?.maxRecommendedGracefulStopTimeout,
    ],
  ] as const;
  for (const [field, least, most] of pairs) {
    if (least !== undefined && most !== undefined && most < least) {
      errors.push({ field, message: `must not be less than the minimum, ${least}` });
    }
  }
}

function checkRuntime(appd: AppDDocument, errors: FieldError[]): void {
  const { runtime = {}, addresses = [] } = appd["x-offramp"] ?? {};
  const images = appd.swImageDescriptor ?? [];
  const fail = (field: string, message: string) => errors.push({ field: `x-offramp.${field}`, message });
  if (runtime.kind !== "unit" && runtime.kind !== "external" && images.length === 0) {
    errors.push({
      field: "swImageDescriptor",
      message: 'is required; an app without image says so with x-offramp.runtime.kind "unit" or "external"',
    });
  }
  if (runtime.image !== undefined && !images.some(({ id }) => id === runtime.image)) {
    fail(
      "runtime.image",
      `is the id of no swImageDescriptor; there are ${images.map(({ id }) => id).join(", ") || "none"}`,
    );
  }
  if (runtime.kind === "unit" && !runtime.command?.length) {
    fail("runtime.command", "is required: the program of the appliance that the unit runs");
  }
  if (runtime.kind === "external") {
    for (const key of ["command", "environment", "files", "limits", "egress", "image"] as const) {
      if (runtime[key] !== undefined) fail(`runtime.${key}`, "is for apps that the platform runs; remove it");
    }
  }
  if (addresses.length > 0 && (runtime.kind === "container" || runtime.kind === "unit")) {
    fail("addresses", "is for external apps: an instance that runs here gets its address from mep.apps.tof");
  }
  for (const name of Object.keys(runtime.environment ?? {})) {
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name)) {
      fail(`runtime.environment.${name.slice(0, 64)}`, "is not a name for an environment variable");
    } else if (/^OFFRAMP_/.test(name)) {
      fail(`runtime.environment.${name}`, "names that begin with OFFRAMP_ are the platform's");
    }
  }
  for (const [name, value] of Object.entries(runtime.environment ?? {})) {
    if (value.includes("\0")) fail(`runtime.environment.${name.slice(0, 64)}`, "must not hold a NUL");
  }
  for (const [index, word] of (runtime.command ?? []).entries()) {
    if (word.includes("\0")) fail(`runtime.command.${index}`, "must not hold a NUL");
  }
  const files = runtime.files ?? [];
  sayTwice(
    errors,
    "x-offramp.runtime.files",
    files.map(({ path }) => path),
    "the path",
  );
  for (const [index, { path }] of files.entries()) {
    if (path.split("/").some((part) => part === "." || part === "..")) {
      fail(`runtime.files.${index}.path`, 'must not have "." or ".." as a part');
    }
  }
  errors.push(...addressErrors(addresses, "x-offramp.addresses"));
}

/** Of an external instance. */
export function addressErrors(addresses: readonly string[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, address] of addresses.entries()) {
    try {
      parseAddress(address);
    } catch (error) {
      if (!(error instanceof AddressError)) throw error;
      errors.push({ field: `${path}.${index}`, message: error.message });
    }
  }
  return errors;
}

export type AppDResult = { ok: true; appd: AppD; document: AppDDocument } | { ok: false; errors: FieldError[] };

/** Judges a parsed AppD. */
export function readAppD(value: unknown): AppDResult {
  if (!isObject(value)) return { ok: false, errors: [{ field: "", message: "must be an object: the AppD itself" }] };
  const document = upgrade(value) as AppDDocument;
  const errors = schemaErrors(appD, document);
  const rules = readRules(document as Fields, errors);
  if (errors.length === 0) {
    checkTimes(document, errors);
    checkRuntime(document, errors);
    sayTwice(
      errors,
      "swImageDescriptor",
      (document.swImageDescriptor ?? []).map(({ id }) => id),
      "the id",
    );
  }
  if (errors.length > 0) return { ok: false, errors };
  const { appTrafficRule: _traffic, appDNSRule: _dns, ...rest } = document;
  return { ok: true, document, appd: { ...rest, ...rules } };
}

const configurationKeys = Object.keys(configurable).filter((key) => key !== "appTrafficRule" && key !== "appDNSRule");

export type ConfigurationResult = { ok: true; configuration: Configuration } | { ok: false; errors: FieldError[] };

/** Judges a ConfigPlatformForAppRequest (GS MEC 010-2 §6.2.2.33). */
export function readConfiguration(value: unknown): ConfigurationResult {
  if (!isObject(value)) return { ok: false, errors: [{ field: "", message: "must be an object" }] };
  const upgraded = upgrade(value);
  const errors = schemaErrors(configurationRequest, upgraded);
  const rules = readRules(upgraded, errors);
  if (errors.length > 0) return { ok: false, errors };
  const plain = Object.fromEntries(Object.entries(upgraded).filter(([key]) => configurationKeys.includes(key)));
  return { ok: true, configuration: { ...(plain as Configuration), ...rules } };
}

/** What the text of an AppD says, YAML or JSON; not judged yet. @throws Error with the place of what cannot be read */
export function parseAppD(text: string, file: string): unknown {
  if (/\.json$/i.test(file)) {
    try {
      JSON.parse(text);
    } catch (error) {
      throw new Error(`${file}: is not JSON: ${messageOf(error)}`);
    }
  }
  // JSON too: unlike JSON.parse, it does not take a key that is there twice.
  const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true, schema: "core" });
  const [first] = [...document.errors, ...document.warnings];
  if (first) throw new Error(`${file}: ${first.message.split("\n")[0]}`);
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new Error(`${file}: ${messageOf(error)}`);
  }
}

/** How the app runs, where its AppD does not say: by what is in the package. */
export function runtimeOf(
  appd: AppD,
  hasFile: (path: string) => boolean,
): RuntimeSection & { kind: NonNullable<RuntimeSection["kind"]> } {
  const section = appd["x-offramp"]?.runtime ?? {};
  if (section.kind) return { ...section, kind: section.kind };
  const image = imageOf(appd);
  return { ...section, kind: image?.path !== undefined && hasFile(image.path) ? "container" : "external" };
}

/** The image that runs, and where it is in the package. */
export function imageOf(appd: AppD): { id: string; path?: string } | undefined {
  const images = appd.swImageDescriptor ?? [];
  const wanted = appd["x-offramp"]?.runtime?.image;
  const image = wanted === undefined ? images[0] : images.find(({ id }) => id === wanted);
  if (!image) return undefined;
  const { swImage } = image;
  const named = isObject(swImage) ? (swImage.path ?? swImage.file ?? swImage.href) : swImage;
  return { id: image.id, ...(typeof named === "string" && { path: named.replace(/^\.?\//, "") }) };
}
