/* Whose tunnel is this, and where does the UE live now?
 *
 * Learning happens here, in the kernel, on the packet that shows something new (docs/packet-path.md, "Learning").
 * Uplink teaches only from the access side, downlink only from the core side. A session is changed only under its
 * lock; who finds it locked learns nothing and lets the packet pass.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_LEARN_H
#define OFFRAMP_LEARN_H

#include "bearers.h"

/* A UE address seen for the first time. */
INLINE int new_session(struct xdp_md *ctx, const struct config *cfg, const struct packet *p, int uplink,
		       const struct session_key *key, int ethernet)
{
	__u32 index = allocate_slot(cfg);
	struct session *s;

	if (index == ~0u) {
		count(COUNTER_NOTE_FULL, 0);
		tell(EVENT_TABLE_FULL, 0, 0, p, 0, p->message);
		return COUNTER_PASS_TABLE_FULL;
	}
	s = session_at(index);
	if (!s || !lock_session(s)) {
		bpf_map_push_elem(&free_slots, &index, 0);
		return COUNTER_PASS_UNPROVEN;
	}
	if (!s->epoch)
		s->epoch = 1;
	s->ue = key->ue;
	s->base_station = uplink ? p->source : p->destination;
	s->gateway = uplink ? p->destination : p->source;
	s->flags = uplink ? SESSION_UPLINK : 0;
	s->dataplane = DATAPLANE;
	s->created = s->last_seen = now();
	struct injection *ours = injection_of(index);
	if (ours)
		ours->at = ours->slots = 0;
	s->wanted_at = s->aside_until = s->held = s->flows = s->unpaired = s->overlap_at = 0;
	s->link = p->link;
	for (__u32 slot = 0; slot < BEARER_SLOTS; slot++) {
		struct bearer *b = bearer_at(index, slot);
		if (b) {
			b->state = BEARER_FREE;
			b->key.teid = 0;
			b->core_at = b->confirm_at = b->pair_teid = 0;
		}
	}
	if (bpf_map_update_elem(&ue_sessions, key, &index, BPF_NOEXIST)) {
		unlock_session(s);
		bpf_map_push_elem(&free_slots, &index, 0);
		return COUNTER_PASS_UNPROVEN; /* another CPU was first */
	}
	if (ethernet ? !write_station(ctx, p, 1, index, s)
		     : !write_bearer(ctx, cfg, p, uplink, index, s, uplink ? SLOT_UPLINK : 0, BEARER_LIVE,
				     uplink ? TUNNEL_UPLINK : 0)) {
		bpf_map_delete_elem(&ue_sessions, key);
		s->epoch++;
		unlock_session(s);
		bpf_map_push_elem(&free_slots, &index, 0);
		return COUNTER_PASS_TABLE_FULL;
	}
	struct peer_key peer_key = {.address = p->source, .dataplane = DATAPLANE, .core = !uplink};
	struct peer *peer = bpf_map_lookup_elem(&peers, &peer_key);
	if (peer)
		__sync_fetch_and_add(&peer->sessions, 1);
	unlock_session(s);
	count(COUNTER_NOTE_LEARNT, 0);
	tell(EVENT_SESSION_NEW, s, index, p, uplink ? SLOT_UPLINK : 0, p->message);
	return LEARN_PROVEN;
}

/* May this packet teach at all? Returns LEARN_PROVEN or a counter. */
INLINE int may_teach(struct xdp_md *ctx, const struct config *cfg, const struct packet *p, int uplink)
{
	const struct address *base_station = uplink ? &p->source : &p->destination;
	const struct address *gateway = uplink ? &p->destination : &p->source;

	if (p->inner_v6 == 2 || !p->teid || !unicast(&p->ue))
		return COUNTER_PASS_NO_RULE;
	if (!unicast(base_station) || !unicast(gateway))
		return COUNTER_PASS_MALFORMED;
	if (!p->v6) {
		__u32 header[5];
		if (p->l3 > 22 || bpf_xdp_load_bytes(ctx, p->l3, header, 20) || sum_ipv4(header) != 0xffff)
			return COUNTER_PASS_MALFORMED;
	}
	if ((cfg->flags & CONFIG_ACCESS_PEERS && !prefix_has(PREFIX_ACCESS_PEER, DATAPLANE, base_station)) ||
	    (cfg->flags & CONFIG_CORE_PEERS && !prefix_has(PREFIX_CORE_PEER, DATAPLANE, gateway)) ||
	    (cfg->flags & CONFIG_UE_POOLS && !prefix_has(PREFIX_UE_POOL, DATAPLANE, &p->ue)))
		return COUNTER_PASS_PEER_REFUSED;
	return LEARN_PROVEN;
}

/* The address lives on another data plane. There it stays until its session has expired. */
INLINE int refuse_overlap(struct session *s, __u32 index, const struct packet *p)
{
	__u32 at = now() | 1;

	if (!s->overlap_at || at - s->overlap_at >= HZ) {
		s->overlap_at = at;
		tell(EVENT_OVERLAP, s, index, p, DATAPLANE, p->message);
	}
	return COUNTER_PASS_OTHER_DATAPLANE;
}

/* An uplink tunnel that is not known, or carries a family of addresses that it did not before. */
GLOBAL int learn_uplink(struct xdp_md *ctx, struct packet *p, struct config *cfg)
{
	if (!p || !cfg)
		return 0;
	struct session_key key;
	__u32 *slot;
	struct session *s;
	int may = may_teach(ctx, cfg, p, 1);

	if (may != LEARN_PROVEN)
		return may;
	slot = find_session(&p->ue, p->inner_v6);
	s = slot ? session_at(*slot) : 0;
	if (s && s->dataplane != DATAPLANE)
		return refuse_overlap(s, *slot, p);
	struct peer *peer = peer_may_teach(cfg, &p->source, 0);
	if (!peer)
		return COUNTER_PASS_PEER_REFUSED;
	session_key_of(&key, &p->ue, p->inner_v6);
	if (!slot) {
		if (peer->sessions >= cfg->peer_sessions) {
			count(COUNTER_NOTE_LEARNING_LIMITED, 0);
			return COUNTER_PASS_PEER_REFUSED;
		}
		return new_session(ctx, cfg, p, 1, &key, 0);
	}
	__u32 index = *slot;
	s = session_at(index);
	if (!s || !lock_session(s))
		return COUNTER_PASS_UNPROVEN;
	int answer = COUNTER_PASS_UNPROVEN;
	if (!same_address(&s->ue, &key.ue) || s->dataplane != DATAPLANE)
		goto out;
	if (!(s->flags & SESSION_UPLINK) && same_address(&s->gateway, &p->destination) &&
	    same_address(&s->base_station, &p->source)) {
		/* the downlink was seen first, between the same two: this is its uplink */
		if (write_bearer(ctx, cfg, p, 1, index, s, SLOT_UPLINK, BEARER_LIVE, TUNNEL_UPLINK)) {
			s->flags |= SESSION_UPLINK;
			s->link = p->link;
			count(COUNTER_NOTE_LEARNT, 0);
			answer = LEARN_PROVEN;
		}
		goto out;
	}
	/* A known UE on an unknown tunnel: a claim. One at a time; the next after five seconds of silence. */
	struct bearer *claim = bearer_at(index, SLOT_CANDIDATE);
	if (!claim)
		goto out;
	if (s->flags & SESSION_CANDIDATE && now() - claim->learnt_at < 5 * HZ)
		goto out;
	if (write_bearer(ctx, cfg, p, 1, index, s, SLOT_CANDIDATE, BEARER_LIVE, TUNNEL_UPLINK | candidate_bit(p->inner_v6))) {
		s->flags |= SESSION_CANDIDATE;
		tell(EVENT_CANDIDATE, s, index, p, SLOT_CANDIDATE, p->message);
	}
out:
	unlock_session(s);
	return answer;
}

/* The claim was right: the address has a new owner. Its flows end with the epoch, its old tunnels are forgotten. */
INLINE void change_owner(__u32 index, struct session *s, const struct packet *p)
{
	struct bearer *claim = bearer_at(index, SLOT_CANDIDATE), *own = bearer_at(index, SLOT_UPLINK);

	if (!claim || !own)
		return;
	forget_downlinks(index);
	forget_bearer(own, index);
	__sync_fetch_and_add(&s->epoch, 1);
	__sync_fetch_and_add(&own->sequence, 1);
	memcpy(own->header, claim->header, HEADER_MAX);
	own->key = claim->key;
	own->epoch = s->epoch;
	own->dataplane = claim->dataplane;
	own->header_length = claim->header_length;
	own->l3_offset = claim->l3_offset;
	own->v6 = claim->v6;
	own->port_varies = claim->port_varies;
	own->overhead = claim->overhead;
	own->checksum = claim->checksum;
	own->psc = claim->psc;
	own->learnt_at = claim->learnt_at;
	own->state = BEARER_LIVE;
	__sync_fetch_and_add(&own->sequence, 1);
	claim->state = BEARER_FREE;
	claim->key.teid = 0;
	s->gateway = own->key.endpoint;
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &own->key);
	if (t) {
		s->base_station = t->peer;
		t->flags &= ~candidate_bit(p->inner_v6);
		if (p->inner_v6) {
			t->epoch6 = s->epoch;
			t->slot6 = SLOT_UPLINK;
		} else {
			t->epoch4 = s->epoch;
			t->slot4 = SLOT_UPLINK;
		}
	}
	s->link = own->key.link & 0xffffff;
	s->flags = SESSION_UPLINK | (s->flags & SESSION_HOLD);
	s->flows = s->unpaired = 0;
	s->aside_until = 0;
	s->created = now();
	bump_cache();
	count(COUNTER_NOTE_OWNER_CHANGED, 0);
}

/* The claim came from the session's own UE: another uplink bearer. */
INLINE void adopt_claim(__u32 index, struct session *s)
{
	struct bearer *claim = bearer_at(index, SLOT_CANDIDATE);

	if (!claim)
		return;
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &claim->key);
	if (t)
		t->flags &= ~candidate_bit(!is_mapped(&s->ue));
	s->unpaired = claim->key.teid;
	for (__u32 slot = 1; slot < DOWNLINK_SLOTS; slot++) { /* learnt just before: they belong together */
		struct bearer *b = bearer_at(index, slot);
		if (b && b->state == BEARER_LIVE && !b->pair_teid && s->unpaired) {
			b->pair_teid = s->unpaired;
			s->unpaired = 0;
		}
	}
	claim->state = BEARER_FREE;
	claim->key.teid = 0;
	s->flags &= ~SESSION_CANDIDATE;
}

INLINE __u32 downlink_state(const struct session *s)
{
	return s->flags & SESSION_HOLD ? BEARER_DRAINING : BEARER_LIVE;
}

/* A downlink tunnel that is not known. `proof`: it carries the core's answer to a ping of ours, 2: through the claim. */
GLOBAL int learn_downlink(struct xdp_md *ctx, struct packet *p, struct config *cfg, __u32 proof)
{
	if (!p || !cfg)
		return 0;
	struct session_key key;
	__u32 *slot;
	struct session *s;
	int may = may_teach(ctx, cfg, p, 0);

	if (may != LEARN_PROVEN)
		return may == COUNTER_PASS_NO_RULE ? COUNTER_PASS_DOWNLINK : may;
	slot = find_session(&p->ue, p->inner_v6);
	s = slot ? session_at(*slot) : 0;
	if (s && s->dataplane != DATAPLANE)
		return refuse_overlap(s, *slot, p);
	struct peer *peer = peer_may_teach(cfg, &p->source, 1);
	if (!peer)
		return COUNTER_PASS_PEER_REFUSED;
	session_key_of(&key, &p->ue, p->inner_v6);
	if (!slot) {
		if (peer->sessions >= cfg->peer_sessions) {
			count(COUNTER_NOTE_LEARNING_LIMITED, 0);
			return COUNTER_PASS_PEER_REFUSED;
		}
		int made = new_session(ctx, cfg, p, 0, &key, 0);
		return made == LEARN_PROVEN ? COUNTER_PASS_DOWNLINK : made;
	}
	__u32 index = *slot;
	s = session_at(index);
	if (!s || !lock_session(s))
		return COUNTER_PASS_DOWNLINK;
	if (!same_address(&s->ue, &key.ue) || s->dataplane != DATAPLANE)
		goto out;

	__u32 claimed = 0;
	if (s->flags & SESSION_CANDIDATE) {
		struct bearer *claim = bearer_at(index, SLOT_CANDIDATE);
		if (claim) {
			struct tunnel *t = bpf_map_lookup_elem(&tunnels, &claim->key);
			/* claimed through the same gateway, from the base station that this goes to */
			if (t && same_address(&claim->key.endpoint, &p->source) && same_address(&t->peer, &p->destination))
				claimed = 1;
		}
	}
	__u32 own_gateway = same_address(&s->gateway, &p->source);
	__u32 own_station = same_address(&s->base_station, &p->destination);
	__u32 event = EVENT_DOWNLINK_LEARNT, target = 0;

	if ((proof == 2 && s->flags & SESSION_CANDIDATE) || (claimed && !(own_gateway && own_station))) {
		change_owner(index, s, p);
		event = EVENT_OWNER_CHANGED;
	} else if (!own_gateway && !proof) {
		count(COUNTER_NOTE_CONFLICT, 0);
		goto out;
	} else if (!own_station || s->flags & SESSION_MOVING) {
		/* handover: the gateway sends to another base station */
		forget_downlinks(index);
		s->base_station = p->destination;
		s->flags &= ~SESSION_MOVING;
		event = EVENT_MOVED;
		count(COUNTER_NOTE_MOVED, 0);
	} else if (proof) {
		/* the default bearer answers on another TEID: the old ones are gone */
		forget_downlinks(index);
	} else if (usable_slot(index, s) != ~0u) {
		event = EVENT_BEARER_NEW;
		target = ~0;
		for (__u32 i = 0; i < DOWNLINK_SLOTS; i++) {
			struct bearer *b = bearer_at(index, i);
			if (b && b->state != BEARER_LIVE && b->state != BEARER_DRAINING) {
				target = i;
				break;
			}
		}
		if (target == ~0u)
			target = DOWNLINK_SLOTS - 1;
	}
	if (proof) /* whoever answers is the gateway, also after a change of owner */
		s->gateway = p->source;
	if (write_bearer(ctx, cfg, p, 0, index, s, target, downlink_state(s), 0)) {
		count(COUNTER_NOTE_LEARNT, 0);
		if (event == EVENT_BEARER_NEW && s->unpaired) {
			struct bearer *b = bearer_at(index, target);
			if (b)
				b->pair_teid = s->unpaired;
			s->unpaired = 0;
		}
		s->aside_until = 0;
		s->last_seen = now();
		tell(event, s, index, p, target, p->message);
	}
out:
	unlock_session(s);
	return COUNTER_PASS_DOWNLINK;
}

/* A known uplink tunnel is used from another base station (TS 23.401 §5.5.1): the UE moved, or somebody lies. It is
 * taken, but replies wait until the core shows where the UE is. */
GLOBAL int uplink_moved(struct xdp_md *ctx, struct packet *p, struct config *cfg, struct tunnel *t)
{
	if (!p || !cfg || !t)
		return 0;
	int may = may_teach(ctx, cfg, p, 1);

	if (!t)
		return COUNTER_PASS_UNPROVEN;
	if (may != LEARN_PROVEN)
		return may;
	__u32 index = p->inner_v6 ? t->session6 : t->session4;
	struct session *s = session_at(index);
	if (!s || s->epoch != (p->inner_v6 ? t->epoch6 : t->epoch4) || !lock_session(s))
		return COUNTER_PASS_UNPROVEN;
	int moving = !same_address(&s->base_station, &p->source);
	struct bearer *own = bearer_at(index, SLOT_UPLINK);
	struct tunnel_key key;
	set_tunnel_key(&key, p, 1);
	if (own && same_tunnel_key(&own->key, &key))
		build_header(ctx, cfg, own, p, index);
	t->peer = p->source;
	if (moving) {
		s->flags |= SESSION_MOVING;
		for (__u32 slot = 0; slot < DOWNLINK_SLOTS; slot++) {
			struct bearer *b = bearer_at(index, slot);
			if (b && (b->state == BEARER_LIVE || b->state == BEARER_DRAINING))
				b->state = BEARER_STALE;
		}
		bump_session(index);
		bump_cache();
		tell(EVENT_STALE, s, index, p, SLOT_UPLINK, p->message);
	}
	unlock_session(s);
	return LEARN_PROVEN;
}

#endif
