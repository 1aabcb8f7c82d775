/* How does a packet get to a function of a chain, and what did a function return?
 *
 *   function with VNI v   Ethernet · IP · UDP · VXLAN (v) · Ethernet · packet        RFC 7348
 *   … that asks for NSH   Ethernet · IP · UDP · VXLAN-GPE (v) · NSH (v, index) · packet   RFC 8300
 *
 * The packet is the UE's own: out of its tunnel, with the address of the service in both directions.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_CHAIN_H
#define OFFRAMP_CHAIN_H

#include "fate.h"

/* Octets of what stands between a function's adapter and the packet: outer IPv6 where that may be. */
INLINE __u32 chain_overhead(const struct vtep *v)
{
	return v->address6.hi | v->address6.lo ? 70 : 50;
}

INLINE struct vtep *own_vtep(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&vtep, &zero);
}

/* The largest TCP segment that fits a tunnel to a function; `limit` where that is smaller, or there is no chain. */
INLINE __u32 chain_mss(const struct treatment *t, __u32 limit, int inner_v6)
{
	struct vtep *v = t && (t->chain_up | t->chain_down) ? own_vtep() : 0;

	if (!v)
		return limit;
	__u32 headers = chain_overhead(v) + (inner_v6 ? 60 : 40);
	__u32 fits = v->mtu > headers + 88 ? v->mtu - headers : 88;
	return fits < limit ? fits : limit;
}

/* Out of its tunnel: what is left is an Ethernet header, to be filled in, and the inner packet. */
INLINE int strip(struct xdp_md *ctx, const struct packet *p)
{
	__u32 frame = frame_length(ctx), length = p->inner_length;

	if (frame != (__u32)p->inner + length) { /* padding, or later buffers */
		__u32 whole = bpf_xdp_get_buff_len(ctx);
		if (whole > (__u32)p->inner + length && bpf_xdp_adjust_tail(ctx, (int)(p->inner + length) - (int)whole))
			return 0;
	}
	return !bpf_xdp_adjust_head(ctx, (int)p->inner - 14);
}

/* The frame, an Ethernet header to be filled in and the packet, goes to the function `vni`. `entropy`: of the flow.
 * `where`: data plane << 16 | COUNTER_* that it counts as. */
GLOBAL int to_function(struct xdp_md *ctx, struct packet *p, __u32 vni, __u32 entropy, __u32 where)
{
	if (!p)
		return XDP_DROP;
	__u32 length = p->inner_length, through = 0;

	if (vni == CHAIN_BLOCKED) {
		ends_in(ctx, where >> 16, COUNTER_DROP_CHAIN_BLOCKED, length);
		return XDP_DROP;
	}
	struct hop *h = bpf_map_lookup_elem(&hops, &vni);
	struct vtep *v = own_vtep();
	__u32 octets = h ? h->header_length : 0;
	if (!h || !v || !within(&octets, 58, HOP_HEADER_MAX)) {
		ends_in(ctx, where >> 16, COUNTER_DROP_CHAIN_UNKNOWN, length);
		return XDP_DROP;
	}
	__u32 v6 = h->flags & HOP_V6, index = h->next_hop;
	if (octets - 14 + length > v->mtu) {
		if (v6) { /* nobody on the way may fragment it */
			ends_in(ctx, where >> 16, COUNTER_DROP_TOO_BIG, length);
			return XDP_DROP;
		}
		index = 0; /* the kernel's routing does */
	}
	struct next_hop *next = bpf_map_lookup_elem(&next_hops, &index);
	if (!next || bpf_xdp_adjust_head(ctx, 14 - (int)octets) || bpf_xdp_store_bytes(ctx, 0, h->header, octets))
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *ip = data + 14, *udp = ip + (v6 ? 40 : 20);
	if (udp + 32 > end)
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	__u32 number = ends_in(ctx, where >> 16, where & 0xffff, length);
	memcpy(data, next->destination, 12);
	__u32 udp_length = octets - 14 - (v6 ? 40 : 20) + length;
	if (v6) {
		*(__u16 *)(ip + 4) = bpf_htons((__u16)udp_length);
	} else {
		__u16 total = bpf_htons((__u16)(udp_length + 20)), id = (__u16)number;
		*(__u16 *)(ip + 2) = total;
		*(__u16 *)(ip + 4) = id;
		*(__u16 *)(ip + 10) = ~(__u16)fold((__u64)h->checksum + total + id);
	}
	*(__u16 *)udp = 0xc0 | (__u16)entropy; /* 49152.. */
	*(__u16 *)(udp + 4) = bpf_htons((__u16)udp_length);
	if (h->flags & HOP_NSH)
		*(__u8 *)(udp + 19) = p->inner_v6 ? NSH_IPV6 : NSH_IPV4;
	else
		*(__u16 *)(udp + 28) = p->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	through = bpf_redirect_map(&ports, next->port, XDP_DROP);
	if (through != XDP_REDIRECT)
		ends_in(ctx, where >> 16, COUNTER_DROP_REDIRECT, length);
	return through;
}

/* Is the frame for our end of the tunnels to functions? */
INLINE int is_for_chains(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct vtep *v = own_vtep();

	if (!v || data + 34 > end)
		return 0;
	struct address to;
	if (*(__u16 *)(data + 12) == bpf_htons(ETH_P_IP))
		mapped(&to, *(__u32 *)(data + 30));
	else if (*(__u16 *)(data + 12) == bpf_htons(ETH_P_IPV6) && data + 54 <= end)
		load_address(&to, data + 38);
	else
		return 0;
	/* all zero is no address of ours, but that we have none */
	return (to.hi | to.lo) && (same_address(&to, &v->address4) || same_address(&to, &v->address6));
}

/* Reads and takes off what a function has put around its packet: what is left is an Ethernet header and the packet.
 * Returns its VNI, with eight bits of the flow above it; or 0. */
GLOBAL __u32 unwrap(struct xdp_md *ctx)
{
	__u32 entropy;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *udp;
	struct address from;
	struct vtep *v = own_vtep();

	if (!v || data + 54 > end)
		return 0;
	if (*(__u16 *)(data + 12) == bpf_htons(ETH_P_IP)) {
		if (*(__u8 *)(data + 14) != 0x45 || *(__u8 *)(data + 23) != PROTO_UDP || *(__u16 *)(data + 20) & bpf_htons(0x3fff))
			return 0;
		mapped(&from, *(__u32 *)(data + 26));
		udp = data + 34;
	} else {
		if (*(__u8 *)(data + 20) != PROTO_UDP)
			return 0;
		load_address(&from, data + 22);
		udp = data + 54;
	}
	if (udp + 36 > end)
		return 0;
	entropy = *(__u8 *)(udp + 1);
	__u32 flags = *(__u8 *)(udp + 8), vni = bpf_ntohl(*(__u32 *)(udp + 12)) >> 8;
	__u32 octets = distance(data, udp) + 16, nsh = 0, length = 0;
	if (*(__u16 *)(udp + 2) == v->gpe_port && (flags & 0x3c) == (VXLAN_FLAG_VNI | GPE_FLAG_PROTOCOL)) {
		if (*(__u8 *)(udp + 11) != GPE_NSH)
			return 0;
		nsh = bpf_ntohl(*(__u32 *)(udp + 16));
		length = (nsh >> 16 & 0x3f) * 4;
		/* version 0, no OAM; MD type 1 or 2 */
		if (nsh >> 29 || length < 8 || length > 64)
			return 0;
		vni = bpf_ntohl(*(__u32 *)(udp + 20));
		octets += length - 14;
	} else if (*(__u16 *)(udp + 2) != v->port || !(flags & VXLAN_FLAG_VNI)) {
		return 0;
	}
	__u32 index = vni & 0xff, type = nsh & 0xff;
	if (nsh)
		vni >>= 8;
	struct hop *h = bpf_map_lookup_elem(&hops, &vni);
	if (!h || !same_address(&from, &h->vnf) || !(h->flags & HOP_NSH) == !!nsh)
		return 0;
	if (nsh && (index != h->service_index - 1 || (type != NSH_IPV4 && type != NSH_IPV6)))
		return 0;
	if (bpf_xdp_adjust_head(ctx, octets))
		return 0;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 34 > end)
		return 0;
	if (nsh)
		*(__u16 *)(data + 12) = type == NSH_IPV6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	return vni | entropy << 24;
}

#endif
