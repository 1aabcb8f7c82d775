/* What happens to the packet that looks like the one before?
 *
 * The short way for IPv4 in IPv4: whatever is not plain, or not in the cache, returns SLOW_WAY and takes the general path
 * (uplink.h, downlink.h, reply.h), which decides and fills the cache. Nothing is changed before it is certain.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_FAST_H
#define OFFRAMP_FAST_H

#include "cache.h"
#include "translate.h"

#define SLOW_WAY (-1)

/* A G-PDU of plain shape, read into registers. */
struct plain {
	void *inner;
	__u64 ends; /* source, destination */
	__u64 tunnel;
	__u32 source, destination; /* inner */
	__u32 length;              /* T-PDU */
	__u32 offset;              /* of the T-PDU */
	__u32 psc;
};

/* Returns 0 unless the frame is an unfragmented G-PDU, IPv4 in IPv4, with no extension header but one short PDU Session
 * Container, all in its first buffer. */
INLINE int parse_fast(struct xdp_md *ctx, struct plain *g, int uplink)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *c = data + 14;
	__u32 link = 0;

	if (c + 64 > end)
		return 0;
	__u16 type = *(__u16 *)(data + 12);
	if (type != bpf_htons(ETH_P_IP)) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			return 0;
		link = (be16(c) & 0xfff) << 12;
		type = *(__u16 *)(c + 2);
		c += 4;
		if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)) {
			link |= be16(c) & 0xfff;
			type = *(__u16 *)(c + 2);
			c += 4;
		}
		if (type != bpf_htons(ETH_P_IP) || c + 64 > end)
			return 0;
	}
	__u32 total = be16(c + 2);
	if (*(__u8 *)c != 0x45 || *(__u8 *)(c + 9) != PROTO_UDP || *(__u16 *)(c + 6) & bpf_htons(0x3fff) ||
	    *(__u16 *)(c + 22) != bpf_htons(GTPU_PORT) || be16(c + 24) + 20 != total)
		return 0;
	__u16 head = *(__u16 *)(c + 28);
	__u32 header = 8;
	if ((head & 0xfff0) != (GTPU_G_PDU << 8 | 0x30) || be16(c + 30) + 36 != total)
		return 0;
	g->psc = 0;
	if (head & 7) {
		header = 12;
		if (head & GTPU_FLAG_E && *(__u8 *)(c + 39)) {
			__u32 psc = *(__u32 *)(c + 40);
			if (*(__u8 *)(c + 39) != GTPU_EXT_PSC || (psc & 0xff) != 1 || psc >> 24 || (!uplink && psc & 0x800000))
				return 0;
			g->psc = psc & 0x3ff0ff;
			header = 16;
		}
	}
	if (c + total > end)
		return 0;
	g->ends = *(__u32 *)(c + 12) | (__u64)*(__u32 *)(c + 16) << 32;
	g->tunnel = *(__u32 *)(c + 32) | (__u64)(DATAPLANE << 25 | link) << 32;
	g->offset = distance(data, c) + 28 + header;
	g->length = total - 28 - header;
	c += 28 + header;
	if (c + 28 > end || *(__u8 *)c != 0x45)
		return 0;
	g->inner = c;
	g->source = *(__u32 *)(c + 12);
	g->destination = *(__u32 *)(c + 16);
	return 1;
}

/* Is the IPv4 packet at `c`, `length` octets long, plain TCP or UDP that nothing has to be noted about? */
INLINE int plain_transport(const void *c, const void *end, __u32 length)
{
	__u32 words = *(__u32 *)(c + 4), more = *(__u32 *)(c + 8);

	/* no fragment; TTL at least 2; checksum */
	if (be16(c + 2) != length || words & bpf_htonl(0x3fff) || (more & 0xff) < 2 || sum_ipv4(c) != 0xffff)
		return 0;
	__u8 protocol = more >> 8;
	if (protocol == PROTO_UDP)
		return be16(c + 24) + 20 == length;
	if (protocol != PROTO_TCP || c + 40 > end)
		return 0;
	__u16 flags = *(__u16 *)(c + 32); /* data offset, flags */
	__u32 header = (flags >> 4 & 15) * 4;
	return header >= 20 && header + 20 <= length && !(flags >> 8 & (TCP_FIN | TCP_SYN | TCP_RST));
}

/* What an entry says, taken out of it. */
struct verdict {
	__u32 address, ports, deltas, service, next_hop;
};

INLINE int read_verdict(struct verdict *v, const struct cached *f, __u32 sequence)
{
	v->address = f->address;
	v->ports = f->ports;
	v->deltas = *(const __u32 *)&f->l3_delta; /* l3 in the low half, l4 in the high one */
	__u32 last = *(const __u32 *)&f->service;
	v->service = last & 0xffff;
	v->next_hop = last >> 16;
	return cache_kept(f, sequence);
}

/* Rewrites an IPv4 packet with plain TCP or UDP. `up`: its destination, else its source. */
INLINE int translate_fast(void *c, void *end, const struct verdict *v, __u32 protocol, int up)
{
	*(__u32 *)(c + (up ? 16 : 12)) = v->address;
	*(__u16 *)(c + 10) = update_checksum(*(__u16 *)(c + 10), v->deltas & 0xffff);
	*(__u32 *)(c + 20) = v->ports;
	if (protocol == PROTO_TCP) {
		if (c + 38 > end)
			return 0;
		*(__u16 *)(c + 36) = update_checksum(*(__u16 *)(c + 36), v->deltas >> 16);
	} else if (*(__u16 *)(c + 26)) {
		__u16 checksum = update_checksum(*(__u16 *)(c + 26), v->deltas >> 16);
		*(__u16 *)(c + 26) = checksum ? checksum : 0xffff;
	}
	return 1;
}

INLINE int wire_fast(struct xdp_md *ctx, int uplink, __u32 counter)
{
	count(counter, frame_length(ctx));
	return bpf_redirect_map(&ports, uplink ? PORT_CORE(DATAPLANE) : PORT_ACCESS(DATAPLANE), XDP_PASS_TO_BRIDGE);
}

/* Is this IPv4 packet perhaps a query for a name? */
INLINE int may_be_query(const struct rules_header *h, const void *c)
{
	return h->names && *(__u8 *)(c + 9) == PROTO_UDP && *(__u16 *)(c + 22) == bpf_htons(53);
}

INLINE int fast_uplink(struct xdp_md *ctx)
{
	struct plain g;
	struct cache_key key;
	__u32 zero = 0, sequence, t = now();
	struct cached *f;

	if (!parse_fast(ctx, &g, 1))
		return SLOW_WAY;
	struct rules_header *h = bpf_map_lookup_elem(&rules_state, &zero);
	struct buckets *b = bpf_map_lookup_elem(&maybe, &zero);
	if (!h || !b)
		return SLOW_WAY;
	__u32 m = b->bucket[below(1 << 16, bpf_ntohs((__u16)g.destination))];
	if (m & MAYBE_PROTECTED)
		return SLOW_WAY;
	if (!(m & (MAYBE_RULE | MAYBE_RULE_HOST)) ||
	    ((m & (MAYBE_RULE | MAYBE_RULE_HOST)) == MAYBE_RULE_HOST &&
	     !(b->host[below(1 << 16, bpf_ntohs((__u16)(g.destination ^ g.destination >> 16)))] & HOST_RULE))) {
		key.k[0] = g.ends;
		key.k[1] = g.tunnel;
		key.k[2] = word_pair(g.source, KIND_TUNNEL_UP);
		key.k[3] = 0;
		if (may_be_query(h, g.inner))
			return SLOW_WAY;
		f = cache_find(&key, h, t, &sequence);
		return f && cache_kept(f, sequence) ? wire_fast(ctx, 1, COUNTER_PASS_NO_RULE) : SLOW_WAY;
	}
	void *end = (void *)(long)ctx->data_end;
	if (!plain_transport(g.inner, end, g.length))
		return SLOW_WAY;
	__u32 protocol = *(__u8 *)(g.inner + 9);
	key.k[0] = g.ends;
	key.k[1] = g.tunnel;
	key.k[2] = word_pair(g.source, g.destination);
	key.k[3] = word_pair(*(__u32 *)(g.inner + 20), protocol | KIND_FLOW << 8);
	if (h->fields)
		key.k[3] |= (__u64)decided_by(h, *(__u8 *)(g.inner + 1) >> 2, g.psc ? g.psc >> 16 & 0x3f : NO_QFI) << 32;
	f = cache_find(&key, h, t, &sequence);
	if (!f)
		return SLOW_WAY;
	struct verdict v;
	if (!read_verdict(&v, f, sequence))
		return SLOW_WAY;
	if (!v.service && may_be_query(h, g.inner))
		return SLOW_WAY;
	if (!v.service)
		return wire_fast(ctx, 1, COUNTER_PASS_NO_RULE);
	__u32 index = v.next_hop;
	struct next_hop *hop = bpf_map_lookup_elem(&next_hops, &index);
	if (!hop)
		return SLOW_WAY;
	int padding = (int)frame_length(ctx) - (int)(g.offset + g.length);
	if (padding > 0 && bpf_xdp_adjust_tail(ctx, -padding))
		return drop_fast(ctx, DATAPLANE, COUNTER_DROP_TAKEN_MALFORMED, g.length, v.service, WAY_UPLINK);
	if (bpf_xdp_adjust_head(ctx, (int)g.offset - 14))
		return drop_fast(ctx, DATAPLANE, COUNTER_DROP_TAKEN_MALFORMED, g.length, v.service, WAY_UPLINK);
	void *data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 42 > end || !translate_fast(data + 14, end, &v, protocol, 1))
		return drop_fast(ctx, DATAPLANE, COUNTER_DROP_TAKEN_MALFORMED, g.length, v.service, WAY_UPLINK);
	*(__u64 *)data = *(__u64 *)hop->destination;
	*(__u32 *)(data + 8) = *(__u32 *)(hop->destination + 8);
	*(__u16 *)(data + 12) = bpf_htons(ETH_P_IP);
	count(COUNTER_TAKE_UPLINK, g.length);
	count_service(v.service, 0, g.length);
	int verdict = bpf_redirect_map(&ports, hop->port, XDP_DROP);
	if (verdict != XDP_REDIRECT)
		drop_fast(ctx, DATAPLANE, COUNTER_DROP_REDIRECT, g.length, v.service, WAY_UPLINK);
	return verdict;
}

/* May packets of the core from this address have a treatment? */
INLINE int may_be_treated(__u32 source)
{
	__u32 zero = 0;
	struct buckets *b = bpf_map_lookup_elem(&maybe, &zero);

	if (!b)
		return 1;
	__u32 m = b->bucket[below(1 << 16, bpf_ntohs((__u16)source))];
	return m & MAYBE_TREATED ||
	       (m & MAYBE_TREATED_HOST && b->host[below(1 << 16, bpf_ntohs((__u16)(source ^ source >> 16)))] & HOST_TREATED);
}

INLINE int fast_downlink(struct xdp_md *ctx)
{
	struct plain g;
	struct cache_key key;
	__u32 sequence, t = now();

	if (!parse_fast(ctx, &g, 0) || *(__u8 *)(g.inner + 9) == PROTO_ICMP)
		return SLOW_WAY;
	struct rules_header *h = rules_head();
	if (!h || (h->flags & RULES_THROUGH && may_be_treated(g.source)))
		return SLOW_WAY;
	key.k[0] = g.ends;
	key.k[1] = g.tunnel;
	key.k[2] = word_pair(g.destination, KIND_TUNNEL_DOWN);
	key.k[3] = g.psc;
	struct cached *f = cache_find(&key, h, t, &sequence);
	if (!f)
		return SLOW_WAY;
	__u32 index = f->bearer;
	if (!cache_kept(f, sequence))
		return SLOW_WAY;
	struct injection *ours = injection_of(index / BEARER_SLOTS);
	if (ours && ours->at) { /* an Error Indication will be judged by who was last */
		struct bearer *b = bpf_map_lookup_elem(&bearers, &index);
		if (b && b->core_at != t)
			b->core_at = t;
	}
	return wire_fast(ctx, 0, COUNTER_PASS_DOWNLINK);
}

#endif
