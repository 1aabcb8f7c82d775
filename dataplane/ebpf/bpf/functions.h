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
INLINE int back_to_core(struct xdp_md *ctx, struct packet *p, struct flow *f, const struct treatment *t)
{
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
	int verdict = leave(ctx, cfg->flags & CONFIG_SHARED ? PORT_RETURN : PORT_CORE(dataplane), XDP_DROP, t);
	if (verdict != XDP_REDIRECT)
		ends_in(ctx, dataplane, COUNTER_DROP_REDIRECT, length);
	return verdict;
}

/* Into the UE's downlink: there is no hold behind a chain, only in front of it. */
INLINE int back_to_ue(struct xdp_md *ctx, struct packet *p, struct flow *f, struct session *s, const struct treatment *t)
{
	__u32 slot = f->bearer, length = p->inner_length;
	struct bearer *b = bpf_map_lookup_elem(&bearers, &slot);

	if (!b || b->state != BEARER_LIVE || b->epoch != f->epoch) {
		__u32 usable = usable_slot(f->session, s);
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
	return into_tunnel(ctx, cfg, p, f, b, bpf_get_prandom_u32(), t);
}

INLINE int from_function(struct xdp_md *ctx)
{
	__u32 entropy = 0;
	struct packet *p = new_packet(WAY_APPS);
	struct hop *h = unwrap(ctx, &entropy);

	if (!h || !p)
		return drop(ctx, COUNTER_DROP_CHAIN_UNKNOWN);
	__u32 next = h->next, service = h->service, downlink = h->flags & HOP_DOWNLINK;
	int refused = parse_plain(ctx, p, !downlink);
	if (refused)
		return drop(ctx, refused);
	if (next)
		return to_function(ctx, p, next, entropy << 8, DATAPLANE << 16 | COUNTER_CHAIN_NEXT);
	if (!follow_fragment(p, ~1 - !downlink))
		return drop(ctx, COUNTER_DROP_FRAGMENT);
	struct flow_key key;
	uplink_key(&key, p);
	struct flow *f = bpf_map_lookup_elem(&flows, &key);
	if (!f || f->service != service || is_icmp_other(p))
		return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
	struct session *s = session_at(f->session);
	if (!s || s->epoch != f->epoch)
		return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
	p->service = f->service;
	p->rule = f->rule;
	const struct treatment *t = treatment_of(f);
	if (downlink) {
		reply_key(&key, f, p);
		struct flow *reply = bpf_map_lookup_elem(&flows, &key);
		if (!reply)
			return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
		return back_to_ue(ctx, p, reply, s, t);
	}
	if (f->action == ACTION_THROUGH)
		return back_to_core(ctx, p, f, t);
	if (f->action != ACTION_TAKE && f->action != ACTION_ROUTE)
		return drop(ctx, COUNTER_DROP_CHAIN_NO_FLOW);
	ends_in(ctx, s->dataplane, taken_as(f), p->inner_length);
	return deliver(ctx, p, f, t);
}

#endif
