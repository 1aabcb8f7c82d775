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
#include "outlet.h"
#include "signal.h"
#include "ethernet.h"
#include "owner.h"
#include "capture.h"
#include "fast.h"
#include "fragment.h"

INLINE int same_tunnel(const struct flow *f, const struct packet *p)
{
	return f->teid == p->teid && f->link == here(p) && same_address(&f->source, &p->source) &&
	       same_address(&f->destination, &p->destination);
}

/* Back to where it came from: the control plane still has the fragments as they arrived. */
INLINE int pass_uplink(struct xdp_md *ctx, struct config *cfg, struct packet *p, __u32 counter)
{
	if (counter == COUNTER_DROP_RULE) {
		count_service(p->service, 0, p->inner_length);
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
				  outlet_mss(f,
					     chain_mss(t, keeps_tunnel(f->action) ? ~0u : mss_limit(cfg, p->v6 ? 64 : 44, p->inner_v6),
						       p->inner_v6),
					     p->inner_v6));
	}
	if (t && t->flags & TREATMENT_BYPASS_UP && !is_icmp_other(p))
		count(COUNTER_NOTE_CHAIN_BYPASSED, 0);
	if (f->action == ACTION_FORWARD && p->from_slow) /* put together, it may be too long: its fragments go on as they came */
		return pass_uplink(ctx, cfg, p, COUNTER_PASS_NO_WAY);
	if (f->action == ACTION_FORWARD)
		return forward(ctx, p, f->next_hop, mirror_of(t, 0));
	if (f->action == ACTION_THROUGH && !vni)
		return go_through(ctx, cfg, 1, t);
	if (vni)
		note_qfi(f, p);
	if (!strip(ctx, p))
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	if (vni)
		return to_function(ctx, p, vni, flow_entropy(ports_up(p)) << 8, DATAPLANE << 16 | COUNTER_CHAIN_UPLINK);
	return deliver_out(ctx, p, f, mirror_of(t, 0), DATAPLANE << 16 | taken_as(f));
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
	if (!f || (f->action != ACTION_TAKE && f->action != ACTION_ROUTE && f->action != ACTION_FORWARD) || !same_tunnel(f, p))
		return 0;
	struct session *s = session_at(f->session);
	if (!s || s->epoch != f->epoch)
		return 0;
	if (f->action == ACTION_TAKE && !translate_quote(ctx, p, &key, f, 1))
		return 0;
	p->fragment = FRAGMENT_LATER; /* what is left to translate is the address */
	return f;
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

/* By a rule for one direction, this packet alone: DECIDED_FLOW, or the counter that it ends with. The outcome is in this
 * CPU's struct lookup, and in the flow that nobody enters. */
INLINE int decide_alone(struct packet *p, struct config *cfg, const struct flow *f)
{
	if (!f || cfg->mode != MODE_OFFLOAD)
		return COUNTER_PASS_OBSERVE;
	if (f->action == ACTION_DROP)
		return COUNTER_DROP_RULE;
	if (f->action != ACTION_THROUGH && f->flags & FLOW_TREATED && !has_way(f->next_hop, f->action, p))
		return COUNTER_PASS_NO_WAY;
	return DECIDED_FLOW;
}

/* Decides what is no part of a flow of its own: a later fragment, an ICMP error. Rules for one direction may be about it,
 * and an ICMP error may be dropped. Returns DECIDED_ALONE, or the counter that it ends with. */
GLOBAL int decide_beside(struct packet *p, struct config *cfg)
{
	struct rules_header *h = rules_head();
	struct lookup *l = lookup_here();

	if (!p || !cfg || !h || !l || cfg->mode != MODE_OFFLOAD)
		return COUNTER_PASS_NO_RULE;
	if (p->fragment == FRAGMENT_LATER && !(h->flags & RULES_DIRECTED))
		return COUNTER_PASS_NO_RULE;
	if (!find_rule(p, FIND_UPLINK, 0))
		return COUNTER_PASS_NO_RULE;
	if (acts_alone())
		return DECIDED_ALONE;
	if (p->fragment == FRAGMENT_LATER || l->outcome.action != ACTION_DROP)
		return COUNTER_PASS_NO_RULE;
	p->service = l->outcome.service;
	p->rule = l->outcome.id;
	return COUNTER_DROP_RULE;
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
				} else if (cfg->mode == MODE_OFFLOAD && !keeps_tunnel(f->action) && stands_aside(f->session, s)) {
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
	struct flow_key flow;
	struct flow *f = 0;
	int decided = DECIDED_FLOW;
	uplink_key(&flow, p);
	if (is_icmp_other(p) || p->fragment == FRAGMENT_LATER) {
		f = is_icmp_other(p) && cfg->mode == MODE_OFFLOAD ? taken_error(ctx, p) : 0;
		if (f)
			return take(ctx, cfg, p, f);
		decided = decide_beside(p, cfg);
	} else {
		/* a flow that is known came through another of the UE's own tunnels */
		f = bpf_map_lookup_elem(&flows, &flow);
		if (f && stays_itself(f->action)) { /* decided anew, and counted once */
			forget_flow(&flow, f);
			f = 0;
		} else if (f && !same_tunnel(f, p)) {
			forget_cached(&flow, f);
			set_flow_tunnel(f, p);
		}
		if (!f) {
			decided = decide(p, cfg, t);
			f = decided == DECIDED_FLOW ? bpf_map_lookup_elem(&flows, &flow) : 0;
			if (decided == DECIDED_FLOW && !f)
				decided = COUNTER_PASS_TABLE_FULL;
		}
	}
	if (decided == DECIDED_ALONE) {
		f = flow_alone(p);
		decided = decide_alone(p, cfg, f);
	}
	if (decided >= 0 || !f) {
		if (p->fragment == FRAGMENT_FIRST && !is_icmp_other(p))
			remember_fragment(p, 1);
		return pass_uplink(ctx, cfg, p, decided);
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
