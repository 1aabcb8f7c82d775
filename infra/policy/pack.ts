/**
 * What may no stack of sites do?
 *
 * `pulumi up --policy-pack <offramp>/infra/policy`. All are mandatory: an update that breaks one is not begun.
 */
import { PolicyPack } from "@pulumi/policy";
import { openApis, unfixedImages } from "./closed.ts";
import { type Seen, siteOf } from "./documents.ts";
import { overlaps } from "./ranges.ts";

const each =
  (find: (resource: Seen) => string[]) =>
  (resource: Seen, report: (message: string) => void): void => {
    for (const finding of find(resource)) report(finding);
  };

new PolicyPack("offramp", {
  enforcementLevel: "mandatory",
  policies: [
    {
      name: "ue-ranges",
      description: "UE addresses of different sites do not overlap.",
      validateStack: ({ resources }, report) => {
        const sites = resources.flatMap((resource) => siteOf(resource) ?? []);
        for (const { resource, message } of overlaps(sites)) report(message, resource.urn);
      },
    },
    {
      name: "closed-apis",
      description: "No API of a site is open to whoever comes by.",
      validateResource: each(openApis),
    },
    {
      name: "fixed-images",
      description: "Images and packages are what their SHA-256 says.",
      validateResource: each(unfixedImages),
    },
  ],
});
