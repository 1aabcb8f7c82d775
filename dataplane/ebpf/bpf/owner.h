/* Is it the UE's own tunnel that this uplink packet came through?
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_OWNER_H
#define OFFRAMP_OWNER_H

#include "learn.h"

INLINE int is_own(const struct tunnel *t, const struct packet *p)
{
	if (p->inner_v6)
		return t->flags & TUNNEL_IPV6 && t->ue6 == p->ue.hi;
	return t->flags & TUNNEL_IPV4 && t->ue4 == mapped_ipv4(&p->ue);
}

/* Does the tunnel carry this family at all, for the present incarnation of its session? What an earlier one left behind,
 * after a change of owner or an uplink that was refuted, is as good as unknown: it may be learnt anew. */
INLINE int is_bound(const struct tunnel *t, const struct packet *p)
{
	struct session *s;

	if (!(t->flags & (p->inner_v6 ? TUNNEL_IPV6 : TUNNEL_IPV4)))
		return 0;
	s = session_at(p->inner_v6 ? t->session6 : t->session4);
	return s && s->epoch == (p->inner_v6 ? t->epoch6 : t->epoch4);
}

/* The claim is still made: say so once a second, until a ping has settled it. */
INLINE void claim_again(const struct packet *p, const struct tunnel *t)
{
	__u32 index = p->inner_v6 ? t->session6 : t->session4;
	struct session *s = session_at(index);
	__u32 at = now();

	if (s && at - s->wanted_at > HZ) {
		s->wanted_at = at;
		tell(EVENT_CANDIDATE, s, index, p, SLOT_CANDIDATE, p->message);
	}
}

/* Returns LEARN_PROVEN and the tunnel, or the counter to pass with. */
INLINE int own_tunnel(struct xdp_md *ctx, struct config *cfg, struct packet *p, struct tunnel **tunnel)
{
	struct tunnel_key key;
	set_tunnel_key(&key, p, 1);
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &key);
	if (!t || !is_bound(t, p)) {
		int learnt = learn_uplink(ctx, p, cfg);
		if (learnt != LEARN_PROVEN)
			return learnt;
		t = bpf_map_lookup_elem(&tunnels, &key);
		if (!t)
			return COUNTER_PASS_UNPROVEN;
	} else {
		if (!is_own(t, p))
			return COUNTER_PASS_NOT_OWN_SOURCE;
		if (t->last_seen != now())
			t->last_seen = now();
		if (t->flags & candidate_bit(p->inner_v6)) {
			claim_again(p, t);
			return COUNTER_PASS_UNPROVEN;
		}
		if (!same_address(&t->peer, &p->source)) {
			int moved = uplink_moved(ctx, p, cfg, t);
			if (moved != LEARN_PROVEN)
				return moved;
		}
	}
	*tunnel = t;
	return LEARN_PROVEN;
}

#endif
