/* What does every step need? Counting, the wire, the slow port, events, prefixes, the session lock.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_COMMON_H
#define OFFRAMP_COMMON_H

#include "packet.h"

/* Which data plane do the programs of this load serve? Set before loading. */
const volatile __u32 DATAPLANE = 0;
/* Jiffies per second; measured by the loader with the program `read_clock`. */
const volatile __u32 HZ = 250;

#define XDP_PASS_TO_BRIDGE XDP_PASS /* redirect's answer when the opposite port is gone */

INLINE __u32 now(void)
{
	return (__u32)bpf_jiffies64();
}

/* The distance of two packet pointers. The verifier wants pointers whole: no 32-bit halves of them. */
INLINE __u64 distance(void *from, void *to)
{
	__u64 a = (__u64)from, b = (__u64)to;

	asm volatile("" : "+r"(a), "+r"(b));
	b -= a;
	asm volatile("" : "+r"(b));
	return b;
}

/* Is `*value` at least `least` and at most `most`? Said in a form that every verifier follows: clang compares a copy from which
 * `least` is taken, or writes "less than 1" as "is 0", and Linux 6.1 learns nothing about the value from either. */
INLINE int within(__u32 *value, __u32 least, __u32 most)
{
	__u32 beyond = *value - least;

	asm volatile("" : "+r"(beyond));
	if (beyond > most - least)
		return 0;
	asm volatile("" : "+r"(beyond)); /* the sum is made after the check */
	*value = least + beyond;
	return 1;
}

/* `index` below `size`, a power of two. clang leaves such a mask out where it knows better; Linux 6.1 does not know what a
 * change of byte order leaves. */
INLINE __u32 below(__u32 size, __u32 index)
{
	asm volatile("" : "+r"(index));
	return index & (size - 1);
}

/* Octets of the frame's first buffer: what the counters of bytes count. */
INLINE __u64 frame_length(struct xdp_md *ctx)
{
	return distance((void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

/* Returns the packet's number on this CPU. */
INLINE __u32 count_in(__u32 dataplane, __u32 counter, __u32 octets)
{
	__u32 index = (dataplane & (MAX_DATAPLANES - 1)) * COUNTERS_STRIDE + (counter & (COUNTERS_STRIDE - 1));
	struct counter *c = bpf_map_lookup_elem(&counters, &index);

	if (!c)
		return 0;
	c->bytes += octets;
	return ++c->packets;
}

INLINE void count(__u32 counter, __u32 octets)
{
	count_in(DATAPLANE, counter, octets);
}

/* Returns the packet's number on this CPU. */
INLINE __u32 count_service(__u32 service, int downlink, __u32 octets)
{
	__u32 index = service * 2 + downlink;
	struct counter *c = bpf_map_lookup_elem(&service_counters, &index);

	if (!c)
		return 0;
	c->bytes += octets;
	return ++c->packets;
}

INLINE struct config *config_of(__u32 dataplane)
{
	return bpf_map_lookup_elem(&config, &dataplane);
}

INLINE __u32 tunnel_link(__u32 dataplane, const struct packet *p, int uplink)
{
	return dataplane << 25 | (uplink ? 1 << 24 : 0) | p->link;
}

/* IPv6 sessions are /64 prefixes, but on Ethernet, where many stations share one. */
INLINE void session_key_of(struct session_key *key, const struct address *ue, int v6)
{
	key->ue.hi = ue->hi;
	key->ue.lo = v6 ? 0 : ue->lo;
}

INLINE int prefix_has(__u32 set, __u32 dataplane, const struct address *a)
{
	struct prefix_key key = {.length = 160, .set = bpf_htonl(set << 8 | dataplane), .address = *a};

	return bpf_map_lookup_elem(&prefixes, &key) != 0;
}

INLINE __u32 bucket_of(const struct address *a, int v6)
{
	if (!v6)
		return bpf_ntohs((__u16)(a->lo >> 32));
	return MAYBE_V6 + bpf_ntohs((__u16)a->hi ^ (__u16)(a->hi >> 16));
}

INLINE __u32 host_bucket_of(const struct address *a, int v6)
{
	__u64 x = v6 ? a->hi ^ a->lo : a->lo >> 32;

	x ^= x >> 32;
	x ^= x >> 16;
	return (v6 ? MAYBE_V6 : 0) + bpf_ntohs((__u16)x);
}

/* The octet of MAYBE_* that holds for this inner destination. */
INLINE __u32 maybe_of(const struct address *a, int v6)
{
	__u32 zero = 0;
	struct buckets *b = bpf_map_lookup_elem(&maybe, &zero);

	if (!b)
		return 0;
	__u32 m = b->bucket[below(1 << 17, bucket_of(a, v6))];
	if (m & (MAYBE_RULE_HOST | MAYBE_TREATED_HOST)) {
		__u32 host = b->host[below(1 << 17, host_bucket_of(a, v6))];
		if (m & MAYBE_RULE_HOST && host & HOST_RULE)
			m |= MAYBE_RULE;
		if (m & MAYBE_TREATED_HOST && host & HOST_TREATED)
			m |= MAYBE_TREATED;
	}
	return m;
}

/* Learning takes this lock; whoever finds it taken leaves the lesson to the next packet. */
INLINE int lock_session(struct session *s)
{
	__u32 v = *(volatile __u32 *)&s->sequence;

	return !(v & 1) && __sync_val_compare_and_swap(&s->sequence, v, v + 1) == v;
}

INLINE void unlock_session(struct session *s)
{
	__sync_fetch_and_add(&s->sequence, 1);
}

INLINE struct session *session_at(__u32 index)
{
	return bpf_map_lookup_elem(&sessions, &index);
}

/* Which session has this address, on whatever data plane? Returns its slot, or 0. */
INLINE __u32 *find_session(const struct address *ue, int v6)
{
	struct session_key key;

	session_key_of(&key, ue, v6);
	__u32 *slot = bpf_map_lookup_elem(&ue_sessions, &key);
	if (slot || !v6)
		return slot;
	key.ue.lo = ue->lo;
	return bpf_map_lookup_elem(&ue_sessions, &key);
}

INLINE struct bearer *bearer_at(__u32 session, __u32 slot)
{
	__u32 index = session * BEARER_SLOTS + slot;

	return bpf_map_lookup_elem(&bearers, &index);
}

INLINE struct injection *injection_of(__u32 session)
{
	return bpf_map_lookup_elem(&injections, &session);
}

INLINE void tell(__u32 type, const struct session *s, __u32 index, const struct packet *p, __u32 slot, __u32 cause)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count(COUNTER_NOTE_EVENT_LOST, 0);
		return;
	}
	e->type = type;
	e->dataplane = s ? s->dataplane : DATAPLANE;
	e->slot = slot;
	e->cause = cause;
	e->session = index;
	e->epoch = s ? s->epoch : 0;
	e->teid = p ? p->teid : 0;
	e->time = bpf_ktime_get_ns();
	if (p)
		e->ue = p->ue;
	else if (s)
		e->ue = s->ue;
	else
		e->ue.hi = e->ue.lo = 0;
	if (s) {
		e->base_station = s->base_station;
		e->gateway = s->gateway;
	} else {
		e->base_station.hi = e->base_station.lo = e->gateway.hi = e->gateway.lo = 0;
	}
	bpf_ringbuf_submit(e, 0);
}

/* What is done with this flow beside its action, 0 nothing. */
INLINE struct treatment *treatment_of(const struct flow *f)
{
	__u32 index = f->service;

	return f->flags & FLOW_TREATED ? bpf_map_lookup_elem(&treatments, &index) : 0;
}

INLINE int slow_present(void)
{
	__u32 port = PORT_SLOW;

	return bpf_map_lookup_elem(&ports, &port) != 0;
}

/* To the control plane's TAP, behind a struct slow_header. Returns XDP_REDIRECT, or 0 and the frame is as it was. */
INLINE int slow(struct xdp_md *ctx, __u32 op, __u32 dataplane, __u32 session, __u32 epoch, __u32 token, __u32 reason)
{
	if (bpf_redirect_map(&ports, PORT_SLOW, 0) != XDP_REDIRECT)
		return 0;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct slow_header)))
		return 0;
	struct slow_header *h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end)
		return 0;
	memset(h->destination, 2, 6);
	memset(h->source, 2, 6);
	h->protocol = bpf_htons(ETH_P_SLOW);
	h->op = op;
	h->port = dataplane;
	h->session = session;
	h->epoch = epoch;
	h->sequence = token;
	h->reason = reason;
	return XDP_REDIRECT;
}

#endif
