/* Who gets a copy of what leaves?
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_MIRROR_H
#define OFFRAMP_MIRROR_H

#include "fate.h"

/* The frame as it is leaves by `port`, and by the mirror where the treatment names one. `otherwise`: the verdict when
 * the port is gone. */
INLINE int leave(struct xdp_md *ctx, __u32 port, __u64 otherwise, const struct treatment *t)
{
	return bpf_redirect_map(&ports, port, otherwise);
}

/* On in its tunnel, as it is. In shared mode the kernel routes. */
INLINE int go_through(struct xdp_md *ctx, const struct config *cfg, int uplink, const struct treatment *t)
{
	ends(ctx, COUNTER_PASS_TREATED, frame_length(ctx));
	if (cfg->flags & CONFIG_SHARED)
		return XDP_PASS;
	return leave(ctx, uplink ? PORT_CORE(DATAPLANE) : PORT_ACCESS(DATAPLANE), XDP_PASS_TO_BRIDGE, t);
}

#endif
