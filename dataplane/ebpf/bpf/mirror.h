/* Who gets a copy of what leaves?
 *
 *   leave -> no mirror: the port's adapter
 *         -> mirror: both adapters of the pair for this mirror and port, by one broadcast redirect
 *                       the mirror's own may have a program, which changes the copy (copy.h)
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

/* Number of the mirror for this direction, 0 none. */
INLINE __u32 mirror_of(const struct treatment *t, int downlink)
{
	if (!t)
		return 0;
	return downlink ? t->mirror_down : t->mirror_up;
}

/* The frame as it is leaves by `port`, and by the mirror where there is one. `otherwise`: the verdict when the port is
 * gone. */
INLINE int leave(struct xdp_md *ctx, __u32 port, __u64 otherwise, __u32 mirror)
{
	if (mirror && leave_twice(ctx, port, mirror) == XDP_REDIRECT)
		return XDP_REDIRECT;
	return bpf_redirect_map(&ports, port, otherwise);
}

/* On in its tunnel, as it is. In shared mode the kernel routes, and nobody gets a copy. */
INLINE int go_through(struct xdp_md *ctx, const struct config *cfg, int uplink, const struct treatment *t)
{
	__u32 mirror = mirror_of(t, !uplink);

	ends(ctx, COUNTER_PASS_TREATED, frame_length(ctx));
	if (cfg->flags & CONFIG_SHARED) {
		if (mirror)
			count(COUNTER_NOTE_NOT_MIRRORED, frame_length(ctx));
		return XDP_PASS;
	}
	return leave(ctx, uplink ? PORT_CORE(DATAPLANE) : PORT_ACCESS(DATAPLANE), XDP_PASS_TO_BRIDGE, mirror);
}

#endif
