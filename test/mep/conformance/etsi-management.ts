/**
 * What do ETSI's descriptions of GS MEC 010-2 say, and where does the text of the standard win over them?
 *
 * As etsi.ts, for the package and life-cycle APIs. Most enumerations of these files are cut down to `SEE_DESCRIPTION`: their
 * values are read from the description.
 */
import type { Contract, Json } from "./contract.ts";
import { type Correction, contract, ofProblems, present, problem } from "./etsi.ts";

/** Puts the values of the description in the place of `SEE_DESCRIPTION`, wherever that stands. */
function readEnumerations(part: Json): void {
  if (typeof part !== "object" || part === null) return;
  if (part.enum?.[0] === "SEE_DESCRIPTION") {
    const named = [...String(part.description).matchAll(/(?:^|\n)\s*[-•]?\s*([A-Z][A-Z_]+)\b/g)].map(
      ([, name]) => name,
    );
    if (named.length > 0) part.enum = named;
    else delete part.enum;
  }
  for (const member of Object.values(part)) readEnumerations(member);
}

/** What an AppD says of itself, copied. */
const ofContent = ["appDId", "appName", "appSoftwareVersion", "appDVersion", "checksum", "softwareImages", "mecInfo"];
const always = ["id", "onboardingState", "operationalState", "usageState", "_links"];

const ofPackages: Correction[] = [
  ...ofProblems,
  {
    at: "components/schemas/AppPkgInfo/required",
    was: ["id", ...ofContent.slice(0, 6), "onboardingState", "operationalState", "usageState", "mecInfo", "_links"],
    is: always,
    why: "what is copied from the content is not there before the content (§6.2.3.3, §7.3.1.3.1: POST has none)",
  },
  {
    at: "components/schemas/AppPkgInfo/if",
    was: undefined,
    is: { properties: { onboardingState: { const: "ONBOARDED" } } },
    why: "… and all of it afterwards",
  },
  {
    at: "components/schemas/AppPkgInfo/properties/softwareImages/minItems",
    was: 1,
    is: 0,
    why: "GS MEC 010-2 has no app without an image; ours may run on a machine of its own",
  },
  ...["SwImageDesc", "SwImageDescriptor"].map((name) => ({
    at: `components/schemas/${name}/properties/swImage`,
    was: "anything",
    is: { type: "string" },
    why: "its description: a path in the package, or a URL; in the file the type holds itself",
  })),
  {
    at: "paths/~1onboarded_app_packages~1{appDId}~1package_content/get/responses/200/content",
    was: "anything",
    is: { "application/zip": {} },
    why: "§7.3.7.3.2: the content is the package as it was uploaded",
  },
  { at: "components/schemas/AppPkgInfo/then", was: undefined, is: { required: ofContent }, why: "likewise" },
  {
    at: "components/schemas/CreateAppPkg/required",
    was: ["appPkgName", "appPkgVersion", "checksum", "appPkgPath"],
    is: ["appPkgName", "appPkgVersion"],
    why: "content that is uploaded has no address, and shows its checksum itself (§6.2.3.2 leaves the address for study)",
  },
];

const ofLifecycle: Correction[] = [
  ...ofProblems,
  {
    at: "components/schemas/AppLcmOpOcc/properties/lcmOperation/enum",
    was: "anything",
    is: ["INSTANTIATE", "OPERATE", "TERMINATE", "CONFIGURE_PLATFORM_FOR_APP"],
    why: "§7.4.1a: configure_platform_for_app makes an operation occurrence as well",
  },
  {
    at: "components/schemas/AppLcmOpOcc/properties/operationParams",
    was: "anything",
    is: {
      anyOf: ["InstantiateAppRequest", "OperateAppRequest", "TerminateAppRequest", "ConfigPlatformForAppRequest"].map(
        (name) => ({ $ref: `#/components/schemas/${name}` }),
      ),
    },
    why: "§6.2.2.13: the request type of the operation",
  },
];

let known: Contract[] | undefined;

/** Packages, then life cycles. Empty where ../shared is not. */
export function mec010(): readonly Contract[] {
  const change = (document: Json) => {
    readEnumerations(document.components.schemas);
    // The generator has numbered what occurs twice; on the wire it is `filter` everywhere (GS MEC 009 §6.19).
    for (const parameter of Object.values<Json>(document.components.parameters)) {
      parameter.name = parameter.name.replace(/\d+$/, "");
    }
    for (const item of Object.values<Json>(document.paths)) {
      // GS MEC 009 §6.15.3: 409 where the state of the resource does not allow it, 404 where there is none.
      for (const operation of Object.values<Json>(item)) {
        if (!operation?.responses) continue;
        operation.responses[409] ??= problem;
        operation.responses[404] ??= problem;
      }
    }
    return {};
  };
  known ??= present
    ? [
        contract("mec010-2-app-pkg-mgmt", "app_pkgm", ofPackages, change),
        contract("mec010-2-app-lcm", "app_lcm", ofLifecycle, change),
      ]
    : [];
  return known;
}
