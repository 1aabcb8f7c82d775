/* What is in this frame?
 *
 * Reads a frame from the wire down to the inner packet of a G-PDU (TS 29.281 §5) without changing it. What is not
 * understood completely gets the name of the reason and is passed on. Offsets count from the start of the frame.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_PACKET_H
#define OFFRAMP_PACKET_H

#include "maps.h"
#include <bpf/bpf_endian.h>

#define INLINE static __always_inline
/* Verified on its own, once (kernel 5.6): what runs rarely lives in such functions. Pointers may be 0 for the verifier. */
#define GLOBAL __noinline

#ifndef memcpy
#define memcpy(d, s, n) __builtin_memcpy((d), (s), (n))
#endif
#ifndef memset
#define memset(d, v, n) __builtin_memset((d), (v), (n))
#endif

#define ALIGNED __attribute__((aligned(8))) /* the stack is read only where it is aligned */

#define MAPPED_PREFIX bpf_htonl(0x0000ffff)

struct packet {
	struct address source, destination; /* outer, none while v6 is 2 */
	struct address ue, remote;          /* inner, by direction */
	__u32 teid;                         /* network order */
	__u32 link;                         /* as in struct tunnel_key, without data plane and direction */
	__u32 psc;                          /* canonical first four octets of the PDU Session Container, 0 none */
	__u32 id;                           /* fragment id, outer or inner, network order */
	__u32 token;                        /* slow port: handed back */
	__u32 rule;                         /* id of the rule that decided, 0 none */
	__u16 service;                      /* of that rule */
	__u16 l3;                           /* outer IP header */
	__u16 gtp;                          /* GTP-U header */
	__u16 inner;                        /* inner IP header */
	__u16 inner_length;                 /* octets of T-PDU */
	__u16 l4;                           /* inner transport header */
	__u16 l4_length;
	__u16 ue_port, remote_port; /* network order */
	__u16 source_port;          /* outer UDP, network order */
	__u8 v6;                    /* outer */
	__u8 inner_v6;              /* 0 IPv4, 1 IPv6, 2 neither */
	__u8 flags;                 /* GTP-U flags & 7 */
	__u8 message;
	__u8 protocol;  /* inner transport */
	__u8 tcp_flags; /* octet 13 of the TCP header */
	__u8 fragment;  /* inner: FRAGMENT_* */
	__u8 dscp;      /* inner */
	__u8 dont_fragment;
	__u8 from_slow;    /* came back from the slow port */
	__u8 way;          /* WAY_* */
	__u8 untranslated; /* the address stays: an error from a router on the apps' side */
	__u8 ethernet;     /* no tunnel: source and destination are MAC addresses (mac_address) */
	__u8 running;      /* of a TCP connection that passed when it began: it goes on passing */
	__u8 mac[12];      /* destination and source of the frame */
};

/* Where does the description of the packet at hand lie? Not on the stack: the learning functions need that. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} packets SEC(".maps");

#define FRAGMENT_NONE 0
#define FRAGMENT_FIRST 1
#define FRAGMENT_LATER 2

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

/* What parse_outer() found; the others are counter names (>= 0). */
#define FOUND_GPDU (-1)
#define FOUND_CONTROL (-2)
#define FOUND_FRAGMENT (-3)

INLINE struct packet *new_packet(__u32 way)
{
	__u32 zero = 0;
	struct packet *p = bpf_map_lookup_elem(&packets, &zero);

	if (p) {
		p->token = 0;
		p->inner = p->inner_length = 0;
		p->ue_port = p->remote_port = 0;
		p->inner_v6 = p->v6 = 2;
		p->flags = p->message = p->protocol = p->tcp_flags = p->fragment = p->dscp = p->dont_fragment = 0;
		p->from_slow = p->untranslated = p->ethernet = p->running = 0;
		p->psc = p->teid = 0;
		p->service = 0;
		p->rule = p->link = 0;
		p->way = way;
	}
	return p;
}

INLINE int same_address(const struct address *a, const struct address *b)
{
	return ((a->hi ^ b->hi) | (a->lo ^ b->lo)) == 0;
}

INLINE void mapped(struct address *a, __u32 ipv4)
{
	a->hi = 0;
	a->lo = ((__u64)ipv4 << 32) | MAPPED_PREFIX;
}

INLINE int is_mapped(const struct address *a)
{
	return a->hi == 0 && (__u32)a->lo == MAPPED_PREFIX;
}

INLINE __u32 mapped_ipv4(const struct address *a)
{
	return a->lo >> 32;
}

INLINE __u16 be16(const void *p)
{
	return bpf_ntohs(*(const __u16 *)p);
}

INLINE void load_address(struct address *a, const void *p)
{
	a->hi = *(const __u64 *)p;
	a->lo = *(const __u64 *)(p + 8);
}

INLINE __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* One's complement sum of an address, unfolded. */
INLINE __u64 sum_address(const struct address *a)
{
	return (a->hi & 0xffffffff) + (a->hi >> 32) + (a->lo & 0xffffffff) + (a->lo >> 32);
}

/* Sum over the 20 octets of an IPv4 header without options; 0xffff when its checksum is right (RFC 1071). */
INLINE __u32 sum_ipv4(const void *header)
{
	const __u32 *w = header;

	return fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]);
}

/* Does the frame reach this far, in its later buffers as well? */
INLINE int reaches(struct xdp_md *ctx, void *data, void *end, __u32 octets)
{
	if (end - data >= octets)
		return 1;
	return bpf_xdp_get_buff_len(ctx) >= octets;
}

/* Inner addresses by direction, and nothing else: what learning and pass-through need. */
INLINE void parse_inner_addresses(struct packet *p, void *inner, void *end, int uplink)
{
	struct address *from = uplink ? &p->ue : &p->remote, *to = uplink ? &p->remote : &p->ue;

	p->inner_v6 = 2;
	if (inner + 20 > end || p->inner_length < 20)
		return;
	__u8 version = *(__u8 *)inner >> 4;
	if (version == 4) {
		p->inner_v6 = 0;
		mapped(from, *(__u32 *)(inner + 12));
		mapped(to, *(__u32 *)(inner + 16));
	} else if (version == 6 && inner + 40 <= end && p->inner_length >= 40) {
		p->inner_v6 = 1;
		load_address(from, inner + 8);
		load_address(to, inner + 24);
	}
}

INLINE int parse_outer(struct xdp_md *ctx, struct packet *p, int uplink)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *c = data + 14;
	__u32 udp_length;

	if (c + 8 > end)
		return COUNTER_PASS_NOT_GTPU;
	__u16 type = *(__u16 *)(data + 12);
	memcpy(p->mac, data, 12);
	p->link = 0;
	if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)) {
		p->link = be16(c) & 0xfff;
		type = *(__u16 *)(c + 2);
		c += 4;
		if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)) {
			p->link = p->link << 12 | (be16(c) & 0xfff);
			type = *(__u16 *)(c + 2);
			c += 4;
		} else {
			p->link <<= 12;
		}
	}
	p->l3 = c - data;
	if (type == bpf_htons(ETH_P_IP)) {
		if (c + 20 > end)
			return COUNTER_PASS_NOT_GTPU;
		__u8 version = *(__u8 *)c;
		if (*(__u8 *)(c + 9) != PROTO_UDP || (version >> 4) != 4)
			return COUNTER_PASS_NOT_GTPU;
		if (version != 0x45)
			return COUNTER_PASS_OPTIONS;
		p->v6 = 0;
		mapped(&p->source, *(__u32 *)(c + 12));
		mapped(&p->destination, *(__u32 *)(c + 16));
		__u16 total = be16(c + 2);
		__u16 fragment = *(__u16 *)(c + 6) & bpf_htons(0x3fff);
		if (fragment) {
			p->id = *(__u16 *)(c + 4);
			p->fragment = fragment & bpf_htons(0x1fff) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			if (p->fragment == FRAGMENT_LATER)
				return FOUND_FRAGMENT;
		}
		if (c + 36 > end)
			return COUNTER_PASS_NOT_GTPU;
		c += 20;
		if (*(__u16 *)(c + 2) != bpf_htons(GTPU_PORT))
			return COUNTER_PASS_NOT_GTPU;
		udp_length = be16(c + 4);
		if (fragment) {
			if (udp_length + 20 <= total || total < 36)
				return COUNTER_PASS_MALFORMED;
			udp_length = total - 20; /* what this fragment has of it */
		} else if (udp_length + 20 != total) {
			return COUNTER_PASS_MALFORMED;
		}
		p->dont_fragment = 0;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		if (c + 48 > end)
			return COUNTER_PASS_NOT_GTPU;
		__u8 next = *(__u8 *)(c + 6);
		if ((*(__u8 *)c >> 4) != 6)
			return COUNTER_PASS_NOT_GTPU;
		p->v6 = 1;
		load_address(&p->source, c + 8);
		load_address(&p->destination, c + 24);
		udp_length = be16(c + 4);
		if (next == 44) { /* fragment header: RFC 8200 §4.5 */
			if (*(__u8 *)(c + 40) != PROTO_UDP)
				return COUNTER_PASS_NOT_GTPU;
			p->id = *(__u32 *)(c + 44);
			p->fragment = *(__u16 *)(c + 42) & bpf_htons(0xfff8) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			if (p->fragment == FRAGMENT_LATER)
				return FOUND_FRAGMENT;
			c += 48;
			if (c + 16 > end)
				return COUNTER_PASS_NOT_GTPU;
			if (*(__u16 *)(c + 2) != bpf_htons(GTPU_PORT))
				return COUNTER_PASS_NOT_GTPU;
			if (udp_length < 8 + 16)
				return COUNTER_PASS_MALFORMED;
			udp_length -= 8;
		} else {
			if (next != PROTO_UDP)
				return next == 0 || next == 43 || next == 60 ? COUNTER_PASS_OPTIONS : COUNTER_PASS_NOT_GTPU;
			c += 40;
			if (c + 16 > end)
				return COUNTER_PASS_NOT_GTPU;
			if (*(__u16 *)(c + 2) != bpf_htons(GTPU_PORT))
				return COUNTER_PASS_NOT_GTPU;
			if (be16(c + 4) != udp_length)
				return COUNTER_PASS_MALFORMED;
		}
	} else {
		return COUNTER_PASS_NOT_GTPU;
	}
	if (c + 16 > end)
		return COUNTER_PASS_MALFORMED;
	__u32 udp = c - data;
	if (udp_length < 16 || !reaches(ctx, data, end, udp + udp_length))
		return COUNTER_PASS_MALFORMED;
	p->source_port = *(__u16 *)c;
	c += 8;
	p->gtp = udp + 8;
	__u8 flags = *(__u8 *)c;
	if ((flags & 0xf0) != 0x30)
		return COUNTER_PASS_NOT_GTPU;
	p->flags = flags & 7;
	p->message = *(__u8 *)(c + 1);
	p->teid = *(__u32 *)(c + 4);
	if (p->message != GTPU_G_PDU)
		return p->fragment ? COUNTER_PASS_GTPU_CONTROL : FOUND_CONTROL;
	if (!p->fragment && be16(c + 2) != udp_length - 16)
		return COUNTER_PASS_MALFORMED;
	__u32 gtp_end = udp + udp_length;
	__u32 offset = udp + 16;
	c += 8;
	p->psc = 0;
	if (flags & 7) {
		if (c + 4 > end || offset + 4 > gtp_end)
			return COUNTER_PASS_MALFORMED;
		__u8 next = flags & GTPU_FLAG_E ? *(__u8 *)(c + 3) : 0;
		c += 4;
		offset += 4;
#pragma unroll
		for (int i = 0; i < GTPU_MAX_EXT; i++) {
			if (!next)
				break;
			if (c + 4 > end)
				return COUNTER_PASS_MALFORMED;
			__u32 length = (__u32) * (__u8 *)c * 4;
			if (!length || offset + length > gtp_end)
				return COUNTER_PASS_MALFORMED;
			if (next == GTPU_EXT_PSC && !p->psc) {
				__u8 paging = uplink ? 0 : *(__u8 *)(c + 2) & 0x80;
				p->psc = (paging ? 2 : 1) | (*(__u8 *)(c + 1) & 0xf0) << 8 |
					 (__u32)((*(__u8 *)(c + 2) & 0x3f) | paging) << 16 |
					 (paging ? (__u32)(*(__u8 *)(c + 3) & 0xe0) << 24 : 0);
			} else if (next & 0x80) {
				/* the receiver has to understand it (TS 29.281 §5.2.1), or it comes twice */
				return COUNTER_PASS_EXTENSION;
			}
			c += length;
			offset += length;
			if (c > end)
				return COUNTER_PASS_MALFORMED;
			next = *(__u8 *)(c - 1);
		}
		if (next)
			return COUNTER_PASS_EXTENSION;
	}
	p->inner = offset;
	p->inner_length = gtp_end - offset;
	if (!p->inner_length) { /* no T-PDU: TS 29.281 §5.2.2.6 and others */
		p->inner_v6 = 2;
		return FOUND_GPDU;
	}
	parse_inner_addresses(p, c, end, uplink);
	return FOUND_GPDU;
}

/* The rest of the inner packet, for the few that a rule could match or that come from an app. Everything that an app
 * should never see is refused here. `cut`: only the first part of the packet is at hand (outer fragment).
 * Returns 0, or 1 when it is not fit to be taken. */
INLINE int parse_inner(struct xdp_md *ctx, struct packet *p, int uplink, int cut)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 at = p->inner;

	if (at > 0x3fff)
		return 1;
	void *c = data + at;
	p->fragment = FRAGMENT_NONE;
	p->tcp_flags = 0;
	p->ue_port = p->remote_port = 0;
	if (p->inner_v6 == 0) {
		if (c + 20 > end)
			return 1;
		if (*(__u8 *)c != 0x45 || (!cut && be16(c + 2) != p->inner_length) || *(__u8 *)(c + 8) < 2)
			return 1;
		if (sum_ipv4(c) != 0xffff)
			return 1;
		__u16 fragment = *(__u16 *)(c + 6);
		p->dont_fragment = !!(fragment & bpf_htons(0x4000));
		if (fragment & bpf_htons(0x3fff)) {
			p->id = *(__u16 *)(c + 4);
			p->fragment = fragment & bpf_htons(0x1fff) ? FRAGMENT_LATER : FRAGMENT_FIRST;
		}
		p->protocol = *(__u8 *)(c + 9);
		p->dscp = *(__u8 *)(c + 1) >> 2;
		p->l4 = at + 20;
		p->l4_length = p->inner_length - 20;
		c += 20;
	} else if (p->inner_v6 == 1) {
		if (c + 40 > end)
			return 1;
		if ((!cut && be16(c + 4) + 40 != p->inner_length) || *(__u8 *)(c + 7) < 2)
			return 1;
		p->dont_fragment = 1;
		p->protocol = *(__u8 *)(c + 6);
		p->dscp = be16(c) >> 6 & 0x3f;
		p->l4 = at + 40;
		p->l4_length = p->inner_length - 40;
		if (p->protocol == 44) {
			if (c + 48 > end)
				return 1;
			__u16 fragment = *(__u16 *)(c + 42);
			p->protocol = *(__u8 *)(c + 40);
			p->id = *(__u32 *)(c + 44);
			if (p->l4_length < 8)
				return 1;
			p->l4 += 8;
			p->l4_length -= 8;
			/* an atomic fragment (RFC 6946) is treated as the only one */
			p->fragment = fragment & bpf_htons(0xfff8) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			c += 8;
		}
		c += 40;
	} else {
		return 1;
	}
	if (p->protocol == PROTO_ICMPV6 ? !p->inner_v6 : p->protocol == PROTO_ICMP && p->inner_v6)
		return 1;
	if (p->fragment == FRAGMENT_LATER)
		return 0;
	if (c + 8 > end || p->l4_length < 8)
		return 1;
	__u16 first = *(__u16 *)c, second = *(__u16 *)(c + 2);
	if (p->protocol == PROTO_TCP) {
		if (c + 20 > end || p->l4_length < 20)
			return 1;
		__u32 header = (*(__u8 *)(c + 12) >> 4) * 4;
		if (header < 20 || (header > p->l4_length && !p->fragment))
			return 1;
		p->tcp_flags = *(__u8 *)(c + 13);
	} else if (p->protocol == PROTO_UDP) {
		__u16 length = be16(c + 4);
		if (p->fragment ? length < 8 : (!cut && length != p->l4_length))
			return 1;
	} else if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6) {
		__u8 echo_request = p->protocol == PROTO_ICMP ? 8 : 128, echo_reply = p->protocol == PROTO_ICMP ? 0 : 129;
		__u8 kind = *(__u8 *)c;
		if (kind == echo_request || kind == echo_reply) {
			p->ue_port = p->remote_port = *(__u16 *)(c + 4);
			return 0;
		}
		p->tcp_flags = kind; /* an error, or what no flow is made for */
		p->message = 1;
		return 0;
	} else {
		return 0; /* no ports */
	}
	p->ue_port = uplink ? first : second;
	p->remote_port = uplink ? second : first;
	return 0;
}

/* Is this ICMP message an error about another packet (RFC 792, RFC 4443)? Set by parse_inner. */
INLINE int is_icmp_other(const struct packet *p)
{
	return (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6) && p->message == 1;
}

#endif
