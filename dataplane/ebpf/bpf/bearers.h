/* What is a bearer made of, and how is it written and forgotten?
 *
 * The pieces that learning is put together from: who may teach, prebuilt headers, tunnels bound to sessions, slots.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_BEARERS_H
#define OFFRAMP_BEARERS_H

#include "cache.h"

/* Answers of the learning functions; other values are counters to pass with. */
#define LEARN_PROVEN (-1)

INLINE int unicast_ipv4(__u32 a)
{
	__u8 first = a & 0xff;

	return first != 0 && first != 127 && first < 224;
}

/* An address that a base station, a gateway or a UE can have. */
INLINE int unicast(const struct address *a)
{
	if (is_mapped(a))
		return unicast_ipv4(mapped_ipv4(a));
	__u8 first = a->hi & 0xff, second = a->hi >> 8 & 0xff;
	return first != 0xff && first != 0 && !(first == 0xfe && (second & 0xc0) == 0x80);
}

/* Takes one token of the peer that teaches. Returns 0 when it may not. */
INLINE struct peer *peer_may_teach(const struct config *cfg, const struct address *a, int core)
{
	struct peer_key key = {.address = *a, .dataplane = DATAPLANE, .core = core};
	struct peer *peer = bpf_map_lookup_elem(&peers, &key);
	__u32 t = now();

	if (!peer) {
		struct peer first = {.tokens = cfg->learn_burst, .refilled = t};
		bpf_map_update_elem(&peers, &key, &first, BPF_NOEXIST);
		peer = bpf_map_lookup_elem(&peers, &key);
		if (!peer)
			return 0;
	}
	__u32 passed = t - peer->refilled;
	if (passed >= HZ / 10) {
		__u64 tokens = peer->tokens + (__u64)passed * cfg->learn_rate / HZ;
		peer->tokens = tokens > cfg->learn_burst ? cfg->learn_burst : tokens;
		peer->refilled = t;
	}
	if (!peer->tokens) {
		peer->refused++;
		count(COUNTER_NOTE_LEARNING_LIMITED, 0);
		return 0;
	}
	peer->tokens--;
	return peer;
}

/* Writes the outer header that leads to where the packet's own header leads (uplink template), or to the base station
 * that this downlink goes to. `b` belongs to a locked session. */
INLINE int build_header(struct xdp_md *ctx, const struct config *cfg, struct bearer *b, const struct packet *p,
			__u32 session)
{
	__u8 ip[8] ALIGNED;
	__u32 l3 = p->l3;

	if (!within(&l3, 14, 22) || bpf_xdp_load_bytes(ctx, l3, ip, 8))
		return 0;
	__sync_fetch_and_add(&b->sequence, 1);
	__u8 *h = b->header;
	__u32 failed;
	if (l3 == 14)
		failed = bpf_xdp_load_bytes(ctx, 0, h, 14);
	else if (l3 == 18)
		failed = bpf_xdp_load_bytes(ctx, 0, h, 18);
	else
		failed = bpf_xdp_load_bytes(ctx, 0, h, 22);
	if (cfg->flags & CONFIG_SHARED) { /* the kernel routes what we send */
		memcpy(h, cfg->return_mac, 6);
		memcpy(h + 6, cfg->return_mac, 6);
	}
	h += l3;
	__u32 gtp_length = p->psc ? 12 + (p->psc & 0xff) * 4 : 8;
	__u64 sum;
	__u16 port = bpf_htons(GTPU_PORT);
	if (!p->v6) {
		__u32 source = mapped_ipv4(&p->source), destination = mapped_ipv4(&p->destination);
		*(__u16 *)h = 0x45 | (__u16)ip[1] << 8;
		*(__u32 *)(h + 2) = 0;
		*(__u16 *)(h + 6) = ip[6] & 0x40; /* DF as observed */
		*(__u32 *)(h + 12) = source;
		*(__u32 *)(h + 16) = destination;
		__u8 ttl[2] ALIGNED;
		if (bpf_xdp_load_bytes(ctx, l3 + 8, ttl, 2))
			failed = 1;
		h[8] = ttl[0];
		h[9] = PROTO_UDP;
		*(__u16 *)(h + 10) = 0;
		sum = fold((__u64)*(__u32 *)h + *(__u32 *)(h + 4) + *(__u32 *)(h + 8) + source + destination);
		h += 20;
		b->overhead = 28 + gtp_length;
	} else {
		*(__u32 *)h = *(__u32 *)ip;
		*(__u16 *)(h + 4) = 0;
		h[6] = PROTO_UDP;
		h[7] = ip[7];
		memcpy(h + 8, &p->source, 16);
		memcpy(h + 24, &p->destination, 16);
		sum = sum_address(&p->source) + sum_address(&p->destination) + bpf_htons(PROTO_UDP);
		h += 40;
		b->overhead = 48 + gtp_length;
	}
	*(__u16 *)h = p->source_port;
	*(__u16 *)(h + 2) = port;
	*(__u32 *)(h + 4) = 0;
	h += 8;
	h[0] = 0x30 | (p->psc ? GTPU_FLAG_E : 0);
	h[1] = GTPU_G_PDU;
	*(__u16 *)(h + 2) = 0;
	*(__u32 *)(h + 4) = p->teid;
	if (p->psc) {
		*(__u32 *)(h + 8) = bpf_htonl(GTPU_EXT_PSC);
		*(__u32 *)(h + 12) = p->psc;
		if ((p->psc & 0xff) == 2)
			*(__u32 *)(h + 16) = 0;
	}
	if (p->v6) {
		sum += (__u64)p->source_port + port + *(__u16 *)h + p->teid;
		if (p->psc)
			sum += (__u64)bpf_htonl(GTPU_EXT_PSC) + p->psc;
	}
	b->checksum = fold(sum);
	b->header_length = l3 + b->overhead;
	b->l3_offset = l3;
	b->v6 = p->v6;
	b->dataplane = DATAPLANE;
	b->port_varies = p->source_port != port;
	b->psc = p->psc;
	__sync_fetch_and_add(&b->sequence, 1);
	bump_session(session);
	return !failed;
}

INLINE void set_tunnel_key(struct tunnel_key *key, const struct packet *p, int uplink)
{
	key->endpoint = p->destination;
	key->teid = p->teid;
	key->link = tunnel_link(DATAPLANE, p, uplink);
}

/* What the tunnel says has to be looked at again. */
INLINE void uncache_tunnel(const struct tunnel *t, const struct tunnel_key *key)
{
	struct cache_key cached;

	tunnel_cache_key(&cached, mapped_ipv4(&t->peer), mapped_ipv4(&key->endpoint), key->teid, key->link & ~(1U << 24), t->ue4,
			 t->flags & TUNNEL_UPLINK ? KIND_TUNNEL_UP : KIND_TUNNEL_DOWN, t->psc);
	cache_drop(&cached);
}

INLINE int same_tunnel_key(const struct tunnel_key *a, const struct tunnel_key *b)
{
	return a->teid == b->teid && a->link == b->link && same_address(&a->endpoint, &b->endpoint);
}

/* Forgets the tunnel of a bearer slot, but only if the tunnel is still that slot's. */
INLINE void forget_bearer(struct bearer *b, __u32 session)
{
	if (b->state == BEARER_FREE && !b->key.teid)
		return;
	bump_session(session);
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &b->key);
	if (t && ((t->flags & TUNNEL_IPV4 && t->session4 == session) || (t->flags & TUNNEL_IPV6 && t->session6 == session))) {
		uncache_tunnel(t, &b->key);
		/* the UE's other family may go on using it */
		__u8 left = t->flags;
		if (t->session4 == session)
			left &= ~(TUNNEL_IPV4 | TUNNEL_CANDIDATE4);
		if (t->session6 == session)
			left &= ~(TUNNEL_IPV6 | TUNNEL_CANDIDATE6);
		if (left & (TUNNEL_IPV4 | TUNNEL_IPV6))
			t->flags = left;
		else
			bpf_map_delete_elem(&tunnels, &b->key);
	}
	b->state = BEARER_FREE;
	b->key.teid = 0; /* the tunnel may belong to another slot by the next time */
	b->core_at = b->confirm_at = b->pair_teid = 0;
}

/* Binds the packet's tunnel to a session. A tunnel may carry one IPv4 and one IPv6 session of the same UE. */
INLINE __u8 candidate_bit(int v6)
{
	return v6 ? TUNNEL_CANDIDATE6 : TUNNEL_CANDIDATE4;
}

INLINE int bind_tunnel(const struct packet *p, int uplink, __u32 index, __u32 epoch, __u32 slot, __u8 flags)
{
	struct tunnel_key key;
	set_tunnel_key(&key, p, uplink);
	struct tunnel *t = bpf_map_lookup_elem(&tunnels, &key);
	if (t) {
		if (p->inner_v6) {
			t->ue6 = p->ue.hi;
			t->session6 = index;
			t->epoch6 = epoch;
			t->slot6 = slot;
		} else {
			t->ue4 = mapped_ipv4(&p->ue);
			t->session4 = index;
			t->epoch4 = epoch;
			t->slot4 = slot;
		}
		t->peer = p->source;
		t->last_seen = now();
		t->format = p->flags;
		t->psc = p->psc;
		t->flags = (t->flags & (TUNNEL_IPV4 | TUNNEL_IPV6 | candidate_bit(!p->inner_v6))) | flags |
			   (p->inner_v6 ? TUNNEL_IPV6 : TUNNEL_IPV4);
		return 1;
	}
	struct tunnel fresh = {
		.peer = p->source,
		.last_seen = now(),
		.flags = flags | (p->inner_v6 ? TUNNEL_IPV6 : TUNNEL_IPV4),
		.format = p->flags,
		.psc = p->psc,
	};
	if (p->inner_v6) {
		fresh.ue6 = p->ue.hi;
		fresh.session6 = index;
		fresh.epoch6 = epoch;
		fresh.slot6 = slot;
	} else {
		fresh.ue4 = mapped_ipv4(&p->ue);
		fresh.session4 = index;
		fresh.epoch4 = epoch;
		fresh.slot4 = slot;
	}
	return bpf_map_update_elem(&tunnels, &key, &fresh, BPF_ANY) == 0;
}

/* Writes a bearer slot from the packet, binds its tunnel. */
INLINE int write_bearer(struct xdp_md *ctx, const struct config *cfg, const struct packet *p, int uplink, __u32 index,
			struct session *s, __u32 slot, __u32 state, __u8 flags)
{
	struct bearer *b = bearer_at(index, slot);

	if (!b)
		return 0;
	forget_bearer(b, index);
	if (!build_header(ctx, cfg, b, p, index))
		return 0;
	b->epoch = s->epoch;
	set_tunnel_key(&b->key, p, uplink);
	b->learnt_at = b->core_at = now();
	if (!bind_tunnel(p, uplink, index, s->epoch, slot, flags)) {
		count(COUNTER_NOTE_FULL, 0);
		b->key.teid = 0;
		return 0;
	}
	b->state = state;
	return 1;
}

/* Writes the Ethernet header (14, 18 or 22 octets) that leads to where the frame at hand goes, or with `back` to where it
 * comes from. Returns 0 when the frame is too short. */
INLINE int build_station_header(struct xdp_md *ctx, struct bearer *b, const struct packet *p, int back)
{
	__u8 h[24] ALIGNED = {};
	__u32 octets = p->inner;
	long failed;

	if (octets == 14)
		failed = bpf_xdp_load_bytes(ctx, 0, h, 14);
	else if (octets == 18)
		failed = bpf_xdp_load_bytes(ctx, 0, h, 18);
	else
		failed = bpf_xdp_load_bytes(ctx, 0, h, 22);
	if (failed)
		return 0;
	__sync_fetch_and_add(&b->sequence, 1);
	memcpy(b->header, h, 24);
	if (back) {
		memcpy(b->header, h + 6, 6);
		memcpy(b->header + 6, h, 6);
	}
	b->header_length = b->l3_offset = octets;
	b->overhead = b->checksum = b->psc = b->v6 = b->port_varies = 0;
	b->dataplane = DATAPLANE;
	__sync_fetch_and_add(&b->sequence, 1);
	return 1;
}

/* Writes both bearers of an Ethernet session: slot 0 leads to the station, SLOT_UPLINK to the gateway that it uses. The
 * session is locked. */
INLINE int write_station(struct xdp_md *ctx, const struct packet *p, int uplink, __u32 index, struct session *s)
{
	struct bearer *down = bearer_at(index, 0), *up = bearer_at(index, SLOT_UPLINK);

	if (!down || !up || !build_station_header(ctx, down, p, uplink) || !build_station_header(ctx, up, p, !uplink))
		return 0;
	s->base_station = uplink ? p->source : p->destination;
	s->gateway = uplink ? p->destination : p->source;
	s->link = p->link;
	down->key.endpoint = s->base_station;
	up->key.endpoint = s->gateway;
	down->key.link = here(p);
	up->key.link = here(p) | 1 << 24;
	down->key.teid = up->key.teid = 0;
	down->learnt_at = up->learnt_at = down->core_at = now();
	down->epoch = up->epoch = s->epoch;
	down->state = up->state = BEARER_LIVE;
	bump_session(index);
	return 1;
}

/* A slot for a new session: one given back, else one never used. Returns ~0 when there is none. */
INLINE __u32 allocate_slot(const struct config *cfg)
{
	__u32 index, zero = 0;

	if (!bpf_map_pop_elem(&free_slots, &index))
		return index;
	struct slots *slots = bpf_map_lookup_elem(&slot_state, &zero);
	if (!slots || slots->next >= cfg->max_sessions)
		return ~0;
	index = __sync_fetch_and_add(&slots->next, 1);
	return index < cfg->max_sessions ? index : ~0;
}

/* A usable downlink of the session: the slot, or ~0. */
INLINE __u32 usable_slot(__u32 index, const struct session *s)
{
	for (__u32 slot = 0; slot < DOWNLINK_SLOTS; slot++) {
		struct bearer *b = bearer_at(index, slot);
		if (b && b->epoch == s->epoch && (b->state == BEARER_LIVE || b->state == BEARER_DRAINING))
			return slot;
	}
	return ~0;
}

INLINE void forget_downlinks(__u32 index)
{
	for (__u32 slot = 0; slot < DOWNLINK_SLOTS; slot++) {
		struct bearer *b = bearer_at(index, slot);
		if (b)
			forget_bearer(b, index);
	}
}

#endif
