/** What is there when `pulumi up` has ended? One site, in the QEMU of this machine. */
import * as pulumi from "@pulumi/pulumi";
import { EdgeSite } from "offramp/infra/edge-site.js";

const config = new pulumi.Config();

const site = new EdgeSite("edge-1", {
  place: { qemu: { accelerator: config.get("accelerator") ?? "kvm", wires: config.getObject("wires") ?? {} } },
  image: { path: config.require("image"), sha256: config.require("sha256") },
  patience: config.getNumber("patience") ?? 600,
  vcpus: 2,
  configuration: {
    site: { name: "edge-1" },
    dataplanes: [{ name: "s1", access: "acc0", core: "cor0", uePools: ["10.45.0.0/16"] }],
    apps: { interface: "apps0", address: "10.60.0.1/24" },
    mep: { mp1: { listen: "10.60.0.1:8091" }, dns: { listen: "10.60.0.1:53" } },
    protect: config.getObject("protect") ?? [],
  },
  services: { www: { serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" } },
  dns: { www: { domain: "www.example.com", addresses: ["203.0.113.80"] } },
});

export const { api, token, ca, fingerprint } = site;
