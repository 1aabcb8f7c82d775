/** What is there when `pulumi up` has ended? One site, in the OpenStack that OS_CLOUD names. */
import * as pulumi from "@pulumi/pulumi";
import { EdgeSite } from "offramp/infra/edge-site.js";

const config = new pulumi.Config();

const site = new EdgeSite("edge-1", {
  place: {
    openstack: {
      flavor: config.require("flavor"),
      externalNetwork: config.require("externalNetwork"),
      administrators: config.requireObject("administrators"),
      // Provider networks, toward base stations and gateway.
      networks: { access: config.require("access"), core: config.require("core") },
    },
  },
  image: { path: config.require("image"), sha256: config.require("sha256") },
  sshKeys: config.getObject("sshKeys") ?? [],
  configuration: {
    site: { name: "edge-1" },
    dataplanes: [{ name: "n3", access: "acc0", core: "cor0", interface: "n3", uePools: ["10.45.0.0/16"] }],
    apps: { interface: "apps0", address: "10.60.0.1/24" },
  },
  services: { www: { serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" } },
});

export const { api, token, ca, fingerprint } = site;
