/**
 * `offramp run`, but for two things: at a step of its fate it kills itself as `kill -9` would, and it says which rules steer.
 *
 * Usage: node dist/test/mep/killed/mortal-run.js <site.yaml> <file of its fate>
 *
 * Steps are all that lasts: writes to the stores, files of packages, records of the runtime, what the kernel, podman and the name
 * server are told, and the audit log, which stands around every request.
 */
import { Audit } from "../../../controlplane/access/audit.ts";
import { run } from "../../../controlplane/cli/run.ts";
import type { Extension, Host } from "../../../controlplane/extension.ts";
import { Store } from "../../../controlplane/store/store.ts";
import { EbpfDataplane } from "../../../dataplane/ebpf/ebpf.ts";
import { Credentials } from "../../../mep/auth/credentials.ts";
import { Commits } from "../../../mep/commits.ts";
import { DnsServer } from "../../../mep/dns/unbound.ts";
import { Ledger } from "../../../mep/instances/ledger.ts";
import { Packages } from "../../../mep/packages/packages.ts";
import { platformOf } from "../../../mep/platform.ts";
import { RuleStore } from "../../../mep/rules/rule-store.ts";
import { HostRuntime } from "../../../mep/runtime/host-runtime.ts";
import { Podman } from "../../../mep/runtime/podman.ts";
import { Records } from "../../../mep/runtime/records.ts";
import { MepStore } from "../../../mep/store.ts";
import { Mortal } from "../../mortal.ts";

const [config = "", fate = ""] = process.argv.slice(2);
const mortal = new Mortal(fate);
const watched: [prototype: object, name: string, methods: string[]][] = [
  [Audit.prototype, "audit", ["attempt", "attemptTogether", "outcome"]],
  [MepStore.prototype, "store", ["transaction"]],
  [Commits.prototype, "commits", ["change"]],
  [Credentials.prototype, "credentials", ["configure", "rotate", "remove"]],
  [Packages.prototype, "packages", ["create", "upload", "remove"]],
  [Ledger.prototype, "ledger", ["save", "remove"]],
  [RuleStore.prototype, "rules", ["save", "remove"]],
  [Store.prototype, "numbers", ["giveLayer", "forgetLayer"]],
  [HostRuntime.prototype, "runtime", ["reserve", "start", "stop", "remove"]],
  [Records.prototype, "records", ["add", "change", "remove"]],
  [Podman.prototype, "podman", ["run", "stop", "remove"]],
  [EbpfDataplane.prototype, "dataplane", ["apply"]],
  [DnsServer.prototype, "dns", ["set"]],
];
for (const [prototype, name, methods] of watched) {
  for (const method of methods) mortal.watch(prototype, method, `${name}.${method}`);
}

const steering = ({ services }: Host): Extension => ({
  routes: [(app) => void app.get("/test/steering", () => [...services.layer.entries.keys()])],
  start: async () => undefined,
  stop: async () => undefined,
});
await run({ config }, [platformOf, steering]);
