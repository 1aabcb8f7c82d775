/**
 * GTP-U's own messages in hostile hands (TS 29.281 §7): the data plane passes all of them, answers none, and believes only
 * what the tunnel's own ends say.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  echo,
  endMarker,
  errorIndication,
  eth,
  frame,
  gtpu,
  icmp,
  ip,
  type Layers,
  payload,
  psc,
  u32,
  udp,
} from "../packets/frame.ts";
import {
  anyApp,
  down,
  downlink,
  fromApp,
  gateway,
  otherGateway,
  otherStation,
  ping,
  Stage,
  station,
  ue,
  up,
  uplink,
} from "./stage.ts";

const stage = new Stage();
test.before.each(() => stage.begin());
test.after(() => stage.close());

const from = (source: string, destination: string, message: Layers) =>
  frame([eth(), ip(source, destination), udp({ sport: 2152, dport: 2152 }), message]);
const answer = () => fromApp([ip(anyApp, ue), icmp({ type: 0, id: 7 }), payload(8)]);

/** Is the UE's downlink still used for replies? */
const stillAnswers = () => {
  stage.takes(uplink(ping()));
  stage.replies(answer());
};
const nothing = (port: "access" | "core", bytes: Uint8Array, counter: string) => stage.passes(port, bytes, counter);

test("Echo passes both ways, whatever its Recovery, TEID and flags; bindings stay", () => {
  const kinds: Layers[] = [
    echo(),
    echo({ response: true, recovery: 0 }),
    echo({ response: true, recovery: 77 }),
    echo({ teid: up }),
    [gtpu({ type: 1, teid: 0 })],
    echo({ ext: [psc()] }),
  ];
  for (const kind of kinds) {
    nothing("access", from(station, gateway, kind), "pass_gtpu_control");
    nothing("core", from(gateway, station, kind), "pass_gtpu_control");
  }
  for (let i = 0; i < 50; i++) nothing("core", from(gateway, station, echo({ recovery: i })), "pass_gtpu_control");
  stillAnswers();
});

test("an Error Indication that answers a packet of ours is absorbed, and replies are held", () => {
  stage.takes(uplink(ping()));
  stage.replies(answer());
  stage.drops(
    "access",
    from(station, gateway, errorIndication({ teid: down, peer: station })),
    "drop_error_indication",
  );
  const held = stage.send("return", answer());
  assert.ok(held.counted.includes("slow_hold"), held.counted.join(", "));
});

test("the binding heals with the core's next packet in that tunnel", () => {
  stage.takes(uplink(ping()));
  stage.replies(answer());
  stage.drops(
    "access",
    from(station, gateway, errorIndication({ teid: down, peer: station })),
    "drop_error_indication",
  );
  stage.passes("core", downlink([ip("203.0.115.1", ue), udp()]), "pass_downlink");
  stage.replies(answer());
});

test("an Error Indication about a tunnel that we sent nothing into passes", () => {
  const bytes = from(station, gateway, errorIndication({ teid: down, peer: station }));
  stage.passes("access", bytes, "pass_error_indication", ["note_bearer_stale"]);
});

test("forged Error Indications pass and change nothing: other source, other peer address, unknown TEID, other gateway", () => {
  stage.takes(uplink(ping()));
  stage.replies(answer());
  nothing(
    "access",
    from(otherStation, gateway, errorIndication({ teid: down, peer: station })),
    "pass_error_indication",
  );
  nothing(
    "access",
    from(station, gateway, errorIndication({ teid: down, peer: otherStation })),
    "pass_error_indication",
  );
  nothing(
    "access",
    from(otherStation, gateway, errorIndication({ teid: down, peer: otherStation })),
    "pass_error_indication",
  );
  nothing("access", from(station, gateway, errorIndication({ teid: 0x999, peer: station })), "pass_error_indication");
  nothing(
    "access",
    from(station, otherGateway, errorIndication({ teid: down, peer: station })),
    "pass_error_indication",
  );
  // From the wrong side: a base station's words out of the core.
  nothing("core", from(station, gateway, errorIndication({ teid: down, peer: station })), "pass_error_indication");
  stage.replies(answer());
});

test("truncated Error Indications and such with bad lengths pass and change nothing", () => {
  stage.takes(uplink(ping()));
  stage.replies(answer());
  const whole = from(station, gateway, errorIndication({ teid: down, peer: station }));
  for (const n of [0, 1, 5, 6, 8, 11]) {
    nothing(
      "access",
      from(station, gateway, errorIndication({ teid: down, peer: station, ies: whole.slice(-12, -12 + n) })),
      "pass_error_indication",
    );
  }
  const ies = (length: number) => Uint8Array.of(16, ...u32(down), 133, length >> 8, length & 0xff, 198, 18, 1, 10);
  for (const length of [0, 3, 5, 16, 260, 65535]) {
    nothing(
      "access",
      from(station, gateway, errorIndication({ teid: down, peer: station, ies: ies(length) })),
      "pass_error_indication",
    );
  }
  stage.replies(answer());
});

test("a burst of 30 Error Indications is as good as one", () => {
  for (let i = 0; i < 30; i++) {
    const bytes = from(station, gateway, errorIndication({ teid: down, peer: station }));
    stage.passes("access", bytes, "pass_error_indication", ["note_bearer_stale"]);
  }
  stage.passes("core", downlink([ip("203.0.115.1", ue), udp()]), "pass_downlink");
  stillAnswers();
});

test("an End Marker from the core passes and retires the downlink: replies are held until the new one shows", () => {
  stage.takes(uplink(ping()));
  stage.passes("core", from(gateway, station, [endMarker(down)]), "pass_gtpu_control");
  assert.ok(stage.send("return", answer()).counted.includes("slow_hold"));
});

test("End Markers for unknown TEIDs, with a PSC, in the wrong direction or with junk pass; wrong ones are ignored", () => {
  nothing("core", from(gateway, station, [endMarker(0x999)]), "pass_gtpu_control");
  nothing("access", from(station, gateway, [endMarker(down)]), "pass_gtpu_control");
  nothing("access", from(gateway, station, [endMarker(down)]), "pass_gtpu_control");
  nothing("core", from(otherGateway, station, [endMarker(down)]), "pass_gtpu_control");
  stillAnswers();
  nothing("core", from(gateway, station, [endMarker(down, { ext: [psc()] }), payload(9)]), "pass_gtpu_control");
  assert.ok(stage.send("return", answer()).counted.includes("slow_hold"));
});

test("an Error Indication of the core ends the uplink: what follows passes to the core, which tells the base station", () => {
  stage.takes(uplink(ping()));
  stage.passes("core", from(gateway, station, errorIndication({ teid: up, peer: gateway })), "pass_error_indication");
  const result = stage.send("access", uplink(ping()));
  assert.not.ok(result.counted.includes("take_uplink"), result.counted.join(", "));
  assert.is(result.verdict, "redirect");
});

test.run();
