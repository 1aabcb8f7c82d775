/* Who gets a copy of what leaves?
 *
 *   leave -> no mirror: the port's adapter
 *         -> mirror: both adapters of the pair for this mirror and port, by one broadcast redirect
 *                       the mirror's own may have a program: `mirror_plain` takes the tunnel off the copy
 *
 * The copy is the kernel's work, after the program. It never harms what is copied: where the mirror's adapter is gone, or
 * the frame has several buffers (which the kernel does not copy), the frame leaves alone and `note_not_mirrored` says so.
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_MIRROR_H
#define OFFRAMP_MIRROR_H

#include "fate.h"

/* XDP_REDIRECT, or 0 and the frame leaves alone. */
GLOBAL int leave_twice(struct xdp_md *ctx, __u32 port, __u32 mirror)
{
	__u32 index = mirror * MAX_PORTS + port, second = 1;
	__u32 octets = frame_length(ctx);

	/* the broadcast itself would not say that the port's adapter is gone */
	if (!bpf_map_lookup_elem(&ports, &port))
		return 0;
	void *pair = bpf_map_lookup_elem(&mirrors, &index);
	if (!pair || bpf_xdp_get_buff_len(ctx) != octets || !bpf_map_lookup_elem(pair, &second)) {
		count(COUNTER_NOTE_NOT_MIRRORED, octets);
		return 0;
	}
	count(COUNTER_NOTE_MIRRORED, octets);
	return bpf_redirect_map(pair, 0, BPF_F_BROADCAST);
}

/* The frame as it is leaves by `port`, and by the mirror where the treatment names one. `otherwise`: the verdict when
 * the port is gone. */
INLINE int leave(struct xdp_md *ctx, __u32 port, __u64 otherwise, const struct treatment *t)
{
	if (t && t->mirror && leave_twice(ctx, port, t->mirror) == XDP_REDIRECT)
		return XDP_REDIRECT;
	return bpf_redirect_map(&ports, port, otherwise);
}

/* On in its tunnel, as it is. In shared mode the kernel routes, and nobody gets a copy. */
INLINE int go_through(struct xdp_md *ctx, const struct config *cfg, int uplink, const struct treatment *t)
{
	ends(ctx, COUNTER_PASS_TREATED, frame_length(ctx));
	if (cfg->flags & CONFIG_SHARED) {
		if (t && t->mirror)
			count(COUNTER_NOTE_NOT_MIRRORED, frame_length(ctx));
		return XDP_PASS;
	}
	return leave(ctx, uplink ? PORT_CORE(DATAPLANE) : PORT_ACCESS(DATAPLANE), XDP_PASS_TO_BRIDGE, t);
}

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

/* Runs on the copy alone: what is in a tunnel loses it and gets a plain Ethernet header. */
INLINE int without_tunnel(struct xdp_md *ctx)
{
	__u8 macs[12], version;
	__u16 type;
	__u32 at = 12;

	if (bpf_xdp_load_bytes(ctx, 0, macs, 12) || bpf_xdp_load_bytes(ctx, at, &type, 2))
		return XDP_PASS;
	for (int i = 0; i < 2 && (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)); i++) {
		at += 4;
		if (bpf_xdp_load_bytes(ctx, at, &type, 2))
			return XDP_PASS;
	}
	__u32 udp = behind_ip(ctx, at + 2);
	__u32 inner = udp ? behind_gtp(ctx, udp) : 0;
	if (!inner || bpf_xdp_load_bytes(ctx, inner, &version, 1) || (version >> 4 != 4 && version >> 4 != 6))
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, inner - 14))
		return XDP_PASS;
	void *data = (void *)(long)ctx->data;
	if (data + 14 > (void *)(long)ctx->data_end)
		return XDP_PASS;
	memcpy(data, macs, 12);
	*(__u16 *)(data + 12) = version >> 4 == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	return XDP_PASS;
}

#endif
