/* What do GTP-U's own messages tell us? (TS 29.281 §7; docs/packet-path.md, "Signalling")
 *
 * All pass untouched, but for an Error Indication that answers a packet of ours: passed on, it would make the core
 * delete a living bearer. Nothing here is learnt from Echo: restart counters are ignored (§8.2).
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_SIGNAL_H
#define OFFRAMP_SIGNAL_H

#include "learn.h"

/* Reads the two mandatory information elements of an Error Indication: TEID Data I (16) and GTP-U Peer Address (133). */
INLINE int parse_error_indication(struct xdp_md *ctx, const struct packet *p, struct tunnel_key *key)
{
	__u8 ie[24] ALIGNED;
	__u32 ipv4;
	__u32 at = p->gtp + (p->flags ? 12 : 8);

	if (p->flags & GTPU_FLAG_E)
		return 0;
	if (bpf_xdp_load_bytes(ctx, at, ie, 12))
		return 0;
	if (ie[0] != 16 || ie[5] != 133 || ie[6])
		return 0;
	memcpy(&key->teid, ie + 1, 4);
	if (ie[7] == 4) {
		memcpy(&ipv4, ie + 8, 4);
		mapped(&key->endpoint, ipv4);
		return 1;
	}
	if (ie[7] != 16 || bpf_xdp_load_bytes(ctx, at + 8, ie, 16))
		return 0;
	load_address(&key->endpoint, ie);
	return 1;
}

/* Marks one session's bearer stale. Returns 1 when the last packet in the tunnel was ours. */
INLINE int refute(const struct tunnel *t, __u32 index, __u32 epoch, __u32 slot)
{
	struct session *s = session_at(index);
	struct bearer *b = bearer_at(index, slot);

	if (!s || !b || s->epoch != epoch || b->epoch != epoch)
		return 0;
	struct injection *injected = injection_of(index);
	int ours = injected && injected->slots >> slot & 1 && (__s32)(injected->at - b->core_at) >= 0;
	if (lock_session(s)) {
		if (b->state != BEARER_FREE) {
			b->state = BEARER_STALE;
			b->confirm_at = 0;
			bump_session(index);
			uncache_tunnel(t, &b->key); /* the core's next packet heals it */
			count(COUNTER_NOTE_BEARER_STALE, 0);
			tell(EVENT_STALE, s, index, 0, slot, GTPU_ERROR_INDICATION);
		}
		unlock_session(s);
	}
	return ours;
}

/* The gateway does not know this uplink tunnel: a claim is void, an owner is gone. */
INLINE void uplink_refuted(__u32 index, __u32 epoch, const struct tunnel_key *key, __u32 candidate)
{
	struct session *s = session_at(index);

	if (!s || s->epoch != epoch || !lock_session(s))
		return;
	if (candidate) {
		struct bearer *claim = bearer_at(index, SLOT_CANDIDATE);
		if (claim)
			forget_bearer(claim, index);
		s->flags &= ~SESSION_CANDIDATE;
	} else {
		struct bearer *own = bearer_at(index, SLOT_UPLINK);
		if (own && same_tunnel_key(&own->key, key)) {
			/* what follows goes to the core, which tells the base station the truth */
			for (__u32 slot = 0; slot < BEARER_SLOTS; slot++) { /* a claim on it is void, too */
				struct bearer *b = bearer_at(index, slot);
				if (b)
					forget_bearer(b, index);
			}
			__sync_fetch_and_add(&s->epoch, 1);
			s->flags &= SESSION_HOLD;
			s->flows = s->unpaired = 0;
			bump_cache();
			s->aside_until = (now() + 2 * HZ) | 1;
			tell(EVENT_STALE, s, index, 0, SLOT_UPLINK, GTPU_ERROR_INDICATION);
		}
	}
	unlock_session(s);
}

/* `uplink`: it comes from the access side. Returns the verdict's counter. */
GLOBAL int error_indication(struct xdp_md *ctx, struct packet *p, __u32 uplink)
{
	if (!p)
		return 0;
	struct tunnel_key key = {};

	if (!parse_error_indication(ctx, p, &key))
		return COUNTER_PASS_ERROR_INDICATION;
	/* only the tunnel's own end may speak of it */
	if (!same_address(&key.endpoint, &p->source))
		return COUNTER_PASS_ERROR_INDICATION;
	key.link = tunnel_link(DATAPLANE, p, !uplink);
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &key);
	if (!t || !same_address(&t->peer, &p->destination))
		return COUNTER_PASS_ERROR_INDICATION;
	struct tunnel copy = *t;
	if (uplink) {
		int ours = 0;
		if (copy.flags & TUNNEL_IPV4)
			ours |= refute(&copy, copy.session4, copy.epoch4, copy.slot4);
		if (copy.flags & TUNNEL_IPV6)
			ours |= refute(&copy, copy.session6, copy.epoch6, copy.slot6);
		return ours ? COUNTER_DROP_ERROR_INDICATION : COUNTER_PASS_ERROR_INDICATION;
	}
	if (copy.flags & TUNNEL_IPV4)
		uplink_refuted(copy.session4, copy.epoch4, &key, copy.flags & TUNNEL_CANDIDATE4);
	if (copy.flags & TUNNEL_IPV6)
		uplink_refuted(copy.session6, copy.epoch6, &key, copy.flags & TUNNEL_CANDIDATE6);
	return COUNTER_PASS_ERROR_INDICATION;
}

INLINE void retire(__u32 index, __u32 epoch, __u32 slot)
{
	struct session *s = session_at(index);
	struct bearer *b = bearer_at(index, slot);

	if (!s || !b || s->epoch != epoch || !lock_session(s))
		return;
	forget_bearer(b, index);
	b->key.teid = 0;
	if (usable_slot(index, s) == ~0u)
		tell(EVENT_STALE, s, index, 0, slot, GTPU_END_MARKER);
	unlock_session(s);
}

/* The core sends nothing more in this tunnel (TS 29.281 §7.3.2). Only the downlink direction and the tunnel's own
 * gateway count. */
GLOBAL int end_marker(struct packet *p)
{
	if (!p)
		return 0;
	struct tunnel_key key = {};

	set_tunnel_key(&key, p, 0);
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &key);
	if (!t || !same_address(&t->peer, &p->source))
		return COUNTER_PASS_GTPU_CONTROL;
	struct tunnel copy = *t;
	if (copy.flags & TUNNEL_IPV4)
		retire(copy.session4, copy.epoch4, copy.slot4);
	if (copy.flags & TUNNEL_IPV6)
		retire(copy.session6, copy.epoch6, copy.slot6);
	return COUNTER_PASS_GTPU_CONTROL;
}

#endif
