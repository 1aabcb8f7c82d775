// needs pulumi
/**
 * Does Pulumi's real engine make, change, refresh, take over and remove what is at a running site, and do failures leave a state
 * from which the next update goes on (C1)?
 *
 * The CLI with a local backend, programs by the Automation API, the provider's own process, and the real `offramp run`. Needs
 * root. One stack for the whole file, the sentences follow each other.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { OpMap, Stack, UpResult } from "@pulumi/pulumi/automation/index.js";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kinds } from "../../infra/provider/kinds.ts";
import { AppPackage, DnsRule, type DnsRuleArgs, MecApp, Provider, TofService } from "../../infra/resources.ts";
import { inNamespace } from "../ebpf/namespace.ts";
import { fromCore, hexIp, ipv4, marked, other, send, UE, udp, uplink } from "../ebpf/site.ts";
import { until } from "../lab/netns.ts";
import { externalAppD, goodPackage } from "../mep/packages/zip.ts";
import { Victim } from "../mortal.ts";
import { Edge } from "./edge.ts";
import { refusal } from "./engine.ts";
import { PulumiWorkspace, providerPath, repository } from "./pulumi.ts";

inNamespace(fileURLToPath(import.meta.url));

const test = suite("engine");
const www = { name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" };
const shop = { name: "shop", serviceIP: "203.0.113.81", applicationIP: "10.60.0.10" };
const video = {
  name: "video",
  rules: { priority: 200, nw_src: "0.0.0.0/0", nw_dst: ["203.0.113.20"], protocol: "tcp", endpoint: "10.60.0.10:80" },
};

interface Wanted {
  services: Record<string, object>;
  /** The app and its package. */
  app?: boolean;
  /** Names that phones are answered. */
  names?: Record<string, DnsRuleArgs>;
  /** Runs when the first service is there, before those after it are begun. */
  between?: () => Promise<void>;
  /** Seconds. */
  patience?: number;
  import?: string[];
}

let edge: Edge;
let workspace: PulumiWorkspace;
let stack: Stack;
let wanted: Wanted = { services: {} };
/** All that the engine has said. */
let said = "";
const onOutput = (text: string) => {
  said += text;
};

async function program(): Promise<Record<string, unknown>> {
  const provider = new Provider("paris", {
    api: edge.api,
    token: edge.token,
    ca: edge.ca,
    patience: wanted.patience ?? 60,
  });
  let before: TofService | undefined;
  for (const [name, args] of Object.entries(wanted.services)) {
    const { between } = wanted;
    let ready: { dependsOn?: TofService[] } = {};
    if (before && between) {
      // What follows is not begun before `between` is over.
      await new Promise<void>((resolve, reject) => {
        before?.id.apply((id) => (id ? between().then(resolve, reject) : resolve()));
      });
      ready = { dependsOn: [before] };
    }
    const takeOver = wanted.import?.includes(name) ? { import: name } : {};
    before = new TofService(name, args, { provider, ...ready, ...takeOver });
  }
  for (const [name, args] of Object.entries(wanted.names ?? {})) new DnsRule(name, args, { provider });
  if (!wanted.app) return {};
  const cache = new AppPackage("cache", { archive: join(edge.directory, "cache.zip") }, { provider });
  const app = new MecApp("cache-1", { package: cache.packageId, grace: 0 }, { provider });
  return { addresses: app.addresses, secret: app.clientSecret };
}

async function up(next: Partial<Wanted> = {}): Promise<UpResult> {
  wanted = { services: wanted.services, ...(wanted.app && { app: true }), ...next };
  return stack.up({ onOutput, onError: onOutput });
}

/** What was done to how many; what stays the same left out. */
const changes = ({ summary }: { summary: { resourceChanges?: OpMap } }): OpMap => {
  const { same: _same, ...rest } = summary.resourceChanges ?? {};
  return rest;
};

/** Names of the services that the state knows. */
async function known(): Promise<string[]> {
  const { deployment } = await stack.exportStack();
  const resources = (deployment.resources ?? []) as { type: string; id?: string; external?: boolean }[];
  return resources.flatMap(({ type, id }) => (type === "offramp:index:TofService" && id ? [id] : [])).sort();
}

test.before(async () => {
  edge = await Edge.start();
  writeFileSync(join(edge.directory, "cache.zip"), goodPackage(externalAppD()));
  workspace = await PulumiWorkspace.create();
  stack = await workspace.stack("paris", program);
});
test.after(async () => {
  await edge?.stop();
  await Victim.killAll();
  workspace?.remove();
});

test("C1: from nothing: services, a package and its app are at the site, and the app's secret is told as one", async () => {
  const result = await up({ services: { www, video }, app: true });
  assert.equal(changes(result), { create: 6 });
  assert.equal(await edge.services(), { www, video });
  assert.equal(result.outputs.addresses?.value, ["10.60.0.10"]);
  assert.is(result.outputs.secret?.secret, true);
});

test("C1: what is as it should be is left alone; a preview of a change changes nothing", async () => {
  assert.equal(changes(await up()), {});
  wanted = { services: { www: { ...www, appInitiated: true }, shop }, app: true };
  const { changeSummary } = await stack.preview({ onOutput });
  assert.equal([changeSummary.update, changeSummary.create, changeSummary.delete], [1, 1, 1]);
  assert.equal(await edge.services(), { www, video });
});

test("C1: a change is made, another name is another service, and what is named no more goes", async () => {
  const changed = { ...www, appInitiated: true };
  assert.equal(changes(await up({ services: { www: changed, shop } })), { update: 1, create: 1, delete: 1 });
  assert.equal(await edge.services(), { www: changed, shop });
  const renamed = { ...changed, name: "web" };
  assert.equal(changes(await up({ services: { www: renamed, shop } })), { replace: 1 });
  assert.equal(await edge.services(), { web: renamed, shop });
  await up({ services: { www, shop } });
});

test("C1: what somebody changed by hand is seen by a refresh, and mended by the next update", async () => {
  await edge.must("DELETE", "/service/shop");
  await edge.must("PUT", "/service/www", { ...www, applicationIP: "10.60.0.11" });
  const refreshed = await stack.refresh({ onOutput });
  assert.equal(changes(refreshed), { update: 1, delete: 1 });
  assert.equal(changes(await up()), { update: 1, create: 1 });
  assert.equal(await edge.services(), { www, shop });
});

test("C1: what is there already is taken over by its id, and left as it is", async () => {
  const mail = { name: "mail", serviceIP: "203.0.113.25", applicationIP: "10.60.0.12" };
  await edge.must("POST", "/service", mail);
  assert.equal(changes(await up({ services: { www, shop, mail }, import: ["mail"] })), { import: 1 });
  assert.equal(changes(await up({ services: { www, shop, mail } })), {});
  assert.equal((await edge.services()).mail, mail);
});

test("C1: one resource alone is changed when only it is asked for", async () => {
  wanted = { services: { www: { ...www, appInitiated: true }, shop: { ...shop, appInitiated: true } }, app: true };
  const target = ["urn:pulumi:paris::try::offramp:index:TofService::shop"];
  assert.equal(changes(await stack.up({ target, onOutput })), { update: 1 });
  const { mail: _mail, ...others } = await edge.services();
  assert.equal(others, { www, shop: { ...shop, appInitiated: true } });
  await up({ services: { www, shop } });
});

test("C1: one that the site refuses leaves the others done and known; the next update goes on from there", async () => {
  const bad = { name: "bad", serviceIP: "nowhere", applicationIP: "10.60.0.10" };
  const why = await refusal(up({ services: { www: { ...www, appInitiated: true }, bad, video } }));
  assert.match(why, /serviceIP.*"nowhere" is not an IP address/);
  assert.not.ok((await known()).includes("bad"));
  assert.equal(await known(), Object.keys(await edge.services()).sort(), "the state is what the site has");
  await up({ services: { www, bad: { ...bad, serviceIP: "203.0.113.90" }, video } });
  assert.equal(Object.keys(await edge.services()).sort(), ["bad", "video", "www"]);
});

test("C3: a site that goes away in the middle stops the update; when it is back, the next one finishes it", async () => {
  const services = {
    www: { ...www, appInitiated: true },
    shop,
    mail: { ...shop, name: "mail", serviceIP: "203.0.113.25" },
  };
  const why = await refusal(up({ services, patience: 1, between: () => edge.kill() }));
  assert.match(why, /does not answer/);
  await edge.run();
  assert.equal(await known(), Object.keys(await edge.services()).sort());
  await up({ services });
  assert.equal(await edge.services(), { www: services.www, shop, mail: services.mail });
  assert.equal(changes(await up()), {});
});

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // ended meanwhile
  }
}

/** A question for the address of a name (RFC 1035 §4.1), in hexadecimal. */
const question = (name: string): string => {
  const labels = name.split(".").map((label) => label.length.toString(16).padStart(2, "0") + marked(label));
  return `123401000001000000000000${labels.join("")}0000010001`;
};

test("B2: a name of the program is what the phone gets, in its tunnel; a change and drift likewise", async () => {
  const shopName = { domain: "shop.example", addresses: ["10.60.0.10"], ttl: 60 };
  assert.equal(changes(await up({ names: { shop: shopName } })), { create: 1 });
  // A session that both sides have taught.
  send("enb0", other("hello"), "sgw0", marked("hello"));
  send("sgw0", fromCore("welcome"), "enb0", marked("welcome"));
  const query = uplink(ipv4(UE, "203.0.113.53", 17, udp(5000, 53, question("shop.example"))));
  /** Waits for a record with this address on the access side. */
  const answered = (address: string) => send("enb0", query, "enb0", `0004${hexIp(address)}`);
  answered("10.60.0.10");
  const moved = { ...shopName, addresses: ["10.60.0.11"] };
  assert.equal(changes(await up({ names: { shop: moved } })), { update: 1 });
  answered("10.60.0.11");
  await edge.must("DELETE", "/api/v1/dns-rules/shop");
  await stack.refresh({ onOutput });
  assert.equal(changes(await up({ names: { shop: moved } })), { create: 1 });
  answered("10.60.0.11");
  const why = await refusal(up({ names: { shop: { ...moved, addresses: ["10.60.0.11", "nowhere"] } } }));
  assert.match(why, /addresses.*nowhere/);
  assert.equal(changes(await up({ names: {} })), { delete: 1 });
  assert.equal(await edge.must("GET", "/api/v1/dns-rules"), []);
});

/** The provider's process: it runs in this namespace, and no other test's does. */
const providers = (): number[] =>
  execFileSync("ip", ["netns", "pids", process.env.OFFRAMP_TEST_NETNS ?? ""], { encoding: "utf8" })
    .split("\n")
    .filter((pid) => pid !== "" && commandLine(pid).includes("infra/provider/main.js"))
    .map(Number);

test("C1: a provider that is killed in the middle stops the update; the next one finishes it", async () => {
  const services = { www, late: { ...shop, name: "late", serviceIP: "203.0.113.99" } };
  const killed: number[] = [];
  const between = async () => {
    for (const pid of providers()) {
      process.kill(pid, "SIGKILL");
      killed.push(pid);
    }
    await until("the provider's end", () => providers().length === 0);
  };
  const why = await refusal(up({ services, between }));
  assert.ok(killed.length > 0, why);
  assert.equal(await known(), Object.keys(await edge.services()).sort());
  await up({ services });
  assert.equal(await edge.services(), services);
});

test("C1: on the command line, by the language host: configured, up, and down again; the schema is one that Pulumi takes", async () => {
  const module = join(repository, "dist", "infra", "resources.js");
  const folder = workspace.project(
    "lyon",
    `import { TofService } from ${JSON.stringify(module)};
export const name = new TofService("cli", { serviceIP: "203.0.113.77", applicationIP: "10.60.0.10" }).name;
`,
  );
  const pulumi = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await workspace.run(folder, ...args);
    said += stdout + stderr;
    assert.is(code, 0, `pulumi ${args.join(" ")}: ${stderr}${stdout}`);
    return stdout;
  };
  await pulumi("stack", "init", "lyon", "--secrets-provider", "passphrase");
  await pulumi("config", "set", "offramp:api", edge.api);
  await pulumi("config", "set", "--secret", "offramp:token", edge.token);
  await pulumi("config", "set", "offramp:ca", "--", edge.ca);
  assert.match(await pulumi("up", "--yes", "--skip-preview"), /name *: "cli"/);
  assert.ok((await edge.services()).cli);
  await pulumi("destroy", "--yes", "--skip-preview");
  assert.not.ok((await edge.services()).cli);
  const schema = await pulumi("package", "get-schema", join(providerPath, "pulumi-resource-offramp"));
  assert.equal(Object.keys(JSON.parse(schema).resources).length, kinds.length);
});

test("C1: at the end nothing is left at the site, and no secret was ever said or written", async () => {
  const before = await stack.exportStack();
  assert.match(JSON.stringify(before), /"clientSecret":\{"4dabf18193072939515e22adb298388d":/);
  const { value: secret } = (await stack.outputs()).secret as { value: string };
  assert.ok(secret.length > 20);
  await stack.destroy({ onOutput });
  assert.equal(await edge.services(), {});
  assert.equal(await edge.must("GET", "/app_lcm/v1/app_instances"), []);
  assert.equal(await edge.must("GET", "/app_pkgm/v1/app_packages"), []);
  const files = readdirSync(join(workspace.folder, "state"), { recursive: true, withFileTypes: true });
  const written = files.flatMap((file) =>
    file.isFile() ? [readFileSync(join(file.parentPath, file.name), "utf8")] : [],
  );
  assert.ok(written.length > 0);
  for (const text of [said, ...written]) {
    assert.not.ok(text.includes(edge.token), "the site's token");
    assert.not.ok(text.includes(secret), "the app's secret");
  }
});

test.run();
