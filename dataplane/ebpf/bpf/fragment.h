/* What becomes of fragments from the access side?
 *
 * Inner ones follow their first; outer ones are put together by the control plane where a rule could want them.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_FRAGMENT_H
#define OFFRAMP_FRAGMENT_H

#include "classify.h"

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

#endif
