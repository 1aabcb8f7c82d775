/**
 * Do app instances that run on the appliance serve real phones, live through the agent's death, and go with `offramp down`?
 *
 * Two packages, onboarded and instantiated over the management API: a unit (Python of the appliance, a script of the package) and a
 * container (an OCI archive). Real peers around: sgsnemu, osmo-ggsn.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { internet, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { externalAppD, goodPackage } from "../mep/packages/zip.ts";
import { testImage } from "../runtime/oci.ts";
import { Scene, telling } from "./scene.ts";

const test = suite("instances");
let scene: Scene;
let ue: Ue;

/** Says who serves, and whom. */
const script = `
import http.server, os, ssl, urllib.request
mp1 = os.environ["OFFRAMP_MP1"]
trusted = ssl.create_default_context(cafile=os.environ["OFFRAMP_CA"])
answer = urllib.request.urlopen(mp1 + "/openapi.json", context=trusted, timeout=30)
print("Mp1 is", mp1, "and answers", answer.status, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("x-server", "instance")
        self.send_header("x-client", self.client_address[0])
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler).serve_forever()
`;
const limits = { cpu: 0.5, memory: 128 << 20, pids: 64 };

const unit = () =>
  goodPackage(
    externalAppD({
      appDId: "com.example.web",
      appName: "web",
      "x-offramp": {
        runtime: {
          kind: "unit",
          command: ["/usr/bin/python3", "/app/web.py"],
          files: [{ source: "web.py", path: "/app/web.py" }],
          limits,
        },
      },
    }),
    { "web.py": script },
  );

/** Puts the package on the platform, makes an instance and starts it. */
async function install(name: string, zip: Buffer, appDId: string): Promise<void> {
  const { appliance, lab } = scene;
  const { id } = await appliance.api<{ id: string }>("POST", "/app_pkgm/v1/app_packages", {
    appPkgName: name,
    appPkgVersion: "1",
  });
  const file = join(lab.machines.directory, `${name}.zip`);
  writeFileSync(file, zip);
  const url = `http://127.0.0.1:8090/app_pkgm/v1/app_packages/${id}/package_content`;
  const type = "content-type: application/zip";
  const put = ["curl", "-sS", "-f", "-m", "60", "-X", "PUT", "-H", type, "--data-binary", `@${file}`, url];
  assert.is((await lab.exec("tof", put)).code, 0);
  await appliance.api("POST", "/app_lcm/v1/app_instances", { appDId, appInstanceId: name });
  await operate(name, "instantiate", {});
}

interface Operation {
  operationState: string;
}

/** Returns when the operation has ended. */
async function operate(id: string, task: string, body: object): Promise<void> {
  const { appliance } = scene;
  await appliance.api("POST", `/app_lcm/v1/app_instances/${id}/${task}`, body);
  const ended = await until(
    `${task} of ${id}`,
    async () => {
      const all = await appliance.api<Operation[]>("GET", "/app_lcm/v1/app_lcm_op_occs");
      return all.every(({ operationState }) => !/ING$/.test(operationState)) && all;
    },
    120_000,
  );
  for (const one of ended) assert.is(one.operationState, "COMPLETED", JSON.stringify(ended));
}

const http = async (): Promise<string> => {
  const answer = await scene.lab.phoneHttp(ue, `http://${internet.www}/`);
  return `${answer.server} ${answer.client}`;
};

const tof = async (...argv: string[]): Promise<string> => (await scene.lab.exec("tof", argv)).stdout;

test.before(async () => {
  const apps = { tof: "10.61.0.0/24", platform: "10.62.0.0/24" };
  const mep = { mp1: { listen: "10.60.0.1:8091" }, apps };
  scene = await Scene.open({ site: { extra: { mep } }, start: false });
  await scene.appliance.start(120_000);
  ue = await scene.lab.attach(0);
});

test.after(async () => {
  await scene?.close();
});

const told = (body: () => Promise<void>) => telling(() => scene, body);

test(
  "B7: an instance of a package answers a phone, which sees the address that it asked; it sees the phone's own",
  told(async () => {
    await install("web", unit(), "com.example.web");
    await scene.service("www", internet.www, "10.61.0.2");
    await until("the instance to answer", async () => (await http()) === `instance ${ue.ip}`, 60_000);
    const { text } = await scene.appliance.curl("GET", "/api/v1/apps/web/logs");
    assert.match(text, /Mp1 is https:\/\/10\.60\.0\.1:8091 and answers 200/);
  }),
);

test(
  "B7: a container of an OCI archive answers a phone",
  told(async () => {
    const { archive } = testImage(scene.lab.machines.directory, { Cmd: ["serve", "7"] });
    const appd = externalAppD({
      appDId: "com.example.box",
      appName: "box",
      swImageDescriptor: [{ id: "box", name: "box", version: "1", containerFormat: "DOCKER", swImage: "box.tar" }],
      "x-offramp": { runtime: { kind: "container", limits } },
    });
    await install("box", goodPackage(appd, { "box.tar": readFileSync(archive) }), "com.example.box");
    await scene.service("echo", internet.other, "10.61.0.3");
    const { greeting, close } = await scene.lab.phoneTcp(ue, internet.other, 7);
    assert.is(greeting, `instance ${ue.ip}`);
    await close();
  }),
);

test(
  "B7: instances go on while the agent is dead, and the next one has them as they are",
  told(async () => {
    const links = () => tof("ip", "-o", "link", "show", "type", "veth");
    const before = await links();
    await scene.appliance.kill();
    assert.is(await http(), `instance ${ue.ip}`);
    await scene.appliance.start();
    assert.is(await http(), `instance ${ue.ip}`);
    const list = await scene.appliance.api<{ instantiationState: string }[]>("GET", "/app_lcm/v1/app_instances");
    assert.equal(
      list.map((one) => one.instantiationState),
      ["INSTANTIATED", "INSTANTIATED"],
    );
    assert.is(await links(), before, "no link was made anew");
  }),
);

test(
  "B7: an instance that is terminated is gone; offramp down takes the others away",
  told(async () => {
    await operate("box", "terminate", { terminationType: "FORCEFUL" });
    assert.is(await tof("ip", "route", "show", "10.61.0.3"), "");
    assert.not.equal(await tof("ip", "route", "show", "10.61.0.2"), "");
    await scene.appliance.stop();
    assert.is((await scene.appliance.down()).code, 0);
    assert.not.match(await tof("ip", "-br", "link"), /oa[tp]-/);
    assert.not.match(await tof("nft", "list", "tables"), /offramp/);
    assert.not.match(await tof("ip", "rule"), /808[678]/);
  }),
);

test.run();
