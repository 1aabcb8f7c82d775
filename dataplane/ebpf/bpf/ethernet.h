/* What happens to a frame on plain Ethernet: Wi-Fi, fixed access, whatever has no tunnels?
 *
 * A session is a client's address; its bearers are two Ethernet headers: to the station that its packets come from, and to
 * the gateway that it sends them to. Uplink shows both: IP and MAC are learnt here and restored on the way back. A station
 * may be a router with any number of clients behind it.
 *
 * An address that comes from another station than before is claimed: its packets pass, until the core side sends to that
 * address at that station. Then the session moves.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_ETHERNET_H
#define OFFRAMP_ETHERNET_H

#include "learn.h"

/* What cache.h knows of stations, IPv4 only. Key 0: source, inner tag; key 1: destination, outer tag; key 2: client;
 * key 3: kind, data plane. */
#define KIND_STATION_UP 4ULL
#define KIND_STATION_DOWN 5ULL

/* What is a client's own station, in the form of a tunnel? Too big for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tunnel);
} station_scratch SEC(".maps");

/* 100::<MAC> */
INLINE void mac_address(struct address *a, const void *mac)
{
	a->hi = MAC_PREFIX;
	a->lo = (__u64)*(const __u32 *)mac << 16 | (__u64)*(const __u16 *)(mac + 4) << 48;
}

/* Reads a frame down to its IP packet. Returns FOUND_GPDU, or the counter to pass with. */
INLINE int parse_ethernet(struct xdp_md *ctx, struct packet *p, int uplink)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *c = data + 14;
	__u32 length;

	if (c + 8 > end)
		return COUNTER_PASS_NOT_IP;
	__u16 type = *(__u16 *)(data + 12);
	memcpy(p->mac, data, 12);
	p->link = 0;
	if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)) {
		p->link = (be16(c) & 0xfff) << 12;
		type = *(__u16 *)(c + 2);
		c += 4;
		if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)) {
			p->link |= be16(c) & 0xfff;
			type = *(__u16 *)(c + 2);
			c += 4;
		}
	}
	p->l3 = p->inner = c - data;
	if (type == bpf_htons(ETH_P_IP)) {
		if (c + 20 > end)
			return COUNTER_PASS_MALFORMED;
		__u8 version = *(__u8 *)c;
		if (version >> 4 != 4 || (version & 15) < 5)
			return COUNTER_PASS_MALFORMED;
		if (version != 0x45)
			return COUNTER_PASS_OPTIONS;
		length = be16(c + 2);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		if (c + 40 > end || *(__u8 *)c >> 4 != 6)
			return COUNTER_PASS_MALFORMED;
		length = be16(c + 4) + 40;
	} else {
		return COUNTER_PASS_NOT_IP;
	}
	if (length < 20 || length > 0xffff || !reaches(ctx, data, end, p->inner + length))
		return COUNTER_PASS_MALFORMED;
	__u8 to = *(__u8 *)data, from = *(__u8 *)(data + 6);
	if (from & 1)
		return COUNTER_PASS_MALFORMED;
	if (to & 1) /* to a group of stations: no service is one */
		return uplink ? COUNTER_PASS_NO_RULE : COUNTER_PASS_DOWNLINK;
	mac_address(&p->destination, data);
	mac_address(&p->source, data + 6);
	p->ethernet = 1;
	p->v6 = 0;
	p->message = GTPU_G_PDU;
	p->inner_length = length;
	parse_inner_addresses(p, c, end, uplink);
	return FOUND_GPDU;
}

INLINE int is_station(const struct session *s, const struct address *mac, __u32 link)
{
	return same_address(&s->base_station, mac) && s->link == link;
}

INLINE void station_cache_key(struct cache_key *key, const struct packet *p, __u64 kind)
{
	key->k[0] = p->source.lo | (p->link & 0xfff);
	key->k[1] = p->destination.lo | (p->link >> 12 & 0xfff);
	key->k[2] = mapped_ipv4(&p->ue);
	key->k[3] = word_pair(0, kind << 8 | DATAPLANE << 16);
}

/* Was this client seen at this station just now? */
INLINE int station_cached(const struct packet *p, __u64 kind)
{
	struct rules_header *h = rules_head();
	struct cache_key key;
	__u32 sequence;

	if (!h || p->inner_v6 || p->from_slow)
		return 0;
	station_cache_key(&key, p, kind);
	struct cached *c = cache_find(&key, h, now(), &sequence);
	return c && cache_kept(c, sequence);
}

INLINE void cache_station(const struct packet *p, __u64 kind)
{
	struct cached value = {};
	struct cache_key key;

	if (p->inner_v6 || p->from_slow)
		return;
	station_cache_key(&key, p, kind);
	cache_put(&key, &value);
}

/* An address that a client can have, in a frame that may teach it? Returns LEARN_PROVEN or a counter. */
INLINE int station_may_teach(struct xdp_md *ctx, const struct config *cfg, const struct packet *p)
{
	if (p->inner_v6 == 2 || !unicast(&p->ue))
		return COUNTER_PASS_NO_RULE;
	if (p->inner_v6) {
		if (!p->ue.lo) /* all routers of a prefix (RFC 4291 §2.6.1) */
			return COUNTER_PASS_NO_RULE;
	} else {
		__u32 header[5];
		if ((mapped_ipv4(&p->ue) & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000)) /* RFC 3927 */
			return COUNTER_PASS_NO_RULE;
		if (bpf_xdp_load_bytes(ctx, p->inner, header, 20) || sum_ipv4(header) != 0xffff)
			return COUNTER_PASS_MALFORMED;
	}
	if (!p->source.lo || !p->destination.lo)
		return COUNTER_PASS_MALFORMED;
	if (cfg->flags & CONFIG_UE_POOLS && !prefix_has(PREFIX_UE_POOL, DATAPLANE, &p->ue))
		return COUNTER_PASS_PEER_REFUSED;
	return LEARN_PROVEN;
}

/* An address that is not known at this station: a new session, or a claim. */
GLOBAL int learn_station(struct xdp_md *ctx, struct packet *p, struct config *cfg)
{
	if (!p || !cfg)
		return 0;
	int may = station_may_teach(ctx, cfg, p);
	if (may != LEARN_PROVEN)
		return may;
	__u32 *slot = find_session(&p->ue, p->inner_v6);
	struct session *s = slot ? session_at(*slot) : 0;
	struct bearer *claim = slot ? bearer_at(*slot, SLOT_CANDIDATE) : 0;
	if (s && s->dataplane != DATAPLANE)
		return refuse_overlap(s, *slot, p);
	/* One claim at a time; the next after five seconds. */
	if (s && claim && s->flags & SESSION_CANDIDATE && now() - claim->learnt_at < 5 * HZ)
		return COUNTER_PASS_UNPROVEN;
	struct peer *peer = peer_may_teach(cfg, &p->source, 0);
	if (!peer)
		return COUNTER_PASS_PEER_REFUSED;
	if (!slot) {
		struct session_key key = {.ue = p->ue};
		if (peer->sessions >= cfg->peer_sessions) {
			count(COUNTER_NOTE_LEARNING_LIMITED, 0);
			return COUNTER_PASS_PEER_REFUSED;
		}
		return new_session(ctx, cfg, p, 1, &key, 1);
	}
	__u32 index = *slot;
	if (!s || !claim || !lock_session(s))
		return COUNTER_PASS_UNPROVEN;
	if (same_address(&s->ue, &p->ue)) {
		claim->key.endpoint = p->source;
		claim->key.link = here(p);
		claim->key.teid = 0;
		claim->epoch = s->epoch;
		claim->state = BEARER_LIVE;
		claim->learnt_at = now();
		s->flags |= SESSION_CANDIDATE;
		tell(EVENT_CANDIDATE, s, index, p, SLOT_CANDIDATE, p->message);
	}
	unlock_session(s);
	return COUNTER_PASS_UNPROVEN;
}

/* The client sends what a rule may take to another gateway than before: what comes back looks as if from there. */
GLOBAL int change_gateway(struct xdp_md *ctx, struct packet *p, __u32 index)
{
	struct session *s = session_at(index);

	if (!p || !s || !lock_session(s))
		return 0;
	if (same_address(&s->ue, &p->ue) && is_station(s, &p->source, p->link))
		write_station(ctx, p, 1, index, s);
	unlock_session(s);
	return 1;
}

/* Is the client at its own station? Returns LEARN_PROVEN and the session as a tunnel shows it, or the counter to pass with.
 * `wanted`: a rule could match. */
INLINE int own_station(struct xdp_md *ctx, struct config *cfg, struct packet *p, __u32 wanted, struct tunnel **tunnel)
{
	__u32 zero = 0;
	struct session_key key = {.ue = p->ue};

	if (!wanted && station_cached(p, KIND_STATION_UP))
		return LEARN_PROVEN;
	__u32 *slot = bpf_map_lookup_elem(&ue_sessions, &key);
	struct session *s = slot ? session_at(*slot) : 0;
	if (!s || s->dataplane != DATAPLANE || !is_station(s, &p->source, p->link)) {
		int learnt = learn_station(ctx, p, cfg);
		if (learnt != LEARN_PROVEN)
			return learnt;
		slot = bpf_map_lookup_elem(&ue_sessions, &key);
		s = slot ? session_at(*slot) : 0;
		if (!s)
			return COUNTER_PASS_UNPROVEN;
	} else if (s->last_seen != now()) {
		s->last_seen = now();
	}
	if (!wanted) {
		cache_station(p, KIND_STATION_UP);
		return LEARN_PROVEN;
	}
	if (!same_address(&s->gateway, &p->destination))
		change_gateway(ctx, p, *slot);
	struct tunnel *t = bpf_map_lookup_elem(&station_scratch, &zero);
	if (!t)
		return COUNTER_PASS_UNPROVEN;
	t->flags = TUNNEL_UPLINK | (p->inner_v6 ? TUNNEL_IPV6 : TUNNEL_IPV4);
	t->session4 = t->session6 = *slot;
	t->epoch4 = t->epoch6 = s->epoch;
	*tunnel = t;
	return LEARN_PROVEN;
}

/* A frame from the core side shows where a client is. Returns whether that is this station. */
GLOBAL int confirm_station(struct xdp_md *ctx, struct packet *p)
{
	if (!p)
		return 0;
	struct session_key key = {.ue = p->ue};
	__u32 *slot = bpf_map_lookup_elem(&ue_sessions, &key);
	struct session *s = slot ? session_at(*slot) : 0;
	struct bearer *claim = slot ? bearer_at(*slot, SLOT_CANDIDATE) : 0;

	if (!s || !claim || s->dataplane != DATAPLANE)
		return 0;
	if (is_station(s, &p->destination, p->link)) {
		if (s->last_seen != now())
			s->last_seen = now();
		cache_station(p, KIND_STATION_DOWN);
		return 1;
	}
	__u32 index = *slot;
	int moved = 0;
	if (!(s->flags & SESSION_CANDIDATE) || !lock_session(s))
		return 0;
	if (same_address(&s->ue, &p->ue) && claim->epoch == s->epoch && claim->state == BEARER_LIVE &&
	    same_address(&claim->key.endpoint, &p->destination) && claim->key.link == here(p) &&
	    write_station(ctx, p, 0, index, s)) {
		moved = 1;
		claim->state = BEARER_FREE;
		s->flags &= ~SESSION_CANDIDATE;
		s->last_seen = now();
		bump_cache();
		count(COUNTER_NOTE_MOVED, 0);
		tell(EVENT_MOVED, s, index, p, 0, p->message);
	}
	unlock_session(s);
	return moved;
}

#endif
