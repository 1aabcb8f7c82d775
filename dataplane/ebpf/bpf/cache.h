/* Was this decided just now?
 *
 * A direct-mapped cache of two ways in front of `flows` and `tunnels`, for IPv4 in IPv4 without fragments. It saves the
 * hash lookups, not the decisions: only what the general path has decided is ever entered, for `cache_for` jiffies, and any
 * event that could change a decision raises the version or removes the entry.
 *
 *   kind          key 0              key 1          key 2             key 3
 *   flow          source, dest.      TEID, link     UE, remote        ports, protocol, kind, FIELD_*
 *   tunnel up     source, dest.      TEID, link     UE, kind          0
 *   tunnel down   source, dest.      TEID, link     UE, kind          PDU Session Container
 *
 * Replies have entries of their own with the outer header (struct cached_reply); key: endpoint, UE; ports, protocol.
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_CACHE_H
#define OFFRAMP_CACHE_H

#include "fate.h"

/* Sets - 1; set before loading to what `cache` has room for. */
const volatile __u32 CACHE_MASK = 4095;
/* The same of `reply_cache`. */
const volatile __u32 REPLY_CACHE_MASK = 2047;

#define KIND_FLOW 1ULL
#define KIND_TUNNEL_UP 2ULL
#define KIND_TUNNEL_DOWN 3ULL

struct cache_key {
	__u64 k[4];
};

INLINE struct rules_header *rules_head(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&rules_state, &zero);
}

INLINE __u32 cache_version(const struct rules_header *h)
{
	return h->generation << 16 | (h->cache_epoch & 0xffff);
}

/* What was cached before may be wrong now. */
INLINE void bump_cache(void)
{
	struct rules_header *h = rules_head();

	if (h)
		__sync_fetch_and_add(&h->cache_epoch, 1);
}

INLINE __u64 word_pair(__u32 low, __u32 high)
{
	return low | (__u64)high << 32;
}

INLINE __u32 cache_index(const struct cache_key *key)
{
	__u64 h = key->k[0] * 0x9e3779b97f4a7c15ULL ^ key->k[1] * 0xc2b2ae3d27d4eb4fULL;

	h ^= (key->k[2] + 0x165667b19e3779f9ULL) * 0xd6e8feb86659fd93ULL ^ key->k[3] * 0xa0761d6478bd642fULL;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ULL;
	return (__u32)(h >> 32 & CACHE_MASK) * 2;
}

INLINE int cache_is(const struct cached *c, const struct cache_key *key)
{
	return ((c->key[0] ^ key->k[0]) | (c->key[1] ^ key->k[1]) | (c->key[2] ^ key->k[2]) | (c->key[3] ^ key->k[3])) == 0;
}

/* The entry, or 0. `*sequence` is to be compared again by cache_kept() when everything has been read. */
INLINE struct cached *cache_find(const struct cache_key *key, const struct rules_header *h, __u32 t, __u32 *sequence)
{
	__u32 index = cache_index(key), version = cache_version(h);
	struct cached *c = bpf_map_lookup_elem(&cache, &index);

	if (!c)
		return 0;
	if (!cache_is(c, key)) {
		index++;
		c = bpf_map_lookup_elem(&cache, &index);
		if (!c || !cache_is(c, key))
			return 0;
	}
	*sequence = *(volatile __u32 *)&c->sequence;
	if (*sequence & 1 || c->version != version || t - c->stamp >= h->cache_for)
		return 0;
	return c;
}

INLINE int cache_kept(const struct cached *c, __u32 sequence)
{
	asm volatile("" ::: "memory");
	return *(volatile __u32 *)&c->sequence == sequence;
}

/* Enters `value`, over what is old or else over either way. */
GLOBAL int cache_put(struct cache_key *key, struct cached *value)
{
	struct rules_header *h = rules_head();
	__u32 t = now(), zero = 0;
	struct capture *watching = bpf_map_lookup_elem(&capture, &zero);

	if (!key || !value || !h || !watching || watching->enabled || monitor_flags() & MONITOR_UNCACHED)
		return 0;
	__u32 index = cache_index(key), version = cache_version(h);
	struct cached *c = bpf_map_lookup_elem(&cache, &index);
	if (!c)
		return 0;
	if (!cache_is(c, key)) {
		__u32 second = index + 1;
		struct cached *other = bpf_map_lookup_elem(&cache, &second);
		if (!other)
			return 0;
		int fresh = c->version == version && t - c->stamp < h->cache_for;
		int other_fresh = other->version == version && t - other->stamp < h->cache_for;
		if (cache_is(other, key) || (fresh && (!other_fresh || (key->k[2] ^ t) & 1)))
			c = other;
	}
	__u32 sequence = c->sequence;
	if (sequence & 1 || __sync_val_compare_and_swap(&c->sequence, sequence, sequence + 1) != sequence)
		return 0;
	for (int i = 0; i < 4; i++)
		c->key[i] = key->k[i];
	c->stamp = t;
	c->version = version;
	c->address = value->address;
	c->ports = value->ports;
	c->l3_delta = value->l3_delta;
	c->l4_delta = value->l4_delta;
	c->service = value->service;
	c->next_hop = value->next_hop;
	c->bearer = value->bearer;
	__sync_fetch_and_add(&c->sequence, 1);
	return 1;
}

/* This entry must not be used any more: no packet has such a key. */
INLINE void cache_drop(const struct cache_key *key)
{
	__u32 index = cache_index(key);

	for (int way = 0; way < 2; way++, index++) {
		struct cached *c = bpf_map_lookup_elem(&cache, &index);
		if (c && cache_is(c, key))
			c->key[3] = ~0ULL;
	}
}

INLINE void tunnel_cache_key(struct cache_key *key, __u32 source, __u32 destination, __u32 teid, __u32 link, __u32 ue,
			     __u64 kind, __u32 psc)
{
	key->k[0] = word_pair(source, destination);
	key->k[1] = word_pair(teid, link);
	key->k[2] = word_pair(ue, kind);
	key->k[3] = kind == KIND_TUNNEL_DOWN ? psc : 0;
}

INLINE void flow_cache_key(struct cache_key *key, __u32 source, __u32 destination, __u32 teid, __u32 link, __u32 ue,
			   __u32 remote, __u32 ports, __u32 protocol, __u32 fields)
{
	key->k[0] = word_pair(source, destination);
	key->k[1] = word_pair(teid, link);
	key->k[2] = word_pair(ue, remote);
	key->k[3] = word_pair(ports, protocol | KIND_FLOW << 8 | fields);
}

INLINE __u8 qfi_of(const struct packet *p)
{
	return p->psc ? p->psc >> 16 & 0x3f : NO_QFI;
}

/* The fields of a packet that its flow's decision depends on, while there are rules about them. */
INLINE __u32 decided_by(const struct rules_header *h, __u32 dscp, __u32 qfi)
{
	return (dscp << 16 | qfi << 24) & h->fields;
}

/* Tags, and the data plane that they are known on: one tunnel on two wires is two. */
INLINE __u32 here(const struct packet *p)
{
	return DATAPLANE << 25 | p->link;
}

/* Only IPv4 in IPv4 of a whole packet is cached. */
INLINE int cacheable(const struct packet *p)
{
	return !p->v6 && !p->inner_v6 && !p->fragment && !p->from_slow && !p->untranslated && !p->ethernet;
}

/* Ports as the fast paths read them: the transport header's first four octets. */
INLINE __u32 ports_up(const struct packet *p)
{
	return p->ue_port | (__u32)p->remote_port << 16;
}

INLINE __u32 ports_down(const struct packet *p)
{
	return p->remote_port | (__u32)p->ue_port << 16;
}

/* A tunnel that is proven, its UE's own and used: nothing to learn from it for a while. */
INLINE void cache_tunnel(struct packet *p, int uplink, __u32 bearer)
{
	struct cache_key key;
	struct cached value = {.bearer = bearer};

	if (!cacheable(p))
		return;
	tunnel_cache_key(&key, mapped_ipv4(&p->source), mapped_ipv4(&p->destination), p->teid, here(p),
			 mapped_ipv4(&p->ue), uplink ? KIND_TUNNEL_UP : KIND_TUNNEL_DOWN, p->psc);
	cache_put(&key, &value);
}

INLINE void cache_flow(struct packet *p, const struct flow *f)
{
	struct cache_key key;
	struct cached value = {};

	struct rules_header *h = rules_head();

	if (!h || !cacheable(p) || (p->protocol != PROTO_TCP && p->protocol != PROTO_UDP) || f->flags & FLOW_TREATED ||
	    (f->action != ACTION_TAKE && f->action != ACTION_PASS))
		return;
	if (f->action == ACTION_TAKE) {
		value.address = mapped_ipv4(&f->translated);
		value.ports = f->translated_ue_port | (__u32)f->translated_port << 16;
		value.l3_delta = f->l3_delta;
		value.l4_delta = f->l4_delta;
		value.service = f->service;
		value.next_hop = f->next_hop;
	}
	flow_cache_key(&key, mapped_ipv4(&p->source), mapped_ipv4(&p->destination), p->teid, here(p),
		       mapped_ipv4(&p->ue), mapped_ipv4(&p->remote), ports_up(p), p->protocol,
		       decided_by(h, p->dscp, qfi_of(p)));
	cache_put(&key, &value);
}

INLINE __u32 session_version(__u32 bearer)
{
	__u32 index = bearer / BEARER_SLOTS & (SESSION_VERSIONS - 1);
	__u32 *v = bpf_map_lookup_elem(&session_versions, &index);

	return v ? *v : 0;
}

/* A bearer of this session is not what it was: replies take the general path once. */
INLINE void bump_session(__u32 session)
{
	__u32 index = session & (SESSION_VERSIONS - 1);
	__u32 *v = bpf_map_lookup_elem(&session_versions, &index);

	if (v)
		__sync_fetch_and_add(v, 1);
}

INLINE __u32 reply_index(__u64 ends, __u64 ports)
{
	__u64 h = ends * 0x9e3779b97f4a7c15ULL ^ ports * 0xc2b2ae3d27d4eb4fULL;

	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ULL;
	return (__u32)(h >> 32 & REPLY_CACHE_MASK) * 2;
}

INLINE int reply_is(const struct cached_reply *c, __u64 ends, __u64 ports)
{
	return ((c->key[0] ^ ends) | (c->key[1] ^ ports)) == 0;
}

INLINE struct cached_reply *reply_find(__u64 ends, __u64 ports)
{
	__u32 index = reply_index(ends, ports);
	struct cached_reply *c = bpf_map_lookup_elem(&reply_cache, &index);

	if (!c || reply_is(c, ends, ports))
		return c;
	index++;
	c = bpf_map_lookup_elem(&reply_cache, &index);
	return c && reply_is(c, ends, ports) ? c : 0;
}

/* Enters a reply's flow with the header of its bearer. */
GLOBAL int cache_reply(struct packet *p, struct flow *f, struct bearer *b, __u32 bearer)
{
	struct rules_header *h = rules_head();
	__u32 t = now(), zero = 0;
	struct capture *watching = bpf_map_lookup_elem(&capture, &zero);

	if (!p || !f || !b || !h || !watching || watching->enabled || monitor_flags() & MONITOR_UNCACHED)
		return 0;
	__u32 octets = b->header_length;
	if (p->inner_v6 || p->fragment || p->untranslated || (p->protocol != PROTO_TCP && p->protocol != PROTO_UDP) ||
	    b->v6 || octets > CACHED_HEADER_MAX || b->state != BEARER_LIVE)
		return 0;
	__u64 ends = word_pair(mapped_ipv4(&p->remote), mapped_ipv4(&p->ue));
	__u64 ports = word_pair(ports_down(p), p->protocol);
	__u32 index = reply_index(ends, ports);
	struct cached_reply *c = bpf_map_lookup_elem(&reply_cache, &index);
	if (!c)
		return 0;
	if (!reply_is(c, ends, ports)) {
		__u32 second = index + 1;
		struct cached_reply *other = bpf_map_lookup_elem(&reply_cache, &second);
		if (!other)
			return 0;
		int fresh = c->version == cache_version(h) && t - c->stamp < h->cache_for;
		int other_fresh = other->version == cache_version(h) && t - other->stamp < h->cache_for;
		if (reply_is(other, ends, ports) || (fresh && (!other_fresh || (ends ^ t) & 1)))
			c = other;
	}
	__u32 versions = session_version(bearer), bearer_sequence = *(volatile __u32 *)&b->sequence;
	__u32 sequence = c->sequence;
	if (bearer_sequence & 1 || sequence & 1 ||
	    __sync_val_compare_and_swap(&c->sequence, sequence, sequence + 1) != sequence)
		return 0;
	c->key[0] = ends;
	c->key[1] = ports;
	c->stamp = t;
	c->session_version = versions;
	c->bearer = bearer;
	c->address = mapped_ipv4(&f->translated);
	c->ports = f->translated_port | (__u32)f->translated_ue_port << 16;
	c->l3_delta = f->l3_delta;
	c->l4_delta = f->l4_delta;
	c->service = f->service;
	c->overhead = b->overhead;
	c->qfi = f->qfi;
	c->header_length = octets;
	c->l3_offset = b->l3_offset;
	c->port_varies = b->port_varies;
	c->checksum = b->checksum;
	c->psc = b->psc;
	c->dataplane = b->dataplane;
	__u64 *to = (__u64 *)c->header;
	const __u64 *from = (const __u64 *)b->header;
	for (int i = 0; i < CACHED_HEADER_MAX / 8; i++)
		to[i] = from[i];
	__u32 version = cache_version(h);
	c->version = *(volatile __u32 *)&b->sequence == bearer_sequence ? version : ~version;
	__sync_fetch_and_add(&c->sequence, 1);
	return 1;
}

#endif
