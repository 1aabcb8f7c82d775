/* What happens to a frame from the base stations?
 *
 *   frame -> parse -> bypass? -> protected? -> could a rule match? -> flow known -> take
 *                                                   |                  | no
 *                                                   | no               v
 *                                                   +------------> tunnel known? -> learn -> decide -> take or pass
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_UPLINK_H
#define OFFRAMP_UPLINK_H

#include "chain.h"
#include "classify.h"
#include "deliver.h"
#include "encapsulate.h"
#include "quote.h"
#include "meter.h"
#include "mirror.h"
#include "names.h"
#include "signal.h"
#include "ethernet.h"
#include "owner.h"
#include "capture.h"
#include "fast.h"

INLINE int same_tunnel(const struct flow *f, const struct packet *p)
{
	return f->teid == p->teid && f->link == here(p) && same_address(&f->source, &p->source) &&
	       same_address(&f->destination, &p->destination);
}

INLINE __u32 taken_as(const struct flow *f)
{
	if (f->action == ACTION_THROUGH)
		return COUNTER_PASS_TREATED;
	return f->action == ACTION_ROUTE ? COUNTER_TAKE_ROUTED : COUNTER_TAKE_UPLINK;
}

/* The way of a flow that is not only passed: out of the tunnel and to the endpoint; or on in it. */
GLOBAL int take(struct xdp_md *ctx, struct config *cfg, struct packet *p, struct flow *f)
{
	if (!cfg || !p || !f)
		return XDP_DROP;
	__u32 at = now();
	__u32 length = p->inner_length;
	const struct treatment *t = treatment_of(f);

	p->service = f->service;
	p->rule = f->rule;
	if (f->last_seen != at)
		f->last_seen = at;
	if (t && !within_rate(t, f->service, 0, length))
		return drop(ctx, COUNTER_DROP_RATE);
	__u32 vni = t && !is_icmp_other(p) ? t->chain_up : CHAIN_NONE;
	count_service(f->service, 0, length);
	if (p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST) && p->protocol == PROTO_TCP && p->fragment != FRAGMENT_LATER) {
		if (p->tcp_flags & TCP_FIN)
			f->flags |= FLOW_FIN_UP;
		if (p->tcp_flags & TCP_RST)
			f->flags |= FLOW_RST;
		if (p->tcp_flags & TCP_SYN)
			clamp_mss(ctx, p->l4,
				  chain_mss(t, f->action == ACTION_THROUGH ? ~0u : mss_limit(cfg, p->v6 ? 64 : 44, p->inner_v6),
					    p->inner_v6));
	}
	if (t && t->flags & TREATMENT_BYPASS_UP && !is_icmp_other(p))
		count(COUNTER_NOTE_CHAIN_BYPASSED, 0);
	if (f->action == ACTION_THROUGH && !vni)
		return go_through(ctx, cfg, 1, t);
	if (!vni)
		ends(ctx, taken_as(f), length);
	else
		note_qfi(f, p);
	if (!strip(ctx, p))
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	if (vni)
		return to_function(ctx, p, vni, flow_entropy(ports_up(p)) << 8, DATAPLANE << 16 | COUNTER_CHAIN_UPLINK);
	return deliver(ctx, p, f, t);
}

/* Waits in user space for its first fragment, else goes on to the core. */
INLINE int wait_for_first(struct xdp_md *ctx, struct config *cfg, struct packet *p)
{
	if (slow(ctx, SLOW_INNER_FRAGMENT, DATAPLANE, 0, 0, p->token, SLOW_REASON_UNKNOWN)) {
		ends(ctx, COUNTER_SLOW_INNER_FRAGMENT, p->inner_length);
		return XDP_REDIRECT;
	}
	return wire(ctx, cfg, 1, COUNTER_PASS_NO_RULE);
}

INLINE void fragment_key_of(struct fragment_key *key, const struct packet *p)
{
	key->source = p->ue;
	key->destination = p->remote;
	key->id = p->id;
	key->link = DATAPLANE << 25;
	key->protocol = p->protocol;
	key->pad = 0;
}

GLOBAL int remember_fragment(struct packet *p, __u32 outer)
{
	struct fragment_key key;

	if (!p)
		return 0;
	struct fragment value = {.outer = outer, .last_seen = now()};
	fragment_key_of(&key, p);
	uplink_key(&value.flow, p);
	return !bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
}

/* Gives a later fragment the ports of its first one. Returns 0 when that has not come. */
GLOBAL int first_fragment(struct packet *p)
{
	struct fragment_key key;

	if (!p)
		return 0;
	fragment_key_of(&key, p);
	struct fragment *first = bpf_map_lookup_elem(&fragments, &key);
	if (!first)
		return 0;
	p->ue_port = first->flow.ue_port;
	p->remote_port = first->flow.remote_port;
	return 1;
}

GLOBAL int has_session(struct packet *p)
{
	struct session_key key;

	if (!p)
		return 0;
	session_key_of(&key, &p->ue, p->inner_v6 && !p->ethernet);
	return bpf_map_lookup_elem(&ue_sessions, &key) != 0;
}

/* The address of a protected prefix, or GTP itself toward one. */
INLINE int protected_drop(struct xdp_md *ctx, struct packet *p)
{
	__u8 protocol = 0;
	__u16 port = 0;
	__u32 header = p->inner_v6 ? 40 : 20;

	if (!bpf_xdp_load_bytes(ctx, p->inner + (p->inner_v6 ? 6 : 9), &protocol, 1) && protocol == PROTO_UDP &&
	    !bpf_xdp_load_bytes(ctx, p->inner + header + 2, &port, 2) &&
	    (port == bpf_htons(GTPU_PORT) || port == bpf_htons(2123)))
		return drop(ctx, COUNTER_DROP_GTP_IN_GTP);
	return drop(ctx, COUNTER_DROP_PROTECTED);
}

/* An ICMP error from the UE about a packet of a taken flow goes to the app. Returns the flow, or 0. */
INLINE struct flow *taken_error(struct xdp_md *ctx, struct packet *p)
{
	struct flow_key key;

	if (!find_quoted(ctx, p, &key, 1))
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows, &key);
	if (!f || (f->action != ACTION_TAKE && f->action != ACTION_ROUTE) || !same_tunnel(f, p))
		return 0;
	struct session *s = session_at(f->session);
	if (!s || s->epoch != f->epoch)
		return 0;
	if (f->action == ACTION_TAKE && !translate_quote(ctx, p, &key, f, 1))
		return 0;
	p->fragment = FRAGMENT_LATER; /* what is left to translate is the address */
	return f;
}

/* What becomes of an outer fragment? The first one to come decides for all of its packet: the first fragment by where
 * it wants to go, a later one by whether there is any rule at all. Returns 0 to pass, else 1 + SLOW_REASON_*. */
GLOBAL int outer_fate(struct packet *p, struct config *cfg)
{
	if (!p || !cfg)
		return 0;
	struct fragment_key key = {.source = p->source, .destination = p->destination, .id = p->id,
				   .link = tunnel_link(DATAPLANE, p, 1), .protocol = PROTO_UDP | 256};
	struct fragment *known = bpf_map_lookup_elem(&fragments, &key);
	__u32 zero = 0, outer = 1, reason = SLOW_REASON_TAKEN;

	if (known && now() - known->last_seen < 30 * HZ)
		return known->outer == 2 ? 1 + SLOW_REASON_TAKEN : 0;
	if (cfg->mode == MODE_OFFLOAD && slow_present()) {
		if (p->fragment == FRAGMENT_LATER) {
			struct rules_header *header = bpf_map_lookup_elem(&rules_state, &zero);
			if (header && header->count) {
				outer = 2;
				reason = SLOW_REASON_UNKNOWN;
			}
		} else if (p->inner_v6 < 2 &&
			   maybe_of(&p->remote, p->inner_v6) & (MAYBE_RULE | MAYBE_PROTECTED)) {
			struct tunnel_key tunnel;
			set_tunnel_key(&tunnel, p, 1);
			struct tunnel *t = bpf_map_lookup_elem(&tunnels, &tunnel);
			if (!t || !is_bound(t, p) || (is_own(t, p) && !(t->flags & candidate_bit(p->inner_v6))))
				outer = 2;
		}
	}
	struct fragment value = {.outer = outer, .last_seen = now()};
	bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
	return outer == 2 ? 1 + reason : 0;
}

INLINE int outer_fragment(struct xdp_md *ctx, struct config *cfg, struct packet *p)
{
	int fate = outer_fate(p, cfg);

	if (fate > 0 && slow(ctx, SLOW_FRAGMENT, DATAPLANE, 0, 0, p->token, fate - 1)) {
		ends(ctx, COUNTER_SLOW_FRAGMENT, 0);
		return XDP_REDIRECT;
	}
	return wire(ctx, cfg, 1, COUNTER_PASS_OUTER_FRAGMENT);
}

/* Back to where it came from: the control plane still has the fragments as they arrived. */
INLINE int pass_uplink(struct xdp_md *ctx, struct config *cfg, struct packet *p, __u32 counter)
{
	if (counter == COUNTER_DROP_RULE) {
		if (capture_on())
			capture_frame(ctx, p, counter, 0, DATAPLANE * 2);
		return drop(ctx, counter);
	}
	if (p->from_slow && slow(ctx, SLOW_FRAGMENT, DATAPLANE, 0, 0, p->token, SLOW_REASON_NOT_TAKEN)) {
		ends(ctx, counter, 0);
		return XDP_REDIRECT;
	}
	if (capture_on())
		capture_frame(ctx, p, counter, 0, DATAPLANE * 2);
	return wire(ctx, cfg, 1, counter);
}

/* A packet of a flow that is not taken out of its tunnel. */
INLINE int stay(struct xdp_md *ctx, struct config *cfg, struct packet *p, struct flow *f)
{
	p->service = f->service;
	p->rule = f->rule;
	return pass_uplink(ctx, cfg, p, f->action == ACTION_DROP ? COUNTER_DROP_RULE : COUNTER_PASS_NO_RULE);
}

/* The pinger gave up for this UE, and no downlink has shown itself since. */
INLINE int stands_aside(__u32 index, const struct session *s)
{
	return s->aside_until && (__s32)(s->aside_until - now()) > 0 && usable_slot(index, s) == ~0u;
}

/* The inner packet is at hand, out of a tunnel or plain on Ethernet: from here on only what shows its owner differs. */
INLINE int uplink_packet(struct xdp_md *ctx, struct config *cfg, struct packet *p, int ethernet)
{
	if (p->inner_v6 > 1)
		return pass_uplink(ctx, cfg, p, COUNTER_PASS_NO_RULE);
	__u32 wanted, maybe = maybe_of(&p->remote, p->inner_v6);
	if (maybe & MAYBE_PROTECTED && cfg->mode == MODE_OFFLOAD && prefix_has(PREFIX_PROTECTED, 0, &p->remote))
		return protected_drop(ctx, p);
	wanted = maybe & MAYBE_RULE;
	int named = is_named(ctx, p);
	if (wanted && !named) {
		if (parse_inner(ctx, p, 1, 0))
			return pass_uplink(ctx, cfg, p, COUNTER_PASS_INNER_MALFORMED);
		if (p->fragment == FRAGMENT_LATER && !first_fragment(p)) {
			if (cfg->mode == MODE_OFFLOAD && has_session(p))
				return wait_for_first(ctx, cfg, p);
			return pass_uplink(ctx, cfg, p, COUNTER_PASS_NO_RULE);
		}
		struct flow_key key;
		uplink_key(&key, p);
		struct flow *f = is_icmp_other(p) ? 0 : bpf_map_lookup_elem(&flows, &key);
		if (f) {
			struct session *s = session_at(f->session);
			int current = s && s->epoch == f->epoch;
			if (!current) {
				forget_flow(&key, f);
			} else if (same_tunnel(f, p)) {
				__u32 zero = 0;
				struct rules_header *header = bpf_map_lookup_elem(&rules_state, &zero);
				__u32 fresh = header && header->generation == f->generation &&
					      decided_by(header, f->dscp, f->qfi) == decided_by(header, p->dscp, qfi_of(p));
				int syn = p->protocol == PROTO_TCP && !p->fragment &&
					  (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
				int same = (fresh && !(syn && f->flags & FLOW_RUNNING)) || p->fragment == FRAGMENT_LATER;
				if (stays_itself(f->action) && !same) {
					p->running = !syn;
					forget_flow(&key, f);
				} else if (!has_twin(f->action)) {
					if (f->last_seen != now())
						f->last_seen = now();
					cache_flow(p, f);
					if (p->fragment == FRAGMENT_FIRST)
						remember_fragment(p, 1);
					return stay(ctx, cfg, p, f);
				} else if (syn && (!header || header->generation != f->generation ||
						   f->flags & (FLOW_FIN_UP | FLOW_FIN_DOWN | FLOW_RST))) {
					forget_flow(&key, f); /* the same ports, a new connection */
				} else if (cfg->mode == MODE_OFFLOAD && f->action != ACTION_THROUGH && stands_aside(f->session, s)) {
					/* nobody could ever answer it: the core shall */
					forget_flow(&key, f);
					return pass_uplink(ctx, cfg, p, COUNTER_PASS_ASIDE);
				} else if (cfg->mode == MODE_OFFLOAD) {
					if (p->fragment == FRAGMENT_FIRST)
						remember_fragment(p, 0);
					if (capture_on())
						capture_frame(ctx, p, taken_as(f), f->service, DATAPLANE * 2);
					cache_flow(p, f);
					return take(ctx, cfg, p, f);
				}
			}
		}
	}

	struct tunnel *t = 0;
	int owner = ethernet ? own_station(ctx, cfg, p, wanted | named, &t) : own_tunnel(ctx, cfg, p, &t);
	if (owner != LEARN_PROVEN)
		return pass_uplink(ctx, cfg, p, owner);
	if (named) {
		int refused = cfg->mode == MODE_OFFLOAD ? enter_query(p, cfg, t) : COUNTER_PASS_OBSERVE;
		if (refused >= 0)
			return pass_uplink(ctx, cfg, p, refused);
		if (capture_on())
			capture_frame(ctx, p, COUNTER_TAKE_DNS, 0, DATAPLANE * 2);
		return take_query(ctx, p);
	}
	if (!wanted) {
		cache_tunnel(p, 1, 0);
		return pass_uplink(ctx, cfg, p, COUNTER_PASS_NO_RULE);
	}
	if (is_icmp_other(p)) {
		struct flow *error = cfg->mode == MODE_OFFLOAD ? taken_error(ctx, p) : 0;
		if (error)
			return take(ctx, cfg, p, error);
		if (cfg->mode == MODE_OFFLOAD && is_dropped(p, FIND_UPLINK))
			return drop(ctx, COUNTER_DROP_RULE);
		return pass_uplink(ctx, cfg, p, COUNTER_PASS_NO_RULE);
	}
	/* a flow that is known came through another of the UE's own tunnels */
	struct flow_key flow;
	uplink_key(&flow, p);
	if (p->fragment == FRAGMENT_LATER)
		return pass_uplink(ctx, cfg, p, COUNTER_PASS_NO_RULE);
	struct flow *f = bpf_map_lookup_elem(&flows, &flow);
	if (f && stays_itself(f->action)) { /* decided anew, and counted once */
		forget_flow(&flow, f);
		f = 0;
	} else if (f && !same_tunnel(f, p)) {
		forget_cached(&flow, f);
		set_flow_tunnel(f, p);
	}
	if (!f) {
		int decided = decide(p, cfg, t);
		if (decided >= 0) {
			if (p->fragment == FRAGMENT_FIRST)
				remember_fragment(p, 1);
			return pass_uplink(ctx, cfg, p, decided);
		}
		f = bpf_map_lookup_elem(&flows, &flow);
		if (!f)
			return pass_uplink(ctx, cfg, p, COUNTER_PASS_TABLE_FULL);
	}
	if (cfg->mode != MODE_OFFLOAD)
		return pass_uplink(ctx, cfg, p, COUNTER_PASS_OBSERVE);
	if (p->fragment == FRAGMENT_FIRST)
		remember_fragment(p, 0);
	if (capture_on())
		capture_frame(ctx, p, taken_as(f), f->service, DATAPLANE * 2);
	return take(ctx, cfg, p, f);
}

/* What uplink() does, for a frame without a tunnel. */
INLINE int uplink_ethernet(struct xdp_md *ctx, struct config *cfg, struct packet *p)
{
	if (!cfg || cfg->mode == MODE_BYPASS)
		return wire(ctx, cfg, 1, COUNTER_PASS_BYPASS);
	int found = parse_ethernet(ctx, p, 1);
	if (found != FOUND_GPDU)
		return pass_uplink(ctx, cfg, p, found);
	return uplink_packet(ctx, cfg, p, 1);
}

INLINE int uplink(struct xdp_md *ctx, struct config *cfg, struct packet *p)
{
	int found;

	if (!cfg)
		return wire(ctx, 0, 1, COUNTER_PASS_BYPASS);
	if (cfg->mode == MODE_BYPASS)
		return wire(ctx, cfg, 1, COUNTER_PASS_BYPASS);
	p->fragment = FRAGMENT_NONE;
	found = parse_outer(ctx, p, 1);
	if (found == FOUND_CONTROL) {
		__u32 counter = COUNTER_PASS_GTPU_CONTROL;
		if (p->message == GTPU_ERROR_INDICATION)
			counter = error_indication(ctx, p, 1);
		if (counter == COUNTER_DROP_ERROR_INDICATION)
			return drop(ctx, counter);
		struct rules_header *header = rules_head();
		if (header && header->flags & RULES_SIGNALLING && cfg->mode == MODE_OFFLOAD && is_dropped(p, FIND_SIGNALLING))
			return drop(ctx, COUNTER_DROP_RULE);
		return wire(ctx, cfg, 1, counter);
	}
	if (found == FOUND_FRAGMENT || (found == FOUND_GPDU && p->fragment))
		return outer_fragment(ctx, cfg, p);
	if (found != FOUND_GPDU)
		return pass_uplink(ctx, cfg, p, found);
	return uplink_packet(ctx, cfg, p, 0);
}

#endif
