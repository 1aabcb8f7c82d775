/** Which heartbeats are changes, and told in the audit log (GS MEC 011 §8.2.10; C6)? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "../lab/netns.ts";
import { type Answer, base, type Mp1, management, withMp1 } from "./enablement.ts";
import { offer } from "./fixtures.ts";

const own = `${management}/applications/app1/services`;
const path = (uri: unknown): string => String(uri).slice(base.length);

async function register({ call }: Mp1, body: object): Promise<Answer> {
  const answer = await call("POST", own, { body });
  assert.is(answer.status, 201, answer.text);
  return answer;
}

test("C6: heartbeats that change nothing are not in the audit log; one that changes something is, and one that is refused", () =>
  withMp1(
    async (mp1) => {
      const { headers, body } = await register(mp1, offer("a", { livenessInterval: 1 }));
      const liveness = path(body._links.liveness.href);
      const beat = () => mp1.call("PATCH", liveness, { body: { state: "ACTIVE" } });
      const told = () =>
        mp1.audit
          .list({ limit: 100 })
          .entries.filter(({ method }) => method === "PATCH")
          .reverse()
          .map(({ kind, status }) => [kind, status].join(" ").trim());
      for (let i = 0; i < 3; i += 1) {
        const { status } = await beat();
        assert.is(status, 204);
      }
      const state = async () => (await mp1.call("GET", liveness)).body.state;
      const before = told();
      // A machine that is slow may have suspended it between two heartbeats, which is a change and told in two entries.
      assert.is(before.length % 2, 0);
      await until("suspended", async () => (await state()) === "SUSPENDED", 30_000);
      assert.is((await beat()).status, 204);
      const after = told().slice(before.length);
      assert.equal(after.slice(0, 2), ["attempt", "outcome 204"]);
      assert.is(
        (
          await mp1.call("PUT", path(headers.location), {
            body: offer("a", { livenessInterval: 1, state: "INACTIVE" }),
          })
        ).status,
        200,
      );
      assert.is((await beat()).status, 409);
      assert.equal(told().at(-1), "refused 409");
    },
    { bounds: { shortest: 1, longest: 600, usual: 30 } },
  ));

test("C6: sixty heartbeats of a live service leave the audit log as it was", () =>
  withMp1(async (mp1) => {
    const { body } = await register(mp1, offer("a", { livenessInterval: 600 }));
    const liveness = path(body._links.liveness.href);
    const { total } = mp1.audit.list({ limit: 1 });
    for (let i = 0; i < 60; i += 1) {
      assert.is((await mp1.call("PATCH", liveness, { body: { state: "ACTIVE" } })).status, 204);
    }
    assert.is(mp1.audit.list({ limit: 1 }).total, total);
  }));

test.run();
