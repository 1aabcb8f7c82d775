/**
 * Which kinds of resources are there?
 */
import type { Kind } from "./kind.ts";
import { app } from "./kinds/app.ts";
import { appliance } from "./kinds/appliance.ts";
import { applianceKeys } from "./kinds/appliance-keys.ts";
import { dnsRule } from "./kinds/dns-rule.ts";
import { appPackage } from "./kinds/package.ts";
import { service } from "./kinds/service.ts";
import { siteConfiguration } from "./kinds/site-configuration.ts";

export const kinds: readonly Kind[] = [service, appPackage, app, dnsRule, siteConfiguration, applianceKeys, appliance];
