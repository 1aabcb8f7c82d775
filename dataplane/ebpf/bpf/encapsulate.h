/* How does a packet get behind a prebuilt outer header?
 *
 * Lengths, identification and checksums are filled in; an IPv6 outer checksum is built from what the inner packet's own
 * checksum already covers, where that is complete.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_ENCAPSULATE_H
#define OFFRAMP_ENCAPSULATE_H

#include "fast.h"

struct long_sum {
	struct xdp_md *ctx;
	__u32 at;
	__u32 end;
	__u64 sum;
};

static long add_chunk(__u32 index, void *context)
{
	struct long_sum *l = context;
	__u8 chunk[32] ALIGNED = {};
	__u32 left = l->end - l->at;

	if (l->at >= l->end)
		return 1;
	if (left > 32)
		left = 32;
	if (!within(&left, 1, 32) || bpf_xdp_load_bytes(l->ctx, l->at, chunk, left))
		return 1;
	const __u32 *w = (const __u32 *)chunk;
	l->sum += (__u64)w[0] + w[1] + w[2] + w[3] + w[4] + w[5] + w[6] + w[7];
	l->at += left;
	return 0;
}

/* Sum over the inner packet, octet by octet: for what its own checksum does not cover. */
GLOBAL __u32 sum_octets(struct xdp_md *ctx, __u32 from, __u32 length)
{
	struct long_sum l = {.ctx = ctx, .at = from, .end = from + length};

	bpf_loop(65536 / 32, add_chunk, &l, 0);
	return fold(l.sum);
}

/* Sum over an inner packet whose own checksums are complete: the transport part sums to the inverse of its pseudo
 * header, so that only the IP header has to be read (RFC 1071, RFC 8200 §8.1). */
INLINE __u32 sum_inner(struct xdp_md *ctx, const struct packet *p, __u32 inner, __u32 length)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *c = data + (inner & 0xff);
	__u32 protocol = p->protocol;

	if (p->fragment || (protocol != PROTO_TCP && protocol != PROTO_UDP && protocol != PROTO_ICMPV6 &&
			    (protocol != PROTO_ICMP || p->inner_v6)))
		return sum_octets(ctx, inner, length);
	if (!p->inner_v6) {
		if (c + 28 > end)
			return sum_octets(ctx, inner, length);
		if (protocol == PROTO_UDP && !*(__u16 *)(c + 26))
			return sum_octets(ctx, inner, length);
		if (protocol == PROTO_ICMP)
			return fold(0xffff);
		__u64 pseudo = (__u64)*(__u32 *)(c + 12) + *(__u32 *)(c + 16) + bpf_htons(protocol) +
			       bpf_htons((__u16)(length - 20));
		return (__u16)~fold(pseudo);
	}
	if (c + 40 > end)
		return sum_octets(ctx, inner, length);
	/* the addresses and the length stand in the header and, inverted, in the transport part */
	__u64 sum = (__u64)*(__u32 *)c + *(__u16 *)(c + 6) + (__u16)~bpf_htons(protocol);
	return fold(sum);
}

/* Which of the gateway's source ports, and which identification: by flow, as the app knows it. Every bit of the ports
 * reaches the lowest octet, which is what the source port takes. */
INLINE __u32 flow_entropy(__u32 ports)
{
	ports = (ports ^ ports >> 16) * 0x9e3779b1;
	return ports ^ ports >> 16;
}

/* A prebuilt header, and what has to be filled in. */
struct prebuilt {
	const __u8 *header;
	__u32 *sequence_at;
	__u32 sequence; /* as read before anything else */
	__u32 octets, l3, v6, varies, checksum, psc;
};

/* The header of a station on Ethernet instead of the frame's own. */
INLINE int push_station(struct xdp_md *ctx, const struct prebuilt *b)
{
	__u32 octets = b->octets, sequence = b->sequence;
	__u64 h[3];

	memcpy(h, b->header, 24);
	if (sequence & 1 || *(volatile __u32 *)b->sequence_at != sequence || (octets != 14 && octets != 18 && octets != 22))
		return 0;
	if (bpf_xdp_adjust_head(ctx, 14 - (int)octets))
		return 0;
	void *data = (void *)(long)ctx->data;
	if (data + 22 > (void *)(long)ctx->data_end)
		return 0;
	memcpy(data, h, 14);
	if (octets > 14)
		memcpy(data + 14, (__u8 *)h + 14, 4);
	if (octets > 18)
		memcpy(data + 18, (__u8 *)h + 18, 4);
	return 1;
}

/* Puts the inner packet, which begins after the frame's 14 octets of Ethernet header, behind a prebuilt header.
 * Returns 0 when the header changed meanwhile. `room`: how long the header can be. */
INLINE int push_prebuilt(struct xdp_md *ctx, const struct prebuilt *b, const struct packet *p, __u32 length,
			 __u32 entropy, __u32 qfi, __u32 room)
{
	__u32 octets = b->octets, l3 = b->l3, v6 = b->v6, sequence = b->sequence;
	__u32 sum_of_inner = 0;

	if (octets < 50)
		return push_station(ctx, b);
	if (sequence & 1 || octets > room || l3 < 14 || l3 > 22)
		return 0;
	if (v6)
		sum_of_inner = sum_inner(ctx, p, 14, length);
	if (bpf_xdp_adjust_head(ctx, 14 - (int)octets))
		return 0;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const __u8 *from = b->header;
	if (data + 48 > end)
		return 0;
	memcpy(data, from, 48);
	if (octets > 56) {
		if (data + 56 > end)
			return 0;
		*(__u64 *)(data + 48) = *(const __u64 *)(from + 48);
	}
	if (room > 64 && octets > 64) {
		if (data + 64 > end)
			return 0;
		*(__u64 *)(data + 56) = *(const __u64 *)(from + 56);
	}
	if (room > 72 && octets > 72) {
		if (data + 72 > end)
			return 0;
		*(__u64 *)(data + 64) = *(const __u64 *)(from + 64);
	}
	if (room > 80 && octets > 80) {
		if (data + 80 > end)
			return 0;
		*(__u64 *)(data + 72) = *(const __u64 *)(from + 72);
	}
	if (room > 88 && octets > 88) {
		if (data + 88 > end)
			return 0;
		*(__u64 *)(data + 80) = *(const __u64 *)(from + 80);
	}
	__u64 last = octets - 8;
	asm volatile("" : "+r"(last)); /* so that the check below is of the register that is used */
	if (last > room - 8)
		return 0;
	if (data + last + 8 > end)
		return 0;
	*(__u64 *)(data + last) = *(const __u64 *)(from + last);
	__u32 checksum = b->checksum;
	__u32 varies = b->varies;
	__u32 psc = b->psc;
	if (*(volatile __u32 *)b->sequence_at != sequence)
		return 0;

	void *ip = data + l3;
	__u32 udp_length = octets - l3 - (v6 ? 40 : 20) + length;
	void *udp = ip + (v6 ? 40 : 20);
	if (udp + 24 > end)
		return 0;
	__u16 port = *(__u16 *)udp;
	if (varies) {
		port = 0xc0 | (__u16)(entropy << 8); /* 49152.. */
		*(__u16 *)udp = port;
	}
	*(__u16 *)(udp + 4) = bpf_htons((__u16)udp_length);
	*(__u16 *)(udp + 10) = bpf_htons((__u16)(udp_length - 16));
	if (psc && qfi < 64) {
		if (udp + 24 > end)
			return 0;
		*(__u8 *)(udp + 22) = (*(__u8 *)(udp + 22) & 0xc0) | qfi;
	}
	if (!v6) {
		__u16 total = bpf_htons((__u16)(udp_length + 20)), id = (__u16)(entropy >> 8);
		*(__u16 *)(ip + 2) = total;
		*(__u16 *)(ip + 4) = id;
		__u32 sum = checksum + total + id;
		sum = (sum & 0xffff) + (sum >> 16);
		*(__u16 *)(ip + 10) = ~(__u16)((sum & 0xffff) + (sum >> 16));
	} else {
		*(__u16 *)(ip + 4) = bpf_htons((__u16)udp_length);
		__u64 sum = (__u64)checksum + sum_of_inner + 2 * (__u64)bpf_htons((__u16)udp_length) +
			    bpf_htons((__u16)(udp_length - 16));
		if (varies) /* the observed port is in the prebuilt sum */
			sum += (__u64)port + (__u16) ~*(const __u16 *)(from + below(64, l3 + 40));
		if (psc && qfi < 64) /* the QFI is the third octet of its word pair */
			sum += (__u64)(__u16)(*(__u8 *)(udp + 22) | *(__u8 *)(udp + 23) << 8) +
			       (__u16) ~(__u16)(psc >> 16);
		__u16 folded = ~(__u16)fold(sum);
		*(__u16 *)(udp + 6) = folded ? folded : 0xffff;
	}
	return 1;
}

INLINE int push_header(struct xdp_md *ctx, struct bearer *b, const struct packet *p, __u32 length, __u32 entropy,
		       __u32 qfi)
{
	struct prebuilt prebuilt = {.header = b->header, .sequence_at = &b->sequence};

	prebuilt.sequence = *(volatile __u32 *)&b->sequence;
	prebuilt.octets = b->header_length;
	prebuilt.l3 = b->l3_offset;
	prebuilt.v6 = b->v6;
	prebuilt.varies = b->port_varies;
	prebuilt.checksum = b->checksum;
	prebuilt.psc = b->psc;
	return push_prebuilt(ctx, &prebuilt, p, length, entropy, qfi, HEADER_MAX);
}

#endif
