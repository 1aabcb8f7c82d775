/* What happens to a frame from the core?
 *
 * It passes, always, but for the core's answers to our own pings. On its way it shows which tunnel leads to which UE.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_DOWNLINK_H
#define OFFRAMP_DOWNLINK_H

#include "signal.h"
#include "capture.h"
#include "begun.h"
#include "chain.h"
#include "classify.h"
#include "deliver.h"
#include "encapsulate.h"
#include "ethernet.h"
#include "meter.h"
#include "mirror.h"
#include "outlet.h"

/* Is it the core's answer to a ping of ours? 0 no, 1 yes, 2 yes, through the claim's tunnel. */
GLOBAL int ping_answer(struct xdp_md *ctx, struct packet *p, struct config *cfg)
{
	if (!p || !cfg)
		return 0;
	__u8 m[64] ALIGNED;
	__u64 cookie;
	__u32 index, epoch;
	const struct address *target = p->inner_v6 ? &cfg->ping_target6 : &cfg->ping_target4;

	if (!(cfg->flags & (p->inner_v6 ? CONFIG_PINGER6 : CONFIG_PINGER4)) || !same_address(target, &p->remote))
		return 0;
	if (p->inner_v6) {
		if (bpf_xdp_load_bytes(ctx, p->inner, m, 64) || m[6] != PROTO_ICMPV6 || m[40] != 129)
			return 0;
	} else if (bpf_xdp_load_bytes(ctx, p->inner, m, 44) || m[0] != 0x45 || m[9] != PROTO_ICMP || m[20] != 0) {
		return 0;
	}
	const __u8 *icmp = p->inner_v6 ? m + 40 : m + 20;
	memcpy(&cookie, icmp + 8, 8);
	if (*(__u16 *)(icmp + 4) != cfg->ping_id || cookie != cfg->ping_cookie)
		return 0;
	memcpy(&index, icmp + 16, 4);
	memcpy(&epoch, icmp + 20, 4);
	struct session *s = session_at(index);
	if (!s || s->epoch != epoch)
		return 1; /* late, but ours */
	return icmp[6] & 0x80 ? 2 : 1;
}

/* The bearer that leads to this tunnel heals, or takes a new form. */
GLOBAL int refresh_downlink(struct xdp_md *ctx, struct packet *p, struct config *cfg, struct tunnel *t,
				       __u32 proof)
{
	if (!p || !cfg || !t)
		return 0;
	if (!t)
		return 0;
	__u32 index = p->inner_v6 ? t->session6 : t->session4, slot = p->inner_v6 ? t->slot6 : t->slot4;
	struct session *s = session_at(index);
	struct bearer *b = bearer_at(index, slot);
	if (!s || !b || slot >= DOWNLINK_SLOTS || s->epoch != (p->inner_v6 ? t->epoch6 : t->epoch4) || !lock_session(s))
		return 0;
	int stale = b->state == BEARER_STALE;
	int healed = 0;
	if (proof == 2 && s->flags & SESSION_CANDIDATE) {
		struct bearer *claim = bearer_at(index, SLOT_CANDIDATE);
		struct tunnel *claimed = claim ? bpf_map_lookup_elem(&tunnels, &claim->key) : 0;
		/* answered where the session is known to be: the claim is its own */
		if (claimed && same_address(&claim->key.endpoint, &s->gateway) &&
		    same_address(&claimed->peer, &s->base_station)) {
			adopt_claim(index, s);
			tell(EVENT_BEARER_NEW, s, index, p, SLOT_CANDIDATE, p->message);
		}
	}
	if (stale) {
		__u32 at = now();
		if (!proof || (b->confirm_at && (__s32)(at - b->confirm_at) > (__s32)(HZ / 4)))
			healed = 1;
		else if (!b->confirm_at)
			b->confirm_at = at | 1;
	}
	if (b->psc != p->psc) { /* the tunnel may carry another session, of the other family, as well */
		build_header(ctx, cfg, b, p, index);
		t->psc = p->psc;
		t->format = p->flags;
	}
	if (healed) {
		b->confirm_at = 0;
		s->flags &= ~SESSION_MOVING;
		s->aside_until = 0;
		b->state = downlink_state(s);
		tell(EVENT_DOWNLINK_LEARNT, s, index, p, slot, p->message);
	}
	unlock_session(s);
	return stale;
}

INLINE int pass_downlink(struct xdp_md *ctx, struct config *cfg, struct packet *p, __u32 counter)
{
	if (capture_on())
		capture_frame(ctx, p, counter, 0, DATAPLANE * 2 + 1);
	return wire(ctx, cfg, 0, counter);
}

#define UNDECIDED -2

/* Is this packet of the core part of a flow that stays in its tunnel with a treatment? Then the verdict, else -1 and it
 * passes, or UNDECIDED. `own`: the downlink bearer that it came in, ~0 on Ethernet, where there is one. */
GLOBAL int through_downlink(struct xdp_md *ctx, struct packet *p, struct config *cfg, __u32 own)
{
	if (!p || !cfg)
		return -1;
	struct flow_key key;

	if (parse_inner(ctx, p, 0, 0) || is_icmp_other(p) || !follow_fragment(p, ~3))
		return -1;
	uplink_key(&key, p);
	key.reply = 1;
	struct flow *f = bpf_map_lookup_elem(&flows, &key);
	if (!f || is_begun_before(f))
		return UNDECIDED;
	if (!keeps_tunnel(f->action))
		return -1;
	struct session *s = session_at(f->session);
	if (!s || s->epoch != f->epoch)
		return -1;
	const struct treatment *t = treatment_of(f);
	if (!t)
		return -1;
	if (f->last_seen != now())
		f->last_seen = now();
	if (own != ~0u && f->bearer != own)
		f->bearer = own;
	p->service = f->service;
	p->rule = f->rule;
	if (!within_rate(t, f->service, 1, p->inner_length))
		return drop(ctx, COUNTER_DROP_RATE);
	count_service(f->service, 1, p->inner_length);
	if (p->protocol == PROTO_TCP && p->fragment != FRAGMENT_LATER && p->tcp_flags & TCP_SYN)
		clamp_mss(ctx, p->l4, chain_mss(t, ~0u, p->inner_v6));
	if (t->flags & TREATMENT_BYPASS_DOWN)
		count(COUNTER_NOTE_CHAIN_BYPASSED, 0);
	if (f->action == ACTION_FORWARD)
		return forward(ctx, p, f->next_hop, mirror_of(t, 1));
	if (!t->chain_down)
		return go_through(ctx, cfg, 0, t);
	note_qfi(f, p);
	if (!strip(ctx, p))
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	return to_function(ctx, p, t->chain_down, flow_entropy(ports_down(p)) << 8, DATAPLANE << 16 | COUNTER_CHAIN_DOWNLINK);
}

/* Is the first rule that this packet of the core meets one for the downlink? Then the verdict, else -1. */
GLOBAL int downlink_alone(struct xdp_md *ctx, struct packet *p, struct config *cfg)
{
	if (!p || !cfg || parse_inner(ctx, p, 0, 0) || !follow_fragment(p, ~3) || !find_rule(p, FIND_DOWNLINK, 0))
		return -1;
	struct lookup *l = lookup_here();

	if (!l || !(l->outcome.flags & RULE_DIRECTED))
		return -1;
	if (l->outcome.action == ACTION_PASS)
		return pass_downlink(ctx, cfg, p, COUNTER_PASS_DOWNLINK);
	struct flow *f = flow_alone(p);
	if (!f)
		return -1;
	__u32 service = f->service, action = f->action, length = p->inner_length;
	const struct treatment *t = treatment_of(f);
	if (action != ACTION_THROUGH && action != ACTION_DROP && f->flags & FLOW_TREATED && !has_way(f->next_hop, action, p))
		return pass_downlink(ctx, cfg, p, COUNTER_PASS_NO_WAY);
	if (t && action != ACTION_DROP && !within_rate(t, service, 1, length))
		return drop(ctx, COUNTER_DROP_RATE);
	count_service(service, 1, length);
	if (capture_on())
		capture_frame(ctx, p, action == ACTION_DROP ? COUNTER_DROP_RULE : taken_as(f), service, DATAPLANE * 2 + 1);
	if (action == ACTION_DROP)
		return drop(ctx, COUNTER_DROP_RULE);
	if (action == ACTION_THROUGH)
		return go_through(ctx, cfg, 0, t);
	if (action == ACTION_FORWARD)
		return forward(ctx, p, f->next_hop, mirror_of(t, 1));
	if (!strip(ctx, p))
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	return deliver_out(ctx, p, f, mirror_of(t, 1), DATAPLANE << 16 | COUNTER_TAKE_ROUTED);
}

/* The same; a flow that the core begins is decided and entered before. Rules for the downlink alone come first where they
 * are of higher priority. `own`: DOWNLINK_UNKNOWN in a tunnel that was not known before. */
#define DOWNLINK_UNKNOWN (~0u - 1)
INLINE int treat_downlink(struct xdp_md *ctx, struct packet *p, struct config *cfg, __u32 own)
{
	struct rules_header *h = rules_head();
	int verdict = -1;

	if (h && h->flags & RULES_DIRECTED)
		verdict = downlink_alone(ctx, p, cfg);
	if (verdict >= 0 || own == DOWNLINK_UNKNOWN)
		return verdict;
	verdict = through_downlink(ctx, p, cfg, own);

	if (verdict == UNDECIDED && begin_through(p, cfg, own))
		return through_downlink(ctx, p, cfg, own);
	return verdict;
}

/* What downlink() does, for a frame without a tunnel. */
INLINE int downlink_ethernet(struct xdp_md *ctx, struct config *cfg, struct packet *p)
{
	if (!cfg || cfg->mode == MODE_BYPASS)
		return wire(ctx, cfg, 0, COUNTER_PASS_BYPASS);
	int found = parse_ethernet(ctx, p, 0);
	if (found != FOUND_GPDU)
		return pass_downlink(ctx, cfg, p, found);
	int known = station_cached(p, KIND_STATION_DOWN) || confirm_station(ctx, p);
	if (cfg->mode == MODE_OFFLOAD && maybe_of(&p->remote, p->inner_v6) & MAYBE_TREATED) {
		int verdict = treat_downlink(ctx, p, cfg, known ? ~0u : DOWNLINK_UNKNOWN);
		if (verdict >= 0)
			return verdict;
	}
	return pass_downlink(ctx, cfg, p, COUNTER_PASS_DOWNLINK);
}

INLINE int downlink(struct xdp_md *ctx, struct config *cfg, struct packet *p)
{
	int found, proof = 0, stale = 0;

	if (!cfg)
		return wire(ctx, 0, 0, COUNTER_PASS_BYPASS);
	if (cfg->mode == MODE_BYPASS)
		return wire(ctx, cfg, 0, COUNTER_PASS_BYPASS);
	p->fragment = FRAGMENT_NONE;
	found = parse_outer(ctx, p, 0);
	if (found == FOUND_CONTROL) {
		__u32 counter = COUNTER_PASS_GTPU_CONTROL;
		if (p->message == GTPU_ERROR_INDICATION)
			counter = error_indication(ctx, p, 0);
		else if (p->message == GTPU_END_MARKER)
			counter = end_marker(p);
		return wire(ctx, cfg, 0, counter);
	}
	if (found == FOUND_FRAGMENT || (found == FOUND_GPDU && p->fragment))
		return wire(ctx, cfg, 0, COUNTER_PASS_OUTER_FRAGMENT);
	if (found != FOUND_GPDU)
		return wire(ctx, cfg, 0, found);
	if (p->inner_v6 > 1)
		return pass_downlink(ctx, cfg, p, COUNTER_PASS_DOWNLINK);
	if (cfg->flags & (CONFIG_PINGER4 | CONFIG_PINGER6) &&
	    same_address(&p->remote, p->inner_v6 ? &cfg->ping_target6 : &cfg->ping_target4))
		proof = ping_answer(ctx, p, cfg);

	struct tunnel_key key;
	set_tunnel_key(&key, p, 0);
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &key);
	__u32 counter = COUNTER_PASS_DOWNLINK, bearer = 0;
	int known = t && same_address(&t->peer, &p->source) &&
		    (p->inner_v6 ? t->flags & TUNNEL_IPV6 && t->ue6 == p->ue.hi
				 : t->flags & TUNNEL_IPV4 && t->ue4 == mapped_ipv4(&p->ue));
	if (known) {
		__u32 index = p->inner_v6 ? t->session6 : t->session4, slot = p->inner_v6 ? t->slot6 : t->slot4;
		struct bearer *b = 0;
		if (t->last_seen != now())
			t->last_seen = now();
		/* The bearer is looked at when it could have changed: the header, or a session that waits. */
		b = bearer_at(index, slot);
		bearer = index * BEARER_SLOTS + slot;
		if (proof || (b && (b->psc != p->psc || b->state == BEARER_STALE)))
			stale = refresh_downlink(ctx, p, cfg, t, proof);
		else if (slot < DOWNLINK_SLOTS && b)
			cache_tunnel(p, 0, index * BEARER_SLOTS + slot);
		if (b && !proof && b->core_at != now())
			b->core_at = now();
	} else {
		counter = learn_downlink(ctx, p, cfg, proof);
	}
	if (proof) {
		__u32 index;
		struct session_key session;
		session_key_of(&session, &p->ue, p->inner_v6);
		__u32 *at = bpf_map_lookup_elem(&ue_sessions, &session);
		if (at) {
			index = *at;
			struct session *s = session_at(index);
			if (s)
				tell(EVENT_PINGER_ANSWER, s, index, p, proof == 2 ? SLOT_CANDIDATE : 0, p->message);
		}
		/* on a stale tunnel it goes on: if the base station refuses it, the core learns the truth */
		if (!stale)
			return drop(ctx, COUNTER_DROP_PINGER_ANSWER);
	}
	if ((known || counter == COUNTER_PASS_DOWNLINK) && !proof && cfg->mode == MODE_OFFLOAD &&
	    maybe_of(&p->remote, p->inner_v6) & MAYBE_TREATED) {
		int verdict = treat_downlink(ctx, p, cfg, known ? bearer : DOWNLINK_UNKNOWN);
		if (verdict >= 0)
			return verdict;
	}
	return pass_downlink(ctx, cfg, p, counter);
}

#endif
