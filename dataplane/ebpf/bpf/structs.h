/* What do the programs and the control plane share, byte by byte?
 *
 * Every struct here has a codec of the same name in dataplane/ebpf/layout.ts; a test compares the two through the
 * object's BTF. Addresses are 16 octets in network order, IPv4 as ::ffff:a.b.c.d. Members named `be` or documented so
 * are in network order, all others in host order. Times are jiffies64 truncated to 32 bits unless said otherwise.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_STRUCTS_H
#define OFFRAMP_STRUCTS_H

#include "consts.h"

struct address { /* network order; aligned so that it is compared in two steps */
	__u64 hi, lo;
};

/* On Ethernet a station's MAC address stands where a tunnel has an outer address: 100::<MAC>. That is the discard-only
 * prefix (RFC 6666), which no packet comes from. */
#define MAC_PREFIX bpf_cpu_to_be64(1ULL << 56) /* address.hi */

/* Tells tunnels apart whose TEIDs are equal: data plane and VLAN tags.
 * link = dataplane << 25 | uplink << 24 | outer VLAN id << 12 | inner VLAN id (0 where untagged). */

struct tunnel_key {
	struct address endpoint; /* outer destination: the gateway for uplink, the base station for downlink */
	__u32 teid;              /* network order, as on the wire */
	__u32 link;
};

struct tunnel {
	struct address peer; /* outer source: the base station for uplink, the gateway for downlink */
	__u64 ue6;           /* the UE's IPv6 /64, network order */
	__u32 ue4;           /* the UE's IPv4 address, network order */
	__u32 session4;      /* slot of the session with ue4, resp. ue6 */
	__u32 session6;
	__u32 epoch4; /* session.epoch when bound */
	__u32 epoch6;
	__u32 last_seen;
	__u8 flags;     /* TUNNEL_* */
	__u8 slot4;     /* bearer slot in session4, resp. session6 */
	__u8 slot6;
	__u8 format;    /* downlink: GTP-U flags octet & 0x07 as last observed */
	__u32 psc;      /* downlink: first four octets of the PDU Session Container as on the wire, 0 where none */
};

struct session_key {
	struct address ue; /* IPv4-mapped /32, or IPv6 /64 with the low half zero; on Ethernet the whole IPv6 address */
};

struct session {
	__u32 sequence; /* odd while a writer is at work on the session or its bearers */
	__u32 epoch;    /* raised when the slot is freed; flows and tunnels with another epoch do not belong */
	struct address ue;
	struct address base_station; /* where its uplink comes from, resp. its downlink goes to */
	struct address gateway;
	__u32 flags; /* SESSION_* */
	__u32 dataplane;
	__u32 created;
	__u32 last_seen;   /* written by learning only; tunnels and flows carry the per packet times */
	__u32 wanted_at;   /* last EVENT_WANTED, to send it at most every 100 ms */
	__u32 aside_until; /* nothing new is taken before: the pinger gave up */
	__u32 held;        /* replies redirected to the slow port since the hold began */
	__u32 flows;       /* flows in the table */
	__u32 link;        /* of its uplink tunnel, without the direction bit */
	__u32 unpaired;    /* TEID of an uplink bearer that waits for its downlink, network order */
	__u32 overlap_at;  /* last EVENT_OVERLAP, to send it at most once a second */
};

/* A prebuilt outer header and where it goes. Slots 0..DOWNLINK_SLOTS-1 lead to a base station, SLOT_UPLINK and
 * SLOT_CANDIDATE to the gateway. */
struct bearer {
	__u32 sequence; /* odd while being written: a reader that meets a change takes the slow way */
	__u32 epoch;    /* session.epoch it belongs to */
	__u8 state;     /* BEARER_* */
	__u8 dataplane;
	__u8 header_length; /* octets used in header */
	__u8 l3_offset;     /* of the outer IP header in `header` */
	__u8 v6;            /* outer is IPv6 */
	__u8 port_varies;   /* the gateway spreads its UDP source port: so do we */
	__u16 overhead;     /* octets of outer IP + UDP + GTP-U, for the MTU check */
	__u32 reserved;
	__u32 learnt_at;
	__u32 checksum; /* IPv4: sum of the header with length, id and checksum zero; IPv6: sum of the pseudo header,
	                 * UDP ports and GTP-U header with every length zero */
	__u32 pair_teid; /* uplink TEID whose flows this downlink bearer carries, 0 unknown; network order */
	__u8 header[HEADER_MAX];
	struct tunnel_key key; /* of the tunnel that it was made from */
	__u32 confirm_at;      /* when the core first used it again while it was stale, 0 never */
	__u32 psc;             /* as in struct tunnel */
	__u32 core_at;         /* downlink: last packet of the core's own */
	__u32 unused[7];       /* so that what a packet needs lies in the first two of three cache lines */
};

struct flow_key {
	struct address remote; /* uplink: inner destination; reply: the endpoint's own address */
	struct address ue;     /* full UE address, also for IPv6 */
	__u16 remote_port;     /* network order; ICMP echo: the identifier in both ports */
	__u16 ue_port;
	__u8 protocol;
	__u8 reply; /* 1: key of the way back */
	__u16 pad;
};

struct flow {
	/* the tunnel that the flow was proven with (uplink entries) */
	struct address source;      /* base station */
	struct address destination; /* gateway */
	__u32 teid;                 /* network order */
	__u32 link;                 /* without the direction bit */
	__u8 action; /* ACTION_* */
	__u8 flags;  /* FLOW_* */
	__u16 service;
	__u32 generation; /* of the rules when decided */
	__u32 session;
	__u32 epoch;
	__u32 bearer; /* index into `bearers` for replies */
	__u32 last_seen; /* to a second: the cache in front does not write here */
	struct address translated; /* uplink: the endpoint; reply: the address that the UE knows */
	__u16 translated_port;     /* network order; the destination of an uplink, the source of a reply */
	__u16 translated_ue_port;  /* the UE's port as the other side knows it: the UE's own unless that is taken */
	__u16 l3_delta;            /* one's complement sums of what changes in the inner checksums: ~old + new */
	__u16 l4_delta;
	__u16 next_hop; /* index into `next_hops` */
	__u8 qfi;       /* reply: QFI that the uplink carried, 255 none; uplink: that it was decided with, 254 none */
	__u8 dscp;      /* that it was decided with */
	__u32 rule; /* rule.id that decided */
};

/* The other entry of a flow has the key {translated, ue, translated_port, translated_ue_port, protocol, !reply}. */

struct next_hop {
	__u16 port; /* index into `ports` */
	__u16 vlan; /* network order, 0 untagged; such flows are treated (never cached) */
	__u8 destination[6];
	__u8 source[6];
};

/* How a packet is changed that leaves by an output, or as a copy: see outlet.h. */
struct outlet {
	struct address source, destination; /* of the tunnel; source zero: OUTLET_GTPU leaves it */
	__u32 mtu;                          /* of the adapter, without its Ethernet header; 0 any */
	__u16 vlan;                         /* network order, 0 untagged */
	__u8 kind;                          /* OUTLET_PLAIN … */
	__u8 flags;                         /* OUTLET_V6 … */
	__u8 mac[12];                       /* destination and source */
	__u32 unused;
};

/* The classifier's image is an array of lines, 64 octets each (search.h). Its first two lines are roots: of the rules for
 * the uplink, and of those by which apps speak first. Numbers of lines count from the image's start. */
struct root {
	__u32 rules;
	__u32 outcomes;   /* line of the first rule's outcome */
	__u32 dimensions; /* that some rule says something about; a line for each, see struct dimension */
	__u32 first;      /* line of the first of them */
	__u32 unused[12];
};

#define LEVELS_MAX 11

/* How a dimension is searched: a tree over the ends of its intervals, the top level first. */
struct dimension {
	__u32 index;   /* DIMENSION_* */
	__u32 levels;
	__u32 any;     /* vector of the rules that say nothing here */
	__u32 own;     /* line of the first interval's vector of the rules that do: 16 to a line */
	__u32 level[LEVELS_MAX];
	__u32 unused;
};

/* A vector has one of these for every 4096 rules; its number counts them from the image's start, 0 is the empty vector. */
struct group {
	__u64 words; /* which of its 64 words are not zero */
	__u32 first; /* where those lie, one behind the other; counted in words from the image's start */
	__u32 unused;
};

/* What happens to a packet that a rule matches. */
struct outcome {
	struct address endpoint; /* of rules for apps: the address that the UE sees */
	__u32 id;
	__u32 members;       /* line of the first of its endpoints, where there are several: two to a line */
	__u32 slots;         /* line of the first of 256 slots, one octet each: which member */
	__u16 endpoint_port; /* network order, 0 keeps the port */
	__u16 service;
	__u16 next_hop;
	__u8 action; /* ACTION_* */
	__u8 flags;  /* RULE_* */
	__u32 unused[7];
};

/* One of several endpoints. */
struct member {
	struct address endpoint;
	__u16 port; /* network order, 0 keeps the port */
	__u16 next_hop;
	__u32 unused[3];
};

struct rules_header { /* `rules_state`: what the classifier reads first */
	__u32 generation;  /* the control plane raises it with every change of rules, mode or capture */
	__u32 count;
	__u32 cache_epoch; /* the programs raise it when what they cached may be wrong */
	__u32 cache_for;   /* jiffies that a cached decision holds; well below every idle time */
	__u32 flags;       /* RULES_* */
	__u32 fields;      /* of a packet, on which the decision about its flow depends: FIELD_* */
	__u32 names;       /* 1: `names` holds some */
};

struct name_key { /* as on the wire, in lower case, zero behind its end */
	__u64 words[NAME_MAX / 8];
};

struct name_server { /* who answers for those names */
	struct address address4, address6;
	__u16 port4, port6; /* network order, 0: nobody */
	__u32 waiting;      /* since when a query has had no answer, nor any after it; 0: all is well */
	__u64 unused;
};

/* What is done with the packets of a service beside its rule's action. Index: service. All zero: nothing. */
struct treatment {
	__u32 chain_up;   /* first function of the chain: key in `hops`, or CHAIN_* */
	__u32 chain_down;
	__u16 mirror_up;  /* numbers of its mirrors: see `mirrors`; 0 none */
	__u16 mirror_down;
	__u32 flags;      /* TREATMENT_* */
	__u64 rate_up;    /* nanoseconds that an octet takes at its rate, RATE_SHIFT binary places; 0 no limit */
	__u64 rate_down;
};

/* One function of a chain in one direction: how packets get there, and what comes after. Key: its VNI, host order. */
struct hop {
	struct address vnf; /* its tunnel end point: what it returns comes from there */
	__u32 next;         /* VNI of the next function that is up, CHAIN_NONE behind the last, CHAIN_BLOCKED */
	__u32 checksum;     /* IPv4: sum of the outer header with length, id and checksum zero */
	__u16 service;
	__u16 next_hop;      /* index into `next_hops` */
	__u8 flags;          /* HOP_* */
	__u8 header_length;  /* octets used in header, Ethernet in front */
	__u8 service_index;  /* NSH: as we send it */
	__u8 pad;
	__u8 header[HOP_HEADER_MAX]; /* lengths, identification, source port and inner type are filled in */
};

/* Our own end of all those tunnels. */
struct vtep {
	struct address address4, address6; /* zero: none */
	__u16 port;     /* VXLAN, network order */
	__u16 gpe_port; /* VXLAN-GPE, network order */
	__u32 mtu;      /* of the apps adapter */
};

/* What was decided about an IPv4 flow or tunnel a short time ago: one cache line, read without a lock. The truth
 * is in `flows` and `tunnels`; an entry that is missing, old or of another version costs only time. */
struct cached {
	__u64 key[4];   /* see cache.h */
	__u32 stamp;    /* when it was filled in */
	__u32 version;  /* rules_header.generation << 16 | cache_epoch & 0xffff */
	__u32 sequence; /* odd while being written */
	__u32 address;  /* translated, network order */
	__u32 ports;    /* translated: the transport header's first four octets */
	__u16 l3_delta, l4_delta;
	__u16 service;  /* 0: passes */
	__u16 next_hop; /* reply: QFI */
	__u32 bearer;
};

/* When did we last put a packet of ours into a downlink of this session, and into which of its slots ever? Apart from
 * `bearers` because every reply writes it: eight octets stay in reach where a million bearers do not. */
struct injection {
	__u32 at; /* jiffies, 0 never */
	__u32 slots;
};

#define CACHED_HEADER_MAX 64

/* The same for a reply, with its outer header: two adjacent cache lines hold all that the packet needs. */
struct cached_reply {
	__u64 key[2];
	__u32 stamp;
	__u32 version;
	__u32 sequence;
	__u32 session_version; /* of the bearer's session, see `session_versions` */
	__u32 bearer;
	__u32 address;
	__u32 ports;
	__u16 l3_delta, l4_delta;
	__u16 service;
	__u16 overhead;
	__u8 qfi;
	__u8 header_length;
	__u8 l3_offset;
	__u8 port_varies;
	__u32 psc;
	__u16 checksum;
	__u8 dataplane;
	__u8 pad;
	__u8 header[CACHED_HEADER_MAX];
};

struct config { /* one per data plane */
	__u32 mode; /* MODE_* */
	__u32 flags;
	__u32 mtu_access;  /* of the access adapter, for outer packets */
	__u32 mtu_core;
	__u64 ping_cookie; /* first eight octets of our echo requests' payload */
	struct address ping_target4, ping_target6;
	__u16 ping_id; /* network order */
	__u16 reserved_overhead; /* octets that the MSS clamp allows for on Ethernet, where another data plane's way is narrower */
	__u32 peer_sessions;     /* sessions one peer may have taught */
	__u32 learn_rate;        /* new tunnels per second and peer */
	__u32 learn_burst;
	__u32 ue_flows; /* flows one UE may have */
	__u8 return_mac[6]; /* near end of the return veth */
	__u8 own_mac[6]; /* shared mode: the adapter's */
	__u32 max_sessions;
};

struct peer { /* a base station or gateway that taught something */
	__u32 sessions;
	__u32 tokens;
	__u32 refilled;
	__u32 refused;
};

struct peer_key {
	struct address address;
	__u32 dataplane;
	__u32 core; /* 1: a gateway */
};

struct prefix_key { /* longest prefix match */
	__u32 length; /* 32 bits of set and data plane, then the address */
	__u32 set;    /* PREFIX_* << 8 | data plane, network order */
	struct address address;
};
#define PREFIX_ACCESS_PEER 1
#define PREFIX_CORE_PEER 2
#define PREFIX_UE_POOL 3
#define PREFIX_PROTECTED 4

struct fragment_key { /* inner or outer fragments of one packet */
	struct address source, destination;
	__u32 id; /* network order, IPv4 in the low 16 bits */
	__u32 link;
	__u32 protocol; /* | 256 for outer fragments */
	__u32 pad;
};

struct fragment {
	struct flow_key flow;
	__u32 outer; /* 1 pass, 2 slow */
	__u32 last_seen;
};

/* Precedes each frame on the slow port. An Ethernet header first, so that any tool shows it. */
struct slow_header {
	__u8 destination[6], source[6];
	__u16 protocol; /* ETH_P_SLOW, network order */
	__u8 op;        /* SLOW_* */
	__u8 port;      /* data plane */
	__u32 session;
	__u32 epoch;
	__u32 sequence; /* hold: number of replies; fragments: a token of the control plane, handed back with the frame */
	__u32 reason;   /* too big: the inner MTU; fragments: SLOW_REASON_* */
};
#define SLOW_REASON_TAKEN 0     /* a rule may take it */
#define SLOW_REASON_UNKNOWN 1   /* a later fragment came first */
#define SLOW_REASON_NOT_TAKEN 2 /* the reassembled packet is not taken: pass its fragments as they came */

struct event {
	__u8 type;
	__u8 dataplane;
	__u8 slot;
	__u8 cause; /* GTP-U message type that caused it, 255 G-PDU */
	__u32 session;
	__u32 epoch;
	__u32 teid; /* network order */
	__u64 time; /* ns, CLOCK_MONOTONIC */
	struct address ue;
	struct address base_station;
	struct address gateway;
};

/* Which inner destinations can matter to a rule? Written by the control plane through a mapping; see MAYBE_*.
 * IPv4 bucket: the upper 16 bits of the address. IPv6: 65536 + the two upper 16-bit groups xored. `host` likewise with
 * all 16-bit groups of the address xored. */
struct buckets {
	__u8 bucket[131072];
	__u8 host[131072];
};

struct slots { /* session slots never used so far begin at `next` */
	__u32 next;
	__u32 layout; /* LAYOUT_VERSION of the programs that made the maps */
};

struct clock {
	__u64 jiffies;
	__u64 time; /* ns, CLOCK_MONOTONIC */
};

struct counter { /* per CPU */
	__u64 packets;
	__u64 bytes;
};

#include "watching.h"

#endif
