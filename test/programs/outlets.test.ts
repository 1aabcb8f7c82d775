/**
 * A17: what does the program do with a packet that a mirror copies, and with one that leaves by an output?
 *
 * The copy itself is the kernel's work: test/ebpf/outlets.test.ts.
 */
import { test } from "uvu";
import { PORT_CORE } from "../../dataplane/ebpf/consts.ts";
import type { SteeringRule } from "../../dataplane/steering.ts";
import * as f from "../packets/frame.ts";
import { hopMac, type Kernel } from "./kernel.ts";
import {
  changed,
  dnsDown,
  dnsUp,
  down,
  fromApp,
  learnt,
  other,
  otherDown,
  otherUp,
  route,
  rule,
  ue,
  up,
} from "./scene.ts";

const mirror = { port: "tap0", form: "as-is" } as const;
const treated = [
  changed(2, { treatment: { mirror } }),
  rule(20, { match: { destination: [`${other}/32`] }, action: "pass", treatment: { mirror } }),
];
const open = (list: readonly SteeringRule[], there = true): Kernel => {
  const k = learnt();
  k.setRules(list);
  k.setMirror(there);
  return k;
};

test("A17: what passes, is taken or answered is copied and leaves as it would", () => {
  const k = open(treated);
  const [copied, leaves] = [{ notes: ["note_mirrored"] }, { verdict: "redirect" as const }];
  k.expect("access", up(otherUp()), { counter: "pass_treated", out: "same", ...copied, ...leaves });
  k.expect("core", down(otherDown()), { counter: "pass_treated", out: "same", ...copied, ...leaves });
  k.expect("access", up(dnsUp()), { counter: "take_uplink", ...copied, ...leaves });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink", ...copied, ...leaves });
  k.setMirror(false);
});

test("A17: without the mirror, or in more than one buffer, everything leaves alone and says so", () => {
  const k = open(treated, false);
  const alone = { notes: ["note_not_mirrored"], verdict: "redirect" as const };
  k.expect("access", up(otherUp()), { counter: "pass_treated", out: "same", ...alone });
  k.expect("core", down(otherDown()), { counter: "pass_treated", out: "same", ...alone });
  k.setMirror(true);
  const long: f.Layers = [f.ip(ue, other), f.udp({ sport: 1234, dport: 9 }), f.payload(new Uint8Array(6000))];
  k.expect("access", up(long), { counter: "pass_treated", ...alone });
  k.setMirror(false);
});

test("A17: where the port's own adapter is gone, the copy does not hide it", () => {
  const k = open(treated);
  k.unplug(PORT_CORE(0));
  k.expect("access", up(otherUp()), { counter: "pass_treated", out: "same", verdict: "pass" });
  k.setMirror(false);
});

test("A17: an output with a VLAN id gets the tag pushed, each time; one without gets none", () => {
  for (const vlan of [undefined, 300]) {
    const away = rule(21, {
      match: { destination: [`${route}/32`] },
      ...({ action: "route", endpoints: undefined } as const),
      output: { port: "out0", ...(vlan !== undefined && { vlan }) },
    });
    const k = open([away], false);
    const inner: f.Layers = [f.ip(ue, route), f.udp({ sport: 1234, dport: 9 }), f.payload("out")];
    const tag = vlan === undefined ? [] : f.vlan(vlan);
    for (let n = 0; n < 3; n++) {
      const out = f.frame([f.eth(hopMac(2)), tag, inner]);
      k.expect("access", up(inner), { counter: "take_routed", verdict: "redirect", out });
    }
  }
});

test.run();
