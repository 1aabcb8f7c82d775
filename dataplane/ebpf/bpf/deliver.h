/* How does a packet that was taken out of its tunnel get to its endpoint?
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_DELIVER_H
#define OFFRAMP_DELIVER_H

#include "mirror.h"
#include "outlet.h"
#include "translate.h"

/* The frame, an Ethernet header and the inner packet, goes to the endpoint or the apps' network. `mirror`: of the service, in
 * this direction. `where`: data plane << 16 | COUNTER_* that it counts as. */
INLINE int deliver(struct xdp_md *ctx, struct packet *p, struct flow *f, __u32 mirror, __u32 where)
{
	__u32 index = f->next_hop, length = p->inner_length;
	struct next_hop *hop;

	if (f->action == ACTION_TAKE && !translate(ctx, f, p, 1, 14, p->l4 - p->inner))
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	hop = bpf_map_lookup_elem(&next_hops, &index);
	void *data = (void *)(long)ctx->data;
	if (!hop || data + 14 > (void *)(long)ctx->data_end)
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	*(__u16 *)(data + 12) = p->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	memcpy(data, hop->destination, 12);
	ends_in(ctx, where >> 16, where & 0xffff, length);
	int verdict = leave(ctx, hop->port, XDP_DROP, mirror);
	if (verdict != XDP_REDIRECT)
		ends_in(ctx, where >> 16, COUNTER_DROP_REDIRECT, length);
	return verdict;
}

/* The same; what has an output leaves by that. */
INLINE int deliver_out(struct xdp_md *ctx, struct packet *p, struct flow *f, __u32 mirror, __u32 where)
{
	if (f->action == ACTION_ROUTE && f->flags & FLOW_TREATED && f->next_hop)
		return leave_by(ctx, f->next_hop, 14, where, mirror);
	return deliver(ctx, p, f, mirror, where);
}

#endif
