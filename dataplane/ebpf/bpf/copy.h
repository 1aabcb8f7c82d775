/* What does a copy look like?
 *
 * Runs in a device map, on the copy alone, after the broadcast redirect of mirror.h; one load for each mirror.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_COPY_H
#define OFFRAMP_COPY_H

#include "outlet.h"

/* Which mirror does this load serve? Set before loading. */
const volatile __u32 MIRROR = 0;

/* From an IP header: where does UDP toward 2152 begin? 0: this is something else. */
INLINE __u32 behind_ip(struct xdp_md *ctx, __u32 at)
{
	__u8 ip[10];

	if (bpf_xdp_load_bytes(ctx, at, ip, 10))
		return 0;
	if (ip[0] == 0x45 && ip[9] == PROTO_UDP)
		return at + 20;
	return ip[0] >> 4 == 6 && ip[6] == PROTO_UDP ? at + 40 : 0;
}

/* From a UDP header: where does the packet in a G-PDU begin (TS 29.281 §5.1)? 0: this is something else. */
INLINE __u32 behind_gtp(struct xdp_md *ctx, __u32 at)
{
	__u16 port;
	__u8 gtp[12], octet;

	if (bpf_xdp_load_bytes(ctx, at + 2, &port, 2) || port != bpf_htons(GTPU_PORT) ||
	    bpf_xdp_load_bytes(ctx, at + 8, gtp, 12) || gtp[0] >> 4 != 3 || gtp[1] != 255)
		return 0;
	at += 16;
	if (!(gtp[0] & 7))
		return at;
	at += 4;
	__u8 next = gtp[0] & 4 ? gtp[11] : 0;
	for (int i = 0; i < 8 && next; i++) {
		if (bpf_xdp_load_bytes(ctx, at, &octet, 1) || !octet)
			return 0;
		at += octet * 4;
		if (bpf_xdp_load_bytes(ctx, at - 1, &next, 1))
			return 0;
	}
	return next ? 0 : at;
}

/* `tunnelled`: what leaves by this port is in GTP-U. Elsewhere a UE's own UDP to 2152 is nobody's tunnel. */
INLINE int make_copy(struct xdp_md *ctx, int tunnelled)
{
	__u32 at = 12, mirror = MIRROR, udp, inner = 0;
	__u16 type;
	__u8 version;
	struct outlet *o = bpf_map_lookup_elem(&copies, &mirror);

	if (!o || o->flags & OUTLET_UNKNOWN || bpf_xdp_load_bytes(ctx, at, &type, 2))
		return XDP_DROP;
	for (int i = 0; i < 2 && (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)); i++) {
		at += 4;
		if (bpf_xdp_load_bytes(ctx, at, &type, 2))
			return XDP_DROP;
	}
	at += 2;
	udp = tunnelled ? behind_ip(ctx, at) : 0;
	inner = udp ? behind_gtp(ctx, udp) : 0;
	if (inner && (bpf_xdp_load_bytes(ctx, inner, &version, 1) || (version >> 4 != 4 && version >> 4 != 6)))
		inner = 0;
	if (o->kind == OUTLET_GTPU && !inner)
		return XDP_DROP;
	if (o->flags & OUTLET_STRIP && inner)
		at = inner;
	else if (o->flags & OUTLET_AS_IS)
		return XDP_PASS;
	return wrap(ctx, o, at) ? XDP_PASS : XDP_DROP;
}

#endif
