/* Which question does each map answer?
 *
 * Sizes marked "resized" are set at load from `limits` in site.yaml.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_MAPS_H
#define OFFRAMP_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "structs.h"
#include "counters.gen.h"

#define COUNTERS_STRIDE 128
_Static_assert(COUNTER_COUNT <= COUNTERS_STRIDE, "raise COUNTERS_STRIDE");

/* How does this data plane behave? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_DATAPLANES);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

/* Which adapter is egress port N? The kernel empties a slot when its adapter goes. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, MAX_PORTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} ports SEC(".maps");

/* Which session has this UE address? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct session_key);
	__type(value, __u32);
} ue_sessions SEC(".maps");

/* What is known about the session in this slot? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

/* Which outer header leads to this session's base station, and which to its gateway? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024 * BEARER_SLOTS);
	__type(key, __u32);
	__type(value, struct bearer);
} bearers SEC(".maps");

/* When did a packet of ours last go down this session's tunnels? Index: session slot. (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct injection);
} injections SEC(".maps");

/* Whose tunnel is this? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 3072);
	__type(key, struct tunnel_key);
	__type(value, struct tunnel);
} tunnels SEC(".maps");

/* Which session slot is free again? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024);
	__uint(key_size, 0);
	__uint(value_size, sizeof(__u32));
} free_slots SEC(".maps");

/* Which session slot was never used? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slots);
} slot_state SEC(".maps");

/* What time is it in jiffies? Written by the program `read_clock`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clock);
} clock SEC(".maps");

/* What was decided about this flow, and how is it translated? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* Whose is this fragment? */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct image { /* of the classifier */
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct root));
};

/* What was decided lately? Sets of two. (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* for its alignment: an entry is one cache line */
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct cached);
} cache SEC(".maps");

/* What was decided lately about replies? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct cached_reply);
} reply_cache SEC(".maps");

/* How often has a bearer of this session changed? Index: session slot & SESSION_VERSIONS - 1. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SESSION_VERSIONS);
	__type(key, __u32);
	__type(value, __u32);
} session_versions SEC(".maps");

/* Which rules are in force? Swapped whole. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct image);
} rules SEC(".maps");

/* Does the platform's name server answer for this name? */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_NAMES);
	__type(key, struct name_key);
	__type(value, __u8);
} names SEC(".maps");

/* … and where is it? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct name_server);
} name_server SEC(".maps");

/* How many rules, and since when? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rules_header);
} rules_state SEC(".maps");

/* Can this inner destination matter at all? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct buckets);
} maybe SEC(".maps");

/* Is this address a configured peer, in a UE pool, protected? */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct prefix_key);
	__type(value, __u8);
} prefixes SEC(".maps");

/* How much has this base station, gateway or station taught? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct peer_key);
	__type(value, struct peer);
} peers SEC(".maps");

/* Which program treats frames that come back from the slow port for data plane N? The last: replies. */
#define FROM_SLOW_REPLY MAX_DATAPLANES
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MAX_DATAPLANES + 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} from_slow_programs SEC(".maps");

/* What else is done with this service's packets? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct treatment);
} treatments SEC(".maps");

/* When would this service have sent all that it has sent, had it kept to its rate? Nanoseconds of the monotonic clock.
 * Index: service * 2, + 1 downlink. (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, __u64);
} meters SEC(".maps");

/* The adapter of an egress port, and the one that gets a copy. */
struct mirror_pair {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_devmap_val));
};

/* Which two adapters get what leaves by this port and is copied by this mirror? Index: mirror * MAX_PORTS + port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_MIRRORS * MAX_PORTS);
	__type(key, __u32);
	__array(values, struct mirror_pair);
} mirrors SEC(".maps");

/* How is this endpoint reached? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct next_hop);
} next_hops SEC(".maps");

/* How does a packet leave by this output? Index: as in `next_hops`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct outlet);
} outlets SEC(".maps");

/* How is the copy changed that leaves by this mirror? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_MIRRORS);
	__type(key, __u32);
	__type(value, struct outlet);
} copies SEC(".maps");

/* How does a packet get to the function with this VNI, and what comes behind it? (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct hop);
} hops SEC(".maps");

/* Where do functions send to? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vtep);
} vtep SEC(".maps");

/* How often did it happen, per data plane? Index: data plane * COUNTERS_STRIDE + COUNTER_*. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_DATAPLANES * COUNTERS_STRIDE);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

/* How much has this service carried? Index: service * 2, + 1 downlink. (resized) */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, struct counter);
} service_counters SEC(".maps");

/* What does the control plane have to know? */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* What does somebody want to see? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct capture);
} capture SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} captured SEC(".maps");

/* Whose fate does somebody want to see? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct monitor);
} monitor SEC(".maps");

/* How often did it happen, by verdict, service and rule, while somebody looked? Takes no memory before. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct tally_key);
	__type(value, struct tally);
} tallies SEC(".maps");

/* Which packets were these? */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
} verdicts SEC(".maps");

/* Where does a flow lie until it is entered? The stack is too small for two. */
struct flow_pair {
	struct flow uplink, reply;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_pair);
} flow_scratch SEC(".maps");

#define SNAP_MAX 2048
struct scratch {
	struct capture_record record;
	__u8 octets[SNAP_MAX];
};

/* Where does a packet lie while it is copied? */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

#endif
