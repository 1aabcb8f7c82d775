/* What becomes of a packet that a function of a chain returns?
 *
 *   unwrap -> the next function, or behind the last one:
 *     uplink    -> flow -> endpoint, apps' network, or back into the UE's uplink tunnel
 *     downlink  -> flow -> the UE's downlink tunnel
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_FUNCTIONS_H
#define OFFRAMP_FUNCTIONS_H

#include "plain.h"
#include "reply.h"
#include "uplink.h"

/* Back into the tunnel that the UE's packet came in, as if it had never left it. */
GLOBAL int back_to_core(struct xdp_md *ctx, struct packet *p, struct flow *f)
{
	if (!p || !f)
		return XDP_DROP;
	struct bearer *b = bearer_at(f->session, SLOT_UPLINK);
	__u32 length = p->inner_length;

	if (!b || b->state != BEARER_LIVE || b->epoch != f->epoch)
		return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
	struct config *cfg = config_of(b->dataplane);
	__u32 dataplane = b->dataplane, v6 = b->v6, l3 = b->l3_offset, teid = b->key.teid;
	if (!cfg || !push_header(ctx, b, p, length, flow_entropy(ports_up(p)) ^ bpf_get_prandom_u32() << 8, f->qfi))
		return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
	if (f->teid != teid) { /* another bearer of the UE's */
		void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
		void *udp = data + (l3 & 31) + (v6 ? 40 : 20);
		if (udp + 16 > end)
			return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
		*(__u32 *)(udp + 12) = f->teid;
		if (v6) {
			__u16 sum = update_checksum(*(__u16 *)(udp + 6), fold((__u64)(__u32)~teid + f->teid));
			*(__u16 *)(udp + 6) = sum ? sum : 0xffff;
		}
	}
	ends_in(ctx, dataplane, COUNTER_CHAIN_BACK, length);
	int verdict = leave(ctx, cfg->flags & CONFIG_SHARED ? PORT_RETURN : PORT_CORE(dataplane), XDP_DROP, mirror_of(treatment_of(f), 0));
	if (verdict != XDP_REDIRECT)
		ends_in(ctx, dataplane, COUNTER_DROP_REDIRECT, length);
	return verdict;
}

/* Into the UE's downlink: there is no hold behind a chain, only in front of it. */
GLOBAL int back_to_ue(struct xdp_md *ctx, struct packet *p, struct flow *f)
{
	if (!p || !f)
		return XDP_DROP;
	__u32 slot = f->bearer, length = p->inner_length;
	struct bearer *b = bpf_map_lookup_elem(&bearers, &slot);

	if (!b || b->state != BEARER_LIVE || b->epoch != f->epoch) {
		struct session *s = session_at(f->session);
		__u32 usable = s ? usable_slot(f->session, s) : ~0u;
		slot = f->session * BEARER_SLOTS + usable;
		b = usable == ~0u ? 0 : bpf_map_lookup_elem(&bearers, &slot);
		if (!b)
			return drop(ctx, COUNTER_DROP_NO_DOWNLINK);
	}
	struct config *cfg = config_of(b->dataplane);
	if (!cfg)
		return drop(ctx, COUNTER_DROP_REDIRECT);
	if (length + b->overhead > cfg->mtu_access) {
		ends_in(ctx, b->dataplane, COUNTER_DROP_TOO_BIG, length);
		return XDP_DROP;
	}
	if (f->action != ACTION_THROUGH)
		note_injection(f->session, slot);
	return into_tunnel(ctx, cfg, p, f, b, bpf_get_prandom_u32(), treatment_of(f));
}

/* The uplink entry of the flow that a packet behind its last function belongs to, or 0. */
INLINE struct flow *chained_flow(struct packet *p, struct flow_key *key, __u32 service)
{
	uplink_key(key, p);
	struct flow *f = bpf_map_lookup_elem(&flows, key);
	if (!f || f->service != service || is_icmp_other(p))
		return 0;
	struct session *s = session_at(f->session);
	if (!s || s->epoch != f->epoch)
		return 0;
	p->service = f->service;
	p->rule = f->rule;
	return f;
}

/* To where the packet would have gone without a chain. */
GLOBAL int end_uplink(struct xdp_md *ctx, struct packet *p, struct flow *f)
{
	struct session *s = p && f ? session_at(f->session) : 0;

	if (!s || (f->action != ACTION_TAKE && f->action != ACTION_ROUTE))
		return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
	return deliver_out(ctx, p, f, mirror_of(treatment_of(f), 0), s->dataplane << 16 | taken_as(f));
}

/* In the program of replies, not in one of its own behind a tail call: the kernel empties program arrays when the control
 * plane ends, and chains go on. */
INLINE int from_function(struct xdp_md *ctx)
{
	__u32 found = unwrap(ctx), vni = found & 0xffffff;
	struct packet *p = new_packet(WAY_APPS);
	struct hop *h = bpf_map_lookup_elem(&hops, &vni);

	if (!found || !h || !p)
		return drop(ctx, COUNTER_DROP_CHAIN_UNKNOWN);
	__u32 downlink = !!(h->flags & HOP_DOWNLINK);
	int refused = parse_plain(ctx, p, !downlink);
	if (refused)
		return drop(ctx, refused);
	if (h->next)
		return to_function(ctx, p, h->next, found >> 24 << 8, DATAPLANE << 16 | COUNTER_CHAIN_NEXT);
	if (!follow_fragment(p, ~1 - !downlink))
		return drop(ctx, COUNTER_DROP_FRAGMENT);
	struct flow_key key;
	struct flow *f = chained_flow(p, &key, h->service);
	if (f && downlink) {
		reply_key(&key, f, p);
		f = bpf_map_lookup_elem(&flows, &key);
	}
	if (!f)
		return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
	if (downlink)
		return back_to_ue(ctx, p, f);
	return f->action == ACTION_THROUGH ? back_to_core(ctx, p, f) : end_uplink(ctx, p, f);
}

#endif
