/* How does a packet leave that does not stay on its way?
 *
 *   any frame, its IP packet (outer or inner) at `at`
 *     plain   Ethernet (tag) · IP packet
 *     gre     Ethernet (tag) · IP · GRE · IP packet                                  RFC 2784
 *     gtp-u   Ethernet (tag) · IP packet, whose addresses are those of the outlet
 *
 * `struct outlet` says it, for an output of rules (beside its `next_hop`), and for what a mirror copies.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_OUTLET_H
#define OFFRAMP_OUTLET_H

#include "mirror.h"
#include "chain.h"
#include "translate.h"

#define PROTO_GRE 47
#define TUNNEL_TTL 64

/* Headers at work; the stack is too small. */
struct wrapping {
	__u8 ethernet[24];
	__u8 ip[48]; /* of the packet that is carried, or of the tunnel */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wrapping);
} wrappings SEC(".maps");

INLINE struct outlet *outlet_at(__u32 next_hop)
{
	return bpf_map_lookup_elem(&outlets, &next_hop);
}

/* Octets that the outlet's tunnel adds to a packet. */
INLINE __u32 outlet_overhead(const struct outlet *o)
{
	if (o->kind != OUTLET_GRE)
		return 0;
	return o->flags & OUTLET_V6 ? 44 : 24;
}

/* The IP packet at `at`, UDP inside, gets other addresses. A UDP checksum of 0 stays 0 (over IPv6: RFC 6935). */
INLINE int rewrite_ends(struct xdp_md *ctx, const struct outlet *o, __u32 at, __u8 *h)
{
	struct address *ends = (struct address *)(h + 8), to[2];
	__u16 *checksum;
	__u32 delta;

	if (bpf_xdp_load_bytes(ctx, at, h, 28))
		return 0;
	int has_source = (o->source.hi | o->source.lo) != 0;
	if (h[0] >> 4 == 4) {
		__u32 *words = (__u32 *)h;
		__u32 source = has_source ? mapped_ipv4(&o->source) : words[3], destination = mapped_ipv4(&o->destination);
		if (o->flags & OUTLET_V6)
			return 0;
		delta = fold((__u64)(__u32)~words[3] + (__u32)~words[4] + source + destination);
		words[3] = source;
		words[4] = destination;
		*(__u16 *)(h + 10) = update_checksum(*(__u16 *)(h + 10), delta);
		checksum = (__u16 *)(h + 26);
	} else {
		if (!(o->flags & OUTLET_V6) || bpf_xdp_load_bytes(ctx, at, h, 48))
			return 0;
		to[0] = has_source ? o->source : ends[0];
		to[1] = o->destination;
		delta = fold((__u64)delta_address(&ends[0], &to[0]) + delta_address(&ends[1], &to[1]));
		ends[0] = to[0];
		ends[1] = to[1];
		checksum = (__u16 *)(h + 46);
	}
	if (*checksum) {
		*checksum = update_checksum(*checksum, delta);
		if (!*checksum)
			*checksum = 0xffff;
	}
	return !(o->flags & OUTLET_V6 ? bpf_xdp_store_bytes(ctx, at, h, 48) : bpf_xdp_store_bytes(ctx, at, h, 28));
}

/* The outlet's tunnel header, in front of a packet of `length` octets that begins with `first`. Its octets are at 14 (18). */
INLINE int store_gre(struct xdp_md *ctx, const struct outlet *o, __u32 at, __u32 first, __u32 length, __u8 *h)
{
	memset(h, 0, 48);
	__u32 inner_v6 = (first & 0xf0) == 0x60;
	__u32 traffic = inner_v6 ? (first & 15) << 4 | (first >> 12 & 15) : first >> 8 & 0xff;
	__u16 type = inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);

	if (o->flags & OUTLET_V6) {
		*(__u32 *)h = bpf_htonl(6 << 28 | traffic << 20);
		*(__u16 *)(h + 4) = bpf_htons((__u16)(length + 4));
		h[6] = PROTO_GRE;
		h[7] = TUNNEL_TTL;
		memcpy(h + 8, &o->source, 16);
		memcpy(h + 24, &o->destination, 16);
		*(__u16 *)(h + 42) = type;
		return !bpf_xdp_store_bytes(ctx, at, h, 44);
	}
	h[0] = 0x45;
	h[1] = traffic;
	*(__u16 *)(h + 2) = bpf_htons((__u16)(length + 24));
	*(__u16 *)(h + 4) = (__u16)bpf_get_prandom_u32();
	h[8] = TUNNEL_TTL;
	h[9] = PROTO_GRE;
	*(__u32 *)(h + 12) = mapped_ipv4(&o->source);
	*(__u32 *)(h + 16) = mapped_ipv4(&o->destination);
	*(__u16 *)(h + 10) = ~(__u16)sum_ipv4(h);
	*(__u16 *)(h + 22) = type;
	return !bpf_xdp_store_bytes(ctx, at, h, 24);
}

/* Makes the frame one for the outlet. `at`: of the IP packet that is carried; 0: none, only the Ethernet header may change.
 * Returns 0 when it cannot be done. */
GLOBAL int wrap(struct xdp_md *ctx, struct outlet *o, __u32 at)
{
	__u32 zero = 0;
	struct wrapping *w = bpf_map_lookup_elem(&wrappings, &zero);

	if (!o || !w || at > 1024 || at < 14 || bpf_xdp_load_bytes(ctx, at, w->ip, 8) ||
	    bpf_xdp_load_bytes(ctx, 0, w->ethernet, 12))
		return 0;
	__u8 *h = w->ethernet;
	__u32 first = *(__u32 *)w->ip, kind = o->kind, v6 = (first & 0xf0) == 0x60;
	__u32 length = v6 ? bpf_ntohs(*(__u16 *)(w->ip + 4)) + 40 : bpf_ntohs((__u16)(first >> 16));
	if (kind == OUTLET_GTPU && !rewrite_ends(ctx, o, at, w->ip))
		return 0;
	if (!(o->flags & OUTLET_OWN_MACS))
		memcpy(h, o->mac, 12);
	__u32 tag = o->vlan ? 4 : 0, more = outlet_overhead(o);
	__u16 type = bpf_htons(ETH_P_IP);
	if (kind == OUTLET_GRE ? o->flags & OUTLET_V6 : v6)
		type = bpf_htons(ETH_P_IPV6);
	if (bpf_xdp_adjust_head(ctx, (int)at - (int)(14 + tag + more)))
		return 0;
	if (tag) {
		*(__u16 *)(h + 12) = bpf_htons(ETH_P_8021Q);
		*(__u16 *)(h + 14) = o->vlan;
		*(__u16 *)(h + 16) = type;
		if (bpf_xdp_store_bytes(ctx, 0, h, 18))
			return 0;
	} else {
		*(__u16 *)(h + 12) = type;
		if (bpf_xdp_store_bytes(ctx, 0, h, 14))
			return 0;
	}
	return kind != OUTLET_GRE || store_gre(ctx, o, 14 + tag, first, length, w->ip);
}

/* Can a packet be sent by this outlet at the moment? `p`: as it was read; its tunnel goes with it where it is forwarded. */
INLINE int has_way(__u32 next_hop, __u32 action, const struct packet *p)
{
	struct outlet *o = outlet_at(next_hop);

	if (!o || o->flags & OUTLET_UNKNOWN)
		return 0;
	if (action != ACTION_FORWARD || o->kind != OUTLET_GTPU)
		return 1;
	return !p->ethernet && !p->v6 == !(o->flags & OUTLET_V6);
}

/* The largest TCP segment that fits the outlet's tunnel, `limit` where that is smaller. */
INLINE __u32 outlet_mss(const struct flow *f, __u32 limit, int inner_v6)
{
	struct outlet *o = f->flags & FLOW_TREATED && f->action == ACTION_ROUTE ? outlet_at(f->next_hop) : 0;

	if (!o || o->kind != OUTLET_GRE)
		return limit;
	__u32 headers = outlet_overhead(o) + (inner_v6 ? 60 : 40);
	__u32 fits = o->mtu > headers + 88 ? o->mtu - headers : 88;
	return fits < limit ? fits : limit;
}

/* The frame leaves by an output: its IP packet is at `at`; all that stands before makes room. `where`: data plane << 16 |
 * COUNTER_* that it counts as; `mirror`: of the service, in this direction. */
GLOBAL int leave_by(struct xdp_md *ctx, __u32 next_hop, __u32 at, __u32 where, __u32 mirror)
{
	struct outlet *o = outlet_at(next_hop);
	struct next_hop *hop = bpf_map_lookup_elem(&next_hops, &next_hop);
	__u32 octets = bpf_xdp_get_buff_len(ctx) - at, dataplane = where >> 16, dropped = 0;

	if (!o || !hop || o->flags & OUTLET_UNKNOWN)
		dropped = COUNTER_DROP_REDIRECT;
	else if (o->mtu && octets + outlet_overhead(o) > o->mtu)
		dropped = COUNTER_DROP_TOO_BIG;
	else if (!(o->flags & OUTLET_AS_IS) && !wrap(ctx, o, at))
		dropped = COUNTER_DROP_TAKEN_MALFORMED;
	if (dropped || !hop) {
		ends_in(ctx, dataplane, dropped, octets);
		return XDP_DROP;
	}
	ends_in(ctx, dataplane, where & 0xffff, octets);
	int verdict = leave(ctx, hop->port, XDP_DROP, mirror);
	if (verdict != XDP_REDIRECT)
		ends_in(ctx, dataplane, COUNTER_DROP_REDIRECT, octets);
	return verdict;
}

/* The name that a packet of this flow counts by, on its way out. */
INLINE __u32 taken_as(const struct flow *f)
{
	if (f->action == ACTION_THROUGH)
		return COUNTER_PASS_TREATED;
	if (f->action == ACTION_FORWARD)
		return COUNTER_TAKE_FORWARDED;
	return f->action == ACTION_ROUTE ? COUNTER_TAKE_ROUTED : COUNTER_TAKE_UPLINK;
}

/* Whole, with its tunnel. */
INLINE int forward(struct xdp_md *ctx, const struct packet *p, __u32 next_hop, __u32 mirror)
{
	return leave_by(ctx, next_hop, p->l3, DATAPLANE << 16 | COUNTER_TAKE_FORWARDED, mirror);
}

#endif
