/**
 * What does each function of each chain have to configure?
 *
 * Pure. A Linux function needs nothing but its kernel: one VXLAN interface for each place that it has in a chain, whose
 * packets go back out where they came in. The commands are those that one types as root; they run as they are printed.
 */
import { functionMac, ownMac } from "../../dataplane/chain.ts";
import type { VxlanConfig } from "../../dataplane/dataplane.ts";
import type { Hop, SteeringRule } from "../../dataplane/steering.ts";

/** Addresses on the other end of a function's interface. Nobody has them; any would do. */
const NOBODY = "169.254.80.90";
const NOBODY6 = "fe80::8090";

export interface FunctionView {
  /** Of its tunnel end point. */
  function: string;
  /** From 1. */
  position: number;
  vni: number;
  encapsulation: Hop["encapsulation"];
  state: "up" | "down";
  /** Where it sends packets back to. */
  remote: string;
  port: number;
  /** Its interface for this place: name, MAC address, and that of the other end. */
  interface: string;
  mac: string;
  peerMac: string;
  mtu: number;
  /** NSH: as it gets it; it returns one less. */
  serviceIndex?: number;
  commands: string[];
}

export interface ChainView {
  service: string;
  unreachable: "bypass" | "block";
  uplink: FunctionView[];
  downlink: FunctionView[];
}

/** Octets that the tunnel takes of the apps' network. */
const overhead = (v6: boolean): number => (v6 ? 70 : 50);

function commands(view: Omit<FunctionView, "commands">): string[] {
  const { function: address, vni, remote, port, interface: name, mac, peerMac, mtu } = view;
  const v6 = address.includes(":");
  const checksums = v6 ? " udp6zerocsumtx udp6zerocsumrx" : "";
  return [
    `ip link add ${name} address ${mac} mtu ${mtu} type vxlan id ${vni} local ${address} remote ${remote} dstport ${port} nolearning${checksums}`,
    `ip link set ${name} addrgenmode none up`,
    `sysctl -qw net.ipv4.conf.${name}.forwarding=1 net.ipv4.conf.${name}.rp_filter=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.${name}.send_redirects=0 net.ipv6.conf.all.forwarding=1`,
    `ip neigh replace ${NOBODY} lladdr ${peerMac} dev ${name} nud permanent`,
    `ip route replace default via ${NOBODY} dev ${name} onlink table ${vni}`,
    `ip rule add iif ${name} lookup ${vni}`,
    `ip -6 neigh replace ${NOBODY6} lladdr ${peerMac} dev ${name} nud permanent`,
    `ip -6 route replace default via ${NOBODY6} dev ${name} table ${vni}`,
    `ip -6 rule add iif ${name} lookup ${vni}`,
  ];
}

/** `mtu`: of the apps' network. */
export function describeChains(rules: readonly SteeringRule[], vxlan: VxlanConfig, mtu: number): ChainView[] {
  return rules.flatMap(({ name, treatment }) => {
    const chain = treatment?.chain;
    if (!chain) return [];
    const list = (hops: readonly Hop[]): FunctionView[] =>
      hops.map(({ address, vni, encapsulation, state }, index) => {
        const v6 = address.includes(":");
        const nsh = encapsulation === "nsh";
        const view = {
          function: address,
          position: index + 1,
          vni,
          encapsulation,
          state: state ?? "up",
          remote: v6 ? (vxlan.address6 ?? "") : vxlan.address,
          port: nsh ? vxlan.gpePort : vxlan.port,
          interface: `ofr${vni}`,
          mac: functionMac(vni),
          peerMac: ownMac(vni),
          mtu: mtu - overhead(v6),
          ...(nsh && { serviceIndex: 255 - index }),
        };
        return { ...view, commands: nsh ? [] : commands(view) };
      });
    return [
      { service: name, unreachable: chain.unreachable, uplink: list(chain.uplink), downlink: list(chain.downlink) },
    ];
  });
}

/** As a shell reads it: what is said is in comments. */
export function chainLines(chains: readonly ChainView[]): string[] {
  if (chains.length === 0) return ["# no service has a chain"];
  return chains.flatMap(({ service, unreachable, uplink, downlink }) => [
    `# service ${service}; a function that is down: ${unreachable === "block" ? "packets are dropped" : "is left out"}`,
    ...(["uplink", "downlink"] as const).flatMap((direction) => {
      const list = direction === "uplink" ? uplink : downlink;
      if (list.length === 0) return [`# ${direction}: no functions`];
      return list.flatMap((view) => [
        "",
        `# ${direction}, place ${view.position}: on ${view.function} (${view.state})`,
        ...(view.encapsulation === "nsh"
          ? [
              `# NSH over VXLAN-GPE: from and to ${view.remote} port ${view.port}, service path ${view.vni}, service index ${view.serviceIndex} in, ${view.serviceIndex! - 1} out`,
            ]
          : view.commands),
      ]);
    }),
    "",
  ]);
}
