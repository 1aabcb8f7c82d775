/**
 * Does a phone ever wait for an app whose program is gone?
 *
 * A unit that serves, confirms and activates its own rule over Mp1 is killed -9 again and again; the agent is killed with it; and
 * everything is taken down and started anew, as after a restart of the machine. Real peers around: sgsnemu, osmo-ggsn.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { internet, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { externalAppD, goodPackage } from "../mep/packages/zip.ts";
import { Scene, telling } from "./scene.ts";

const test = suite("killed instances");
let scene: Scene;
let ue: Ue;

const script = `
import http.server, json, os, time, urllib.error, urllib.parse, urllib.request
mp1, me = os.environ["OFFRAMP_MP1"], os.environ["OFFRAMP_APP_INSTANCE_ID"]
secret = json.load(open(os.environ["OFFRAMP_CREDENTIALS"]))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(204)
        self.end_headers()
    def do_GET(self):
        self.send_response(200)
        self.send_header("x-server", "instance")
        self.send_header("x-client", self.client_address[0])
        self.end_headers()

def ask(method, path, body, headers):
    request = urllib.request.Request(mp1 + path, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()

server = http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler)
form = {"grant_type": "client_credentials", "client_id": secret["clientId"], "client_secret": secret["clientSecret"]}
while True:
    try:
        token = json.loads(ask("POST", "/oauth2/token", urllib.parse.urlencode(form).encode(), {}))["access_token"]
        head = {"authorization": "Bearer " + token, "content-type": "application/json"}
        own = "/mec_app_support/v1/applications/" + me
        ask("POST", own + "/confirm_ready", b'{"indication": "READY"}', head)
        told = {
            "subscriptionType": "AppTerminationNotificationSubscription",
            "callbackReference": "http://" + os.environ["OFFRAMP_TOF_ADDRESS"] + "/end",
            "appInstanceId": me,
        }
        ask("POST", own + "/subscriptions", json.dumps(told).encode(), head)
        rule = json.loads(ask("GET", own + "/traffic_rules/web", None, head))
        rule["state"] = "ACTIVE"
        ask("PUT", own + "/traffic_rules/web", json.dumps(rule).encode(), head)
        break
    except (urllib.error.URLError, OSError) as error:
        print(error, flush=True)
        time.sleep(0.2)
server.serve_forever()
`;

const zip = () =>
  goodPackage(
    externalAppD({
      appDId: "com.example.web",
      appName: "web",
      appTrafficRule: [
        {
          trafficRuleId: "web",
          filterType: "FLOW",
          priority: 1,
          trafficFilter: [{ dstAddress: [internet.www], dstPort: ["80"], protocol: ["6"] }],
          action: "FORWARD_DECAPSULATED",
          dstInterface: [{ interfaceType: "IP" }],
        },
      ],
      "x-offramp": {
        runtime: {
          kind: "unit",
          command: ["/usr/bin/python3", "/app/web.py"],
          files: [{ source: "web.py", path: "/app/web.py" }],
          limits: { cpu: 0.5, memory: 128 << 20, pids: 64 },
        },
      },
    }),
    { "web.py": script },
  );

const path = "/app_lcm/v1/app_instances/web";

async function operate(task: string, body: object): Promise<void> {
  const { appliance } = scene;
  await appliance.api("POST", `${path}/${task}`, body);
  const ended = await until(
    task,
    async () => {
      const all = await appliance.api<{ operationState: string }[]>("GET", "/app_lcm/v1/app_lcm_op_occs");
      return all.every(({ operationState }) => !/ING$/.test(operationState)) && all;
    },
    120_000,
  );
  for (const one of ended) assert.is(one.operationState, "COMPLETED", JSON.stringify(ended));
}

/** Who answers a new connection of the phone; `nobody` where it waits in vain. */
const server = (): Promise<string> =>
  scene.lab.phoneHttp(ue, `http://${internet.www}/`).then(
    (answer) => answer.server || "nobody",
    () => "nobody",
  );
const answers = (wanted: string) => until(`${wanted} to answer`, async () => (await server()) === wanted, 120_000);

/** Main process of the instance, as the runtime has it. */
function program(): number {
  const file = join(scene.lab.machines.directory, "state", "apps", "instances.json");
  const { instances } = JSON.parse(readFileSync(file, "utf8")) as { instances: { id: string; pid: number }[] };
  return instances.find(({ id }) => id === "web")?.pid ?? 0;
}

const state = async (): Promise<string> => {
  const { instantiatedAppState } = await scene.appliance.api<{ instantiatedAppState: { operationalState: string } }>(
    "GET",
    path,
  );
  return instantiatedAppState.operationalState;
};

/** From now on the phone is answered by somebody all the time, at last by the instance. */
async function comesBack(): Promise<void> {
  const seen: string[] = [];
  await until(
    "the instance to answer",
    async () => {
      seen.push(await server());
      return seen.at(-1) !== "internet";
    },
    120_000,
  );
  assert.is(seen.at(-1), "instance", seen.join(" "));
  assert.is(seen[0], "internet", "its rules stand aside before it is ready");
}

const told = (body: () => Promise<void>) => telling(() => scene, body);

test.before(async () => {
  const apps = { tof: "10.61.0.0/24", platform: "10.62.0.0/24" };
  const mep = { mp1: { listen: "10.60.0.1:8091", insecure: true }, apps };
  scene = await Scene.open({ site: { extra: { mep } }, start: false });
  await scene.appliance.start(120_000);
  ue = await scene.lab.attach(0);
});

test.after(async () => {
  await scene?.close();
});

test(
  "B7: a unit installed from its package switches its own rule on, and serves the phone",
  told(async () => {
    const { appliance, lab } = scene;
    const { id } = await appliance.api<{ id: string }>("POST", "/app_pkgm/v1/app_packages", {
      appPkgName: "web",
      appPkgVersion: "1",
    });
    const file = join(lab.machines.directory, "web.zip");
    writeFileSync(file, zip());
    const url = `http://127.0.0.1:8090/app_pkgm/v1/app_packages/${id}/package_content`;
    const put = ["curl", "-sS", "-f", "-m", "60", "-X", "PUT", "-H", "content-type: application/zip"];
    assert.is((await lab.exec("tof", [...put, "--data-binary", `@${file}`, url])).code, 0);
    await appliance.api("POST", "/app_lcm/v1/app_instances", { appDId: "com.example.web", appInstanceId: "web" });
    await operate("instantiate", {});
    await answers("instance");
  }),
);

test(
  "B7: its program is killed -9 four times: each time the phone reaches the core, and after a start the instance",
  told(async () => {
    for (let round = 0; round < 4; round += 1) {
      process.kill(program(), "SIGKILL");
      await answers("internet");
      await until("STOPPED", async () => (await state()) === "STOPPED", 60_000);
      assert.is(await server(), "internet");
      const { "x-offramp": known } = await scene.appliance.api<{ "x-offramp": { exit: object } }>("GET", path);
      const { reason, code } = known.exit as { reason: string; code: number };
      assert.equal({ reason, code }, { reason: "killed by SIGKILL", code: 137 });
      await operate("operate", { changeStateTo: "STARTED" });
      await answers("instance");
    }
  }),
);

test(
  "B7: its program is killed -9 while it has an hour to say goodbye: nobody waits for it",
  told(async () => {
    const { appliance } = scene;
    await appliance.api("POST", `${path}/operate`, {
      changeStateTo: "STOPPED",
      stopType: "GRACEFUL",
      gracefulStopTimeout: 3600,
    });
    await until("it to be told", async () => {
      const info = await appliance.api<{ "x-offramp": { terminating?: object } }>("GET", path);
      return info["x-offramp"].terminating;
    });
    assert.is(await server(), "instance", "it serves as long as it has time");
    process.kill(program(), "SIGKILL");
    await until("STOPPED", async () => (await state()) === "STOPPED", 60_000);
    assert.is(await server(), "internet");
    await operate("operate", { changeStateTo: "STARTED" });
    await answers("instance");
  }),
);

test(
  "B7: agent and program killed together: with the next agent the phone reaches the core, and the instance once it is ready",
  told(async () => {
    for (let round = 0; round < 2; round += 1) {
      await scene.appliance.kill();
      process.kill(program(), "SIGKILL");
      await scene.appliance.start();
      await comesBack();
    }
  }),
);

test(
  "B7: everything taken down and started, as after a restart of the machine: the same",
  told(async () => {
    await scene.appliance.stop();
    assert.is((await scene.appliance.down()).code, 0);
    await answers("internet");
    await scene.appliance.start();
    await comesBack();
    const { body } = await scene.appliance.curl<{ traffic: { rule: { state: string } }[] }>(
      "GET",
      "/api/v1/apps/web/rules",
    );
    assert.equal(
      body.traffic.map(({ rule }) => rule.state),
      ["ACTIVE"],
    );
    await operate("terminate", { terminationType: "FORCEFUL" });
    assert.is(await server(), "internet");
  }),
);

test.run();
