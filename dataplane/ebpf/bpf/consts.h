/* Which numbers do the wire formats and our own tables fix?
 *
 * Wire constants follow IEEE 802.1Q, RFC 791/8200, TS 29.281 (GTP-U) and TS 38.415 (PDU Session Container).
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_CONSTS_H
#define OFFRAMP_CONSTS_H

#define LAYOUT_VERSION 3 /* of everything in structs.h; raised when a map's bytes change meaning */

/* Ethernet types, in host order. */
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8
#define ETH_P_SLOW 0x88B5 /* local experimental (IEEE 802): frames between the program and the control plane */

#define GTPU_PORT 2152
#define GTPU_ECHO_REQUEST 1
#define GTPU_ERROR_INDICATION 26
#define GTPU_END_MARKER 254
#define GTPU_G_PDU 255
#define GTPU_FLAG_E 0x04
#define GTPU_FLAG_S 0x02
#define GTPU_FLAG_PN 0x01
#define GTPU_EXT_PSC 0x85 /* PDU Session Container */
#define GTPU_MAX_EXT 8    /* extension headers walked before a packet counts as not understood */

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ICMPV6 58
#define PROTO_QUERY 255 /* in keys of flows: UDP queries for names, taken one by one; reserved, so no packet has it */

#define NAME_MAX 256 /* octets of a name on the wire, and one more (RFC 1035 §3.1) */
#define LABEL_MAX 63
#define MAX_NAMES 16384
#define SILENT_SECONDS 2 /* without an answer, and queries for names pass */

/* Bearer slots of one session in the `bearers` map: index = session * BEARER_SLOTS + slot. */
#define BEARER_SLOTS 5
#define DOWNLINK_SLOTS 3 /* slots 0..2: downlink bearers (toward a base station); 0 is the first learnt */
#define SLOT_UPLINK 3    /* the proven uplink tunnel, as the base station builds it: the pinger's template */
#define SLOT_CANDIDATE 4 /* an uplink tunnel that claims the UE's address and is not proven yet */

#define SESSION_VERSIONS 65536

#define HEADER_MAX 96 /* octets of a prebuilt outer header: Ethernet, two tags, IPv6, UDP, GTP-U, one PSC */

/* config.mode */
#define MODE_OFFLOAD 0
#define MODE_OBSERVE 1
#define MODE_BYPASS 2

/* config.flags */
#define CONFIG_SHARED (1 << 0)       /* one adapter for both sides: routed one-arm */
#define CONFIG_ACCESS_PEERS (1 << 1) /* accessPeers given: others teach nothing */
#define CONFIG_CORE_PEERS (1 << 2)
#define CONFIG_UE_POOLS (1 << 3)
#define CONFIG_PINGER4 (1 << 4) /* a pinger target exists for IPv4 UEs */
#define CONFIG_PINGER6 (1 << 5)
#define CONFIG_ETHERNET (1 << 6) /* plug-in ethernet: no tunnels, sessions are known by their MAC address */

/* tunnel.flags */
#define TUNNEL_UPLINK (1 << 0)
#define TUNNEL_CANDIDATE4 (1 << 1) /* uplink, unproven for its IPv4 UE: passes, never taken */
#define TUNNEL_IPV4 (1 << 2)      /* ue4 is set */
#define TUNNEL_IPV6 (1 << 3)      /* ue6 is set */
#define TUNNEL_CANDIDATE6 (1 << 4) /* the same for its IPv6 UE */

/* bearer.state */
#define BEARER_FREE 0
#define BEARER_LIVE 1
#define BEARER_STALE 2    /* known, but must not be used until the core uses it again */
#define BEARER_DRAINING 3 /* usable, while held replies go first */

/* session.flags */
#define SESSION_UPLINK (1 << 0)   /* an uplink tunnel is proven (slot SLOT_UPLINK) */
#define SESSION_HOLD (1 << 1)     /* replies go to the slow port, to keep their order */
#define SESSION_WANTED (1 << 2)   /* something was taken for this UE: its downlink is wanted */
#define SESSION_MOVING (1 << 3)   /* uplink seen from another base station: replies wait for the core */
#define SESSION_CANDIDATE (1 << 4)

/* rule.action and flow.action */
#define ACTION_PASS 0  /* to the opposite port, untouched */
#define ACTION_TAKE 1  /* decapsulate, translate, hand to the endpoint */
#define ACTION_ROUTE 2 /* decapsulate, hand to the apps' network without translation (local gateway) */
#define ACTION_REPLY 3 /* flow only: the way back */
#define ACTION_DROP 4
#define ACTION_THROUGH 5 /* stays in its tunnel, after what its service's treatment asks for */
#define ACTION_FORWARD 6 /* leaves by an output with its tunnel, both ways */

/* rule.flags */
#define RULE_APP_INITIATED (1 << 0)
#define RULE_TREATED (1 << 1) /* its service has a treatment */

#define RULE_BY_UE (1 << 2)  /* a UE keeps to one endpoint, not a connection */
#define RULE_DIRECTED (1 << 3) /* for one direction: decides each packet alone */

/* outlet.kind */
#define OUTLET_PLAIN 0
#define OUTLET_GRE 1
#define OUTLET_GTPU 2

/* outlet.flags */
#define OUTLET_V6 (1 << 0)       /* its tunnel's addresses are IPv6 */
#define OUTLET_UNKNOWN (1 << 1)  /* the MAC address of its next hop is not known at the moment */
#define OUTLET_AS_IS (1 << 2)    /* a frame that is not stripped leaves as it is */
#define OUTLET_OWN_MACS (1 << 3) /* the frame keeps its MAC addresses */
#define OUTLET_STRIP (1 << 4)    /* copies: without the GTP-U tunnel */

/* treatment.rate_up, rate_down */
#define RATE_SHIFT 20
#define RATE_BURST_NS 50000000 /* what a service may send at once: this long at its rate, */
#define RATE_BURST_OCTETS 3000 /* and at least so much */

#define MAX_MIRRORS 16 /* number 0 is none */

/* rules_header.flags */
#define RULES_THROUGH (1 << 0) /* some rule treats what stays in its tunnel: the core's packets are looked at */
#define RULES_SIGNALLING (1 << 1) /* some rule is about GTP-U messages other than G-PDUs */
#define RULES_DIRECTED (1 << 2)   /* some rule is for one direction */

/* Dimensions of the classifier: the order of dataplane/space.ts, which says what each means. */
#define DIMENSION_DESTINATION 0
#define DIMENSION_SOURCE 1
#define DIMENSION_PROTOCOL 2
#define DIMENSION_DESTINATION_PORT 3
#define DIMENSION_SOURCE_PORT 4
#define DIMENSION_DSCP 5
#define DIMENSION_DATAPLANE 6
#define DIMENSION_VLAN 7
#define DIMENSION_INNER_VLAN 8
#define DIMENSION_SOURCE_MAC 9
#define DIMENSION_DESTINATION_MAC 10
#define DIMENSION_BASE_STATION 11
#define DIMENSION_GATEWAY 12
#define DIMENSION_TEID 13
#define DIMENSION_QFI 14
#define DIMENSION_MESSAGE 15
#define DIMENSION_DIRECTION 16
#define DIMENSIONS 17
#define DIMENSIONS_ROOM 32 /* a power of two, for the verifier */
#define DIMENSIONS_WIDE 0x1803 /* addresses: 128 bits; all others fit in 64 */

#define NO_QFI 254
#define DIRECTION_UPLINK 0
#define DIRECTION_DOWNLINK 1

/* rules_header.fields: where these lie in the cache's key of a flow */
#define FIELD_DSCP 0x00ff0000
#define FIELD_QFI 0xff000000

/* flow.flags */
#define FLOW_FIN_UP (1 << 0)
#define FLOW_FIN_DOWN (1 << 1)
#define FLOW_RST (1 << 2)
#define FLOW_REPLIED (1 << 3)
#define FLOW_APP_INITIATED (1 << 4)
#define FLOW_TREATED (1 << 5) /* look at the service's treatment; never cached */
#define FLOW_RUNNING (1 << 6) /* passes because it did when the rules came: its next SYN is decided anew */
#define FLOW_BEGUN (1 << 7)   /* a packet of the core was its first, and decided */

/* VXLAN (RFC 7348), VXLAN-GPE and NSH (RFC 8300). */
#define VXLAN_FLAG_VNI 0x08
#define GPE_FLAG_PROTOCOL 0x04
#define GPE_NSH 4
#define NSH_IPV4 1
#define NSH_IPV6 2
#define HOP_HEADER_MAX 88 /* Ethernet, IPv6, UDP, VXLAN, and an Ethernet header or NSH */

/* hop.flags */
#define HOP_V6 (1 << 0) /* outer */
#define HOP_NSH (1 << 1)
#define HOP_DOWNLINK (1 << 2)

/* treatment.flags: a function of the chain is down, and packets go on without it */
#define TREATMENT_BYPASS_UP (1 << 0)
#define TREATMENT_BYPASS_DOWN (1 << 1)

/* treatment.chain_up, chain_down and hop.next */
#define CHAIN_NONE 0
#define CHAIN_BLOCKED 0xffffffff /* a function is down, and nothing may go on without it */

/* `maybe` map, one octet per bucket of inner destinations */
#define MAYBE_RULE (1 << 0)      /* a rule may match some address in the bucket */
#define MAYBE_RULE_HOST (1 << 1) /* only single addresses: look at `maybe_host` as well */
#define MAYBE_PROTECTED (1 << 2)
#define MAYBE_TREATED (1 << 3)      /* packets of the core from such an address may have a treatment */
#define MAYBE_TREATED_HOST (1 << 4) /* only single addresses: look at `maybe_host` as well */
/* … one octet per bucket of whole addresses */
#define HOST_RULE (1 << 0)
#define HOST_TREATED (1 << 1)
#define MAYBE_V6 65536 /* first bucket of IPv6 */

/* Egress ports: index into the `ports` devmap. */
#define PORT_ACCESS(dp) ((dp)*2)
#define PORT_CORE(dp) ((dp)*2 + 1)
#define MAX_DATAPLANES 32
#define PORT_SLOW 64   /* the control plane's TAP; empty while no control plane runs */
#define PORT_RETURN 65 /* far end of the return veth: hands a packet to the appliance's own routing */
#define PORT_APPS 66   /* apps adapters, 66.. */
#define MAX_PORTS 128

/* struct slow_header.op: what a frame on the slow port is */
#define SLOW_HOLD 1       /* to user space: an app's reply whose downlink is unknown; `port` is the data plane */
#define SLOW_REPLY 2      /* from user space: send this reply now, ahead of the hold */
#define SLOW_RELEASE 3    /* from user space: end the hold of `session` if `sequence` replies were all */
#define SLOW_FRAGMENT 4   /* to user space: an outer fragment from the access side, whole frame */
#define SLOW_REASSEMBLED 5 /* from user space: a whole frame as if from the access side of `port` */
#define SLOW_WIRE 6       /* from user space: pass this frame to the core side of `port`, untouched */
#define SLOW_TOO_BIG 7    /* to user space: a reply to be fragmented before it is encapsulated (IPv4, DF clear) */
#define SLOW_INNER_FRAGMENT 8 /* to user space: an inner fragment that came before the first one; whole frame */

/* struct event.type */
#define EVENT_SESSION_NEW 1     /* a UE address was learnt */
#define EVENT_DOWNLINK_LEARNT 2 /* a downlink bearer became usable */
#define EVENT_MOVED 3           /* the session moved to another base station */
#define EVENT_BEARER_NEW 4      /* another bearer of a known session */
#define EVENT_OWNER_CHANGED 5   /* the address belongs to another tunnel now; its flows were flushed */
#define EVENT_CANDIDATE 6       /* an unproven uplink tunnel claims a known address: ping through it */
#define EVENT_WANTED 7          /* replies need a downlink: ping */
#define EVENT_STALE 8           /* a bearer was marked stale (Error Indication, End Marker, handover): ping */
#define EVENT_PINGER_ANSWER 9   /* the core answered a ping of ours; swallowed */
#define EVENT_TABLE_FULL 10
#define EVENT_CAPTURE 11
#define EVENT_OVERLAP 12        /* an address that lives on one data plane was met on another, which `slot` names */

/* struct packet.way, tally_key.way: where the frame came in */
#define WAY_UPLINK 0   /* the access side */
#define WAY_DOWNLINK 1 /* the core side */
#define WAY_APPS 2
#define WAY_PINGER 3

/* monitor.enabled */
#define MONITOR_ON (1 << 0)
#define MONITOR_EACH (1 << 1)     /* a record of each packet, not only of the first in a second */
#define MONITOR_UNCACHED (1 << 2) /* what is taken from the caches would not be seen: nothing enters them */

#endif
