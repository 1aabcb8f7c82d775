/* structs.h, continued: what do those who look see, byte by byte? Captures and verdicts.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_WATCHING_H
#define OFFRAMP_WATCHING_H

#include "structs.h"

struct capture { /* what to copy to the capture ring; all zero: nothing */
	__u32 enabled; /* bit 0 outer frames, bit 1 inner packets */
	__u32 snap;    /* octets */
	__u32 teid;    /* network order, 0 any */
	__u32 pad;
	struct address ue; /* zero any */
};

struct monitor { /* which verdicts to report; all zero: none */
	__u32 enabled; /* MONITOR_* */
	__u32 service; /* 0 any */
	struct address ue;   /* zero any */
	__u64 verdicts[2];   /* bit set of COUNTER_* */
};

struct tally_key { /* what is told apart */
	__u8 dataplane;
	__u8 way;     /* WAY_* */
	__u8 verdict; /* COUNTER_* */
	__u8 pad;
	__u32 service;
	__u32 rule; /* rule.id, 0 none or not known */
};

struct tally {
	__u64 packets;
	__u64 bytes;
	__u32 shown; /* jiffies at which a packet was last described; with it a record comes once a second */
	__u32 pad;
};

/* One packet and what became of it. What was not read is zero. */
struct verdict_record {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	struct address source, destination; /* outer, valid with `outer` */
	struct address ue, remote;          /* inner, valid unless inner_v6 is 2 */
	__u32 teid;                         /* network order */
	__u32 link;                         /* as in struct packet */
	__u32 psc;                          /* as on the wire */
	__u32 octets;
	__u32 service;
	__u32 rule;
	__u16 ue_port, remote_port; /* network order */
	__u8 dataplane;
	__u8 way;
	__u8 verdict;
	__u8 outer;
	__u8 inner_v6;
	__u8 protocol;
	__u8 dscp;
	__u8 tcp_flags;
	__u8 message; /* GTP-U */
	__u8 pad[3];
};

struct capture_record { /* followed by `captured` octets */
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u32 length, captured;
	__u8 dataplane, port, verdict, inner; /* verdict: COUNTER_*; port: PORT_* of the side that it belongs to */
	__u32 service;
};

#endif
