/** Does the Service API do what both seeds say (A10, A11), from the request to the steering and back? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import { withAgent } from "./harness.ts";

const web = { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" };
const cache = {
  name: "cache",
  rules: {
    priority: "200",
    nw_dst: "203.0.113.0/24",
    nw_src: "10.45.0.0/16",
    protocol: "6",
    tp_dst: "80",
    endpoint: "10.60.0.90:3128",
  },
  chain: { ue_net: [], net_ue: [] },
};

test("A10: a posted service is in the data plane when 200 is answered, and GET returns what was posted", () =>
  withAgent(async ({ call, dataplane }) => {
    const posted = await call("POST", "/service", web);
    assert.is(posted.status, 200);
    assert.equal(posted.body, web);
    const { rules, protect } = dataplane.steering;
    assert.equal(
      { rules, protect },
      {
        rules: [
          {
            id: 1,
            service: 1,
            name: "web",
            priority: 100,
            match: { destination: ["203.0.113.80/32"] },
            action: "take",
            endpoints: [{ address: "10.60.0.80" }],
            appInitiated: false,
          },
        ],
        protect: ["192.0.2.0/24", "10.60.0.1/32"],
      },
    );
    assert.equal((await call("GET", "/service")).body, [web]);
    assert.equal((await call("GET", "/service/web")).body, web);
  }));

test("A11: the second form comes back as it was given, strings, numbers and the seeds' two spellings of the chain", () =>
  withAgent(async ({ call, dataplane }) => {
    const numbers = {
      name: "dns",
      rules: {
        priority: 300,
        nw_dst: "203.0.113.53",
        nw_src: "0.0.0.0/0",
        protocol: 17,
        tp_dst: 53,
        endpoint: "10.60.0.53",
      },
      chain: { ue_net: [], net_eu: [] },
    };
    assert.equal((await call("POST", "/service", cache)).body, cache);
    assert.equal((await call("POST", "/service", numbers)).body, numbers);
    assert.equal((await call("GET", "/service")).body, [cache, numbers]);
    assert.equal(
      dataplane.steering.rules.map(({ name, match, endpoints }) => ({ name, match, endpoints })),
      [
        {
          name: "dns",
          match: { destination: ["203.0.113.53/32"], protocol: [17], destinationPorts: [[53, 53]] },
          endpoints: [{ address: "10.60.0.53" }],
        },
        {
          name: "cache",
          match: {
            destination: ["203.0.113.0/24"],
            source: ["10.45.0.0/16"],
            protocol: [6],
            destinationPorts: [[80, 80]],
          },
          endpoints: [{ address: "10.60.0.90", port: 3128 }],
        },
      ],
      "highest priority first",
    );
  }));

test("A10: PUT changes a service, keeps its numbers, and answers 404 and 400", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", web);
    const moved = { ...web, applicationIP: "10.60.0.81" };
    const answer = await call("PUT", "/service/web", moved);
    assert.is(answer.status, 200);
    assert.equal(answer.body, moved);
    assert.equal(dataplane.steering.rules[0]?.endpoints, [{ address: "10.60.0.81" }]);
    assert.is(dataplane.steering.rules[0]?.id, 1);
    assert.is((await call("PUT", "/service/other", web)).status, 404);
    assert.is((await call("PUT", "/service/web", { name: "web" })).status, 400);
    const renamed = await call("PUT", "/service/web", { ...web, name: "www" });
    assert.is(renamed.status, 200);
    assert.is((await call("GET", "/service/web")).status, 404);
    assert.is(dataplane.steering.rules[0]?.service, 1, "a new name is the same service");
  }));

test("A10: DELETE by name, and by service IP", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", web);
    await call("POST", "/service", cache);
    assert.is((await call("DELETE", "/service/cache")).status, 200);
    assert.is((await call("DELETE", "/service/203.0.113.80")).status, 200);
    assert.equal(dataplane.steering.rules, []);
    const gone = await call("DELETE", "/service/203.0.113.80");
    assert.is(gone.status, 404);
    assert.is(gone.type, "application/problem+json; charset=utf-8");
  }));

test("DESIGN: DELETE by a service IP that several services have is refused with their names", () =>
  withAgent(async ({ call }) => {
    for (const port of ["80", "443"]) {
      const rules = { ...cache.rules, nw_dst: "203.0.113.80", tp_dst: port };
      assert.is((await call("POST", "/service", { name: `port-${port}`, rules })).status, 200);
    }
    const answer = await call("DELETE", "/service/203.0.113.80");
    assert.is(answer.status, 409);
    assert.equal(answer.body.services, ["port-80", "port-443"]);
  }));

test("A10, A11: 409 for the same name, the same match and an ambiguous priority, naming the service that is met", () =>
  withAgent(async ({ call }) => {
    await call("POST", "/service", web);
    await call("POST", "/service", cache);
    const refused = async (body: unknown) => {
      const { status, body: problem } = await call("POST", "/service", body);
      return { status, type: problem.type, services: problem.services };
    };
    assert.equal(await refused({ ...web, serviceIP: "203.0.113.81" }), {
      status: 409,
      type: "/problems/name-taken",
      services: ["web"],
    });
    assert.equal(await refused({ ...web, name: "again" }), {
      status: 409,
      type: "/problems/same-match",
      services: ["web"],
    });
    const wider = { ...cache, name: "wide", rules: { ...cache.rules, nw_dst: "203.0.112.0/23", nw_src: "0.0.0.0/0" } };
    assert.equal(await refused(wider), { status: 409, type: "/problems/ambiguous", services: ["cache"] });
    const ranked = { ...wider, rules: { ...wider.rules, priority: 201 } };
    assert.is((await call("POST", "/service", ranked)).status, 200, "another priority settles it");
  }));

test("A10, A11: 400 names every wrong field at once", () =>
  withAgent(async ({ call, dataplane }) => {
    const answer = await call("POST", "/service", {
      name: "",
      rules: { priority: "high", nw_dst: "203.0.113.1/24", protocol: 99, tp_dst: 0, endpoint: "10.60.0.300", tpsrc: 1 },
      chain: { ue_net: ["224.0.0.1"] },
    });
    assert.is(answer.status, 400);
    assert.is(answer.type, "application/problem+json; charset=utf-8");
    assert.equal(
      answer.body.errors.map((error: { field: string }) => error.field),
      [
        "name",
        "rules.tpsrc",
        "rules.priority",
        "rules.nw_dst",
        "rules.nw_src",
        "rules.protocol",
        "rules.tp_dst",
        "rules.endpoint",
        "chain.ue_net.0",
      ],
    );
    assert.match(answer.body.errors[1].message, 'did you mean "tp_src"');
    assert.is(dataplane.applied.length, 1, "nothing was applied since the start");
  }));

test("when the data plane refuses, nothing has changed and the answer names what refused", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", web);
    dataplane.refuse = new DataplaneError("no space", "map rules");
    for (const [method, path, body] of [
      ["POST", "/service", cache],
      ["PUT", "/service/web", { ...web, applicationIP: "10.60.0.9" }],
      ["DELETE", "/service/web", undefined],
    ] as const) {
      const answer = await call(method, path, body);
      assert.is(answer.status, 503, method);
      assert.is(answer.body.object, "map rules");
    }
    dataplane.refuse = undefined;
    assert.equal((await call("GET", "/service")).body, [web]);
    assert.is((await call("POST", "/service", cache)).status, 200, "and the next change works");
  }));

test("when the store refuses, the old steering is applied again", () =>
  withAgent(async ({ call, dataplane, agent }) => {
    await call("POST", "/service", web);
    const before = dataplane.steering;
    // Two services with one number cannot be stored: the commit fails after the data plane has taken it.
    const { Store } = await import("../../controlplane/store/store.ts");
    const commit = Store.prototype.commit;
    Store.prototype.commit = () => {
      throw new Error("disk full");
    };
    try {
      const answer = await call("POST", "/service", cache);
      assert.is(answer.status, 503);
      assert.is(answer.body.type, "/problems/store-failed");
    } finally {
      Store.prototype.commit = commit;
    }
    assert.equal(dataplane.steering, before);
    assert.equal(agent.services?.list(), [web]);
  }));

test("A10: services and their numbers survive a restart, and are applied before the API answers", () =>
  withAgent(async (first) => {
    await first.call("POST", "/service", web);
    await first.call("POST", "/service", cache);
    await first.call("DELETE", "/service/web");
    const before = first.dataplane.steering;
    const second = await first.restart();
    try {
      assert.equal(second.dataplane.steering, before);
      assert.equal((await second.call("GET", "/service")).body, [cache]);
      await second.call("POST", "/service", web);
      assert.is(
        second.dataplane.steering.rules.find((rule) => rule.name === "web")?.id,
        3,
        "numbers are not reused soon",
      );
    } finally {
      await second.agent.stop();
    }
  }));

test("changes at the same time are done one after the other, and each is whole", () =>
  withAgent(async ({ call, dataplane }) => {
    dataplane.during = () => new Promise((resolve) => setImmediate(resolve));
    const names = Array.from({ length: 20 }, (_, index) => `s${index}`);
    const answers = await Promise.all(
      names.map((name, index) => call("POST", "/service", { ...web, name, serviceIP: `203.0.113.${index % 10}` })),
    );
    const statuses = answers.map((answer) => answer.status);
    assert.is(statuses.filter((status) => status === 200).length, 10);
    assert.is(statuses.filter((status) => status === 409).length, 10);
    assert.is(dataplane.steering.rules.length, 10);
    assert.is(new Set(dataplane.steering.rules.map((rule) => rule.service)).size, 10, "no number twice");
  }));

test("limits.rules holds", () =>
  withAgent(async ({ call }) => {
    for (let index = 0; index < 50; index += 1) {
      const { status } = await call("POST", "/service", { ...web, name: `s${index}`, serviceIP: `203.0.113.${index}` });
      assert.is(status, 200);
    }
    const answer = await call("POST", "/service", web);
    assert.is(answer.status, 503);
    assert.is(answer.body.type, "/problems/limit-reached");
  }));

test("A19: endpoint local routes, an absent endpoint is an exception to a lower rule", () =>
  withAgent(async ({ call, dataplane }) => {
    const gateway = { name: "gateway", rules: { priority: 10, nw_src: "10.45.0.0/16", endpoint: "local" } };
    const except = { name: "except", rules: { priority: 20, nw_src: "10.45.1.0/24" } };
    assert.is((await call("POST", "/service", gateway)).status, 200);
    assert.is((await call("POST", "/service", except)).status, 200);
    assert.equal(
      dataplane.steering.rules.map(({ name, action, match }) => [name, action, match]),
      [
        ["except", "pass", { source: ["10.45.1.0/24"] }],
        ["gateway", "route", { source: ["10.45.0.0/16"] }],
      ],
    );
  }));

test("DELETE …?flush=true ends the flows as well, and says so to the data plane only then", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", web);
    await call("POST", "/service", cache);
    await call("DELETE", "/service/web");
    assert.not(dataplane.calls.some((entry) => entry.startsWith("flush")));
    await call("DELETE", "/service/cache?flush=true");
    assert.ok(dataplane.calls.includes("flush 2"));
  }));

test("a plan says what would change, and changes nothing", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", web);
    const added = await call("POST", "/api/v1/plan", cache);
    assert.is(added.status, 200);
    assert.equal([added.body.change, added.body.remove.length, added.body.add[0].name], ["add", 0, "cache"]);
    const replaced = await call("POST", "/api/v1/plan", { ...web, applicationIP: "10.60.0.81" });
    assert.equal([replaced.body.change, replaced.body.remove.length, replaced.body.add.length], ["replace", 1, 1]);
    assert.is((await call("POST", "/api/v1/plan", web)).body.change, "none");
    assert.is((await call("POST", "/api/v1/plan", { ...web, name: "other" })).status, 409);
    assert.equal((await call("GET", "/service")).body, [web]);
    assert.is(dataplane.steering.rules.length, 1);
  }));

test.run();
