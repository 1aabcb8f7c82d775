/**
 * What is at each of three sites?
 *
 * Each site is a stack, called as the site. All are said here, once: what differs follows from the number of a site, which no
 * other site has ever had.
 */
import * as pulumi from "@pulumi/pulumi";
import { EdgeSite } from "offramp/infra/edge-site.js";

const numbers = { paris: 1, lyon: 2, brest: 3 };

const name = pulumi.getStack();
const number = numbers[name];
if (number === undefined) throw new Error(`no site is called ${name}; there are ${Object.keys(numbers).join(", ")}`);

const config = new pulumi.Config();
const base = "10.64.0.0/10";

const site = new EdgeSite(name, {
  place: {
    qemu: { accelerator: config.get("accelerator") ?? "kvm", ports: { api: 18_090 + number, ssh: 18_022 + 100 * number } },
  },
  image: { path: config.require("image"), sha256: config.require("sha256") },
  patience: config.getNumber("patience") ?? 600,
  // apps, instances: 10.64.4.0/22 at paris, 10.64.8.0/22 at lyon …
  networks: { base, number },
  configuration: {
    site: { name },
    dataplanes: [{ name: "s1", access: "acc0", core: "cor0", uePools: [`10.45.${number}.0/24`] }],
  },
  services: {
    www: {
      serviceIP: "203.0.113.80",
      // What a roll-out changes: release 2 answers from the second machine.
      applicationIP: `10.64.${4 * number}.${config.get("release") === "2" ? 11 : 10}`,
    },
  },
});

export const { api, token, ca } = site;
