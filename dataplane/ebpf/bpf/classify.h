/* Which rule decides this flow?
 *
 * Runs on a flow's first packet; the answer is kept in `flows`. Rules are ordered, the first that matches wins.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_CLASSIFY_H
#define OFFRAMP_CLASSIFY_H

#include "translate.h"
#include "learn.h"

INLINE int in_prefix(const struct address *a, const struct address *prefix, const struct address *mask)
{
	return (((a->hi & mask->hi) ^ prefix->hi) | ((a->lo & mask->lo) ^ prefix->lo)) == 0;
}

INLINE int rule_matches(const struct rule *r, const struct packet *p)
{
	if (r->v6 != 2 && r->v6 != p->inner_v6)
		return 0;
	if (r->protocol && r->protocol != p->protocol)
		return 0;
	if (!in_prefix(&p->remote, &r->destination, &r->destination_mask) ||
	    !in_prefix(&p->ue, &r->source, &r->source_mask))
		return 0;
	__u16 port = bpf_ntohs(p->remote_port), ue_port = bpf_ntohs(p->ue_port);
	if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6)
		port = ue_port = 0; /* an identifier is not a port */
	if (port < r->destination_port_low || port > r->destination_port_high || ue_port < r->source_port_low ||
	    ue_port > r->source_port_high)
		return 0;
	if (r->dataplanes && !(DATAPLANE < 16 && r->dataplanes & 1 << DATAPLANE))
		return 0;
	__u32 teid = bpf_ntohl(p->teid);
	if (teid < r->teid_low || teid > r->teid_high)
		return 0;
	if (r->dscp != 255 && r->dscp != p->dscp)
		return 0;
	return r->qfi == 255 || r->qfi == (p->psc ? p->psc >> 16 & 0x3f : 254);
}

struct search {
	const struct packet *p;
	__u32 count;
	__u32 found; /* index + 1 */
};

INLINE struct rule *rule_at(__u32 index)
{
	__u32 zero = 0;
	void *set = bpf_map_lookup_elem(&rules, &zero);

	return set ? bpf_map_lookup_elem(set, &index) : 0;
}

static long search_rule(__u32 index, void *context)
{
	struct search *s = context;
	struct rule *r = index < s->count ? rule_at(index) : 0;

	if (!r)
		return 1;
	if (rule_matches(r, s->p)) {
		s->found = index + 1;
		return 1;
	}
	return 0;
}

#define RULES_MAX 65536

INLINE void reply_key(struct flow_key *key, const struct flow *f, const struct packet *p)
{
	key->remote = f->translated;
	key->ue = p->ue;
	key->remote_port = f->translated_port;
	key->ue_port = f->translated_ue_port;
	key->protocol = p->protocol;
	key->reply = 1;
	key->pad = 0;
}

INLINE void uplink_key(struct flow_key *key, const struct packet *p)
{
	key->remote = p->remote;
	key->ue = p->ue;
	key->remote_port = p->remote_port;
	key->ue_port = p->ue_port;
	key->protocol = p->protocol;
	key->reply = 0;
	key->pad = 0;
}

/* Gives a later fragment the ports of its first one. Returns 0 when that has not come. `way`: one of its own for each
 * place that fragments come by. */
GLOBAL int follow_fragment(struct packet *p, __u32 way)
{
	if (!p)
		return 0;
	struct fragment_key id = {.source = p->remote, .destination = p->ue, .id = p->id, .link = way, .protocol = p->protocol};

	if (p->fragment == FRAGMENT_FIRST) {
		struct fragment value = {.last_seen = now()};
		uplink_key(&value.flow, p);
		bpf_map_update_elem(&fragments, &id, &value, BPF_ANY);
	} else if (p->fragment == FRAGMENT_LATER) {
		struct fragment *first = bpf_map_lookup_elem(&fragments, &id);
		if (!first)
			return 0;
		p->ue_port = first->flow.ue_port;
		p->remote_port = first->flow.remote_port;
	}
	return 1;
}

/* The QFI that the packet came with goes with it when it is put back into its tunnel. */
INLINE void note_qfi(struct flow *f, const struct packet *p)
{
	__u8 qfi = p->psc ? p->psc >> 16 & 0x3f : 255;

	if (f->qfi != qfi)
		f->qfi = qfi;
}

INLINE void set_flow_tunnel(struct flow *f, const struct packet *p)
{
	f->source = p->source;
	f->destination = p->destination;
	f->teid = p->teid;
	f->link = here(p);
}

/* What the cache knows of a flow that is about to be forgotten, `key` being its uplink key, must not outlive it: the next
 * connection with the same ports is decided anew. */
GLOBAL int forget_cached(struct flow_key *key, struct flow *f)
{
	struct cache_key cached;

	if (!key || !f || !is_mapped(&key->ue))
		return 0;
	if (is_mapped(&f->source)) {
		flow_cache_key(&cached, mapped_ipv4(&f->source), mapped_ipv4(&f->destination), f->teid, f->link,
			       mapped_ipv4(&key->ue), mapped_ipv4(&key->remote),
			       key->ue_port | (__u32)key->remote_port << 16, key->protocol);
		cache_drop(&cached);
	}
	struct cached_reply *back =
		reply_find(word_pair(mapped_ipv4(&f->translated), mapped_ipv4(&key->ue)),
			   word_pair(f->translated_port | (__u32)f->translated_ue_port << 16, key->protocol));
	if (back && f->action != ACTION_PASS)
		back->key[1] = ~0ULL;
	return 1;
}

/* Forgets a flow and its way back. */
INLINE void forget_flow(struct flow_key *key, struct flow *f)
{
	struct flow_key twin = {
		.remote = f->translated,
		.ue = key->ue,
		.remote_port = f->translated_port,
		.ue_port = f->translated_ue_port,
		.protocol = key->protocol,
		.reply = !key->reply,
	};
	struct session *s = session_at(f->session);

	forget_cached(key, f);
	if (f->action != ACTION_PASS)
		bpf_map_delete_elem(&flows, &twin);
	if (!bpf_map_delete_elem(&flows, key) && s && s->epoch == f->epoch && s->flows)
		__sync_fetch_and_sub(&s->flows, 1);
}

/* A flow of this session, to be filled in. */
INLINE struct flow_pair *new_flow(__u32 index, const struct session *s, __u32 generation)
{
	__u32 zero = 0;
	struct flow_pair *pair = bpf_map_lookup_elem(&flow_scratch, &zero);

	if (!pair)
		return 0;
	memset(&pair->uplink, 0, sizeof(pair->uplink));
	pair->uplink.generation = generation;
	pair->uplink.session = index;
	pair->uplink.epoch = s->epoch;
	pair->uplink.last_seen = now();
	pair->uplink.qfi = 255;
	return pair;
}

/* Enters both ways of a flow. The uplink entry is complete but for the deltas. Returns 0 when there is no room. */
INLINE int enter_flow(struct packet *p, struct flow_pair *pair, struct session *s)
{
	struct flow_key key, back;
	struct flow *f = &pair->uplink, *reply = &pair->reply;

	uplink_key(&key, p);
	f->translated_ue_port = p->ue_port;
	*reply = *f;
	reply->action = f->action == ACTION_THROUGH ? ACTION_THROUGH : ACTION_REPLY;
	reply->translated = p->remote;
	reply->translated_port = p->remote_port;
	reply->translated_ue_port = p->ue_port;
	reply->qfi = p->psc ? p->psc >> 16 & 0x3f : 255;
	reply_key(&back, f, p);
	/* Two flows of one UE that look alike to the app: the second gets another port there (RFC 4787 §4.2). */
	int entered = 0;
	for (__u32 attempt = 0; attempt < 8; attempt++) {
		struct flow *other = bpf_map_lookup_elem(&flows, &back);
		if (other) {
			struct session *owner = session_at(other->session);
			if (!owner || owner->epoch != other->epoch ||
			    (same_address(&other->translated, &p->remote) && other->translated_port == p->remote_port &&
			     other->translated_ue_port == p->ue_port)) {
				bpf_map_delete_elem(&flows, &back); /* left over */
				other = 0;
			}
		}
		if (!other) {
			set_deltas(reply, &f->translated, &p->remote, f->translated_port, p->remote_port, back.ue_port,
				   p->ue_port, p->protocol);
			if (!bpf_map_update_elem(&flows, &back, reply, BPF_NOEXIST)) {
				entered = 1;
				break;
			}
		}
		if (p->protocol != PROTO_TCP && p->protocol != PROTO_UDP && p->protocol != PROTO_ICMP &&
		    p->protocol != PROTO_ICMPV6)
			return 0;
		back.ue_port = bpf_htons(0x8000 | (bpf_get_prandom_u32() & 0x7fff));
	}
	if (!entered)
		return 0;
	f->translated_ue_port = back.ue_port;
	/* an echo's identifier stands for both ports */
	if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6)
		f->translated_ue_port = back.ue_port;
	set_deltas(f, &p->remote, &f->translated, p->remote_port, f->translated_port, p->ue_port, f->translated_ue_port,
		   p->protocol);
	if (bpf_map_update_elem(&flows, &key, f, BPF_ANY)) {
		bpf_map_delete_elem(&flows, &back);
		return 0;
	}
	__sync_fetch_and_add(&s->flows, 1);
	return 1;
}

/* Decides a flow's first packet on a proven tunnel. Returns -1 when it was entered to be taken, else the counter that
 * it passes with. */
GLOBAL int decide(struct packet *p, struct config *cfg, struct tunnel *t)
{
	if (!p || !cfg || !t)
		return 0;
	__u32 zero = 0;
	struct rules_header *header = bpf_map_lookup_elem(&rules_state, &zero);

	if (!t || !header)
		return COUNTER_PASS_NO_RULE;
	__u32 index = p->inner_v6 ? t->session6 : t->session4;
	struct session *s = session_at(index);
	if (!s || s->epoch != (p->inner_v6 ? t->epoch6 : t->epoch4))
		return COUNTER_PASS_UNPROVEN;
	if (p->fragment == FRAGMENT_LATER)
		return COUNTER_PASS_NO_RULE;
	if (p->protocol == PROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN)
		return COUNTER_PASS_MID_CONNECTION;
	if (is_icmp_other(p))
		return COUNTER_PASS_NO_RULE;
	struct search search = {.p = p, .count = header->count};
	__u32 generation = header->generation;
	bpf_loop(RULES_MAX, search_rule, &search, 0);
	struct rule *r = search.found ? rule_at(search.found - 1) : 0;
	struct flow_pair *pair = new_flow(index, s, generation);
	struct flow_key key;

	if (!pair)
		return COUNTER_PASS_TABLE_FULL;
	struct flow *f = &pair->uplink;
	uplink_key(&key, p);
	set_flow_tunnel(f, p);
	if (r) {
		p->service = r->service;
		p->rule = f->rule = r->id;
	}
	__u32 action = !r ? ACTION_PASS : r->action == ACTION_PASS && r->flags & RULE_TREATED ? ACTION_THROUGH : r->action;
	if (action == ACTION_PASS) {
		/* remember it, so that the next packet need not ask again */
		if (s->flows < cfg->ue_flows && !bpf_map_update_elem(&flows, &key, f, BPF_ANY))
			__sync_fetch_and_add(&s->flows, 1);
		return COUNTER_PASS_NO_RULE;
	}
	if (cfg->mode != MODE_OFFLOAD)
		return COUNTER_PASS_OBSERVE;
	/* only what can be translated completely is translated */
	if (action == ACTION_TAKE && p->protocol != PROTO_TCP && p->protocol != PROTO_UDP &&
	    p->protocol != PROTO_ICMP && p->protocol != PROTO_ICMPV6)
		return COUNTER_PASS_NO_RULE;
	if (action != ACTION_THROUGH && s->aside_until && (__s32)(s->aside_until - now()) > 0)
		return COUNTER_PASS_ASIDE;
	if (action != ACTION_THROUGH && usable_slot(index, s) == ~0u) {
		/* without a control plane nobody could hold the reply, or find the downlink */
		if (!slow_present())
			return COUNTER_PASS_ASIDE;
		s->flags |= SESSION_WANTED;
		if (now() - s->wanted_at > HZ / 10) {
			s->wanted_at = now();
			tell(EVENT_WANTED, s, index, p, 0, p->message);
		}
	}
	if (s->flows >= cfg->ue_flows) {
		count(COUNTER_NOTE_FULL, 0);
		return COUNTER_PASS_TABLE_FULL;
	}
	f->action = action;
	f->flags = r->flags & RULE_TREATED ? FLOW_TREATED : 0;
	f->service = r->service;
	f->rule = r->id;
	f->next_hop = r->next_hop;
	f->bearer = index * BEARER_SLOTS;
	for (__u32 slot = 1; slot < DOWNLINK_SLOTS; slot++) { /* a bearer that pairs with this uplink */
		struct bearer *b = bearer_at(index, slot);
		if (b && b->state == BEARER_LIVE && b->epoch == s->epoch && b->pair_teid == p->teid)
			f->bearer = index * BEARER_SLOTS + slot;
	}
	if (action == ACTION_TAKE) {
		f->translated = r->endpoint;
		f->translated_port = r->endpoint_port && !(p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6)
					    ? r->endpoint_port
					    : p->remote_port;
	} else {
		f->translated = p->remote;
		f->translated_port = p->remote_port;
	}
	if (!enter_flow(p, pair, s)) {
		count(COUNTER_NOTE_FULL, 0);
		return COUNTER_PASS_TABLE_FULL;
	}
	return -1;
}

#endif
