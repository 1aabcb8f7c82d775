/* How is a flow found, entered and forgotten?
 *
 * A flow that has a way back is two entries of `flows`, its keys made of the other's value.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_FLOW_H
#define OFFRAMP_FLOW_H

#include "translate.h"
#include "learn.h"
#include "search.h"
#include "outlet.h"

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
	__u8 qfi = qfi_of(p);

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

/* Is there an entry for the way back? */
INLINE int has_twin(__u8 action)
{
	return action != ACTION_PASS && action != ACTION_DROP;
}

/* Both of its directions are the core's. */
INLINE int keeps_tunnel(__u8 action)
{
	return action == ACTION_THROUGH || action == ACTION_FORWARD;
}

/* Nothing of these is translated: they may be decided again at any time. */
INLINE int stays_itself(__u8 action)
{
	return action == ACTION_PASS || action == ACTION_DROP || action == ACTION_THROUGH;
}

/* What the cache knows of a flow that is about to be forgotten, `key` being its uplink key, must not outlive it: the next
 * connection with the same ports is decided anew. */
GLOBAL int forget_cached(struct flow_key *key, struct flow *f)
{
	struct cache_key cached;

	struct rules_header *h = rules_head();

	if (!key || !f || !h || !is_mapped(&key->ue))
		return 0;
	if (h->fields) { /* it may be there once for each value of them */
		bump_cache();
		return 1;
	}
	if (is_mapped(&f->source)) {
		flow_cache_key(&cached, mapped_ipv4(&f->source), mapped_ipv4(&f->destination), f->teid, f->link,
			       mapped_ipv4(&key->ue), mapped_ipv4(&key->remote),
			       key->ue_port | (__u32)key->remote_port << 16, key->protocol, 0);
		cache_drop(&cached);
	}
	struct cached_reply *back =
		reply_find(word_pair(mapped_ipv4(&f->translated), mapped_ipv4(&key->ue)),
			   word_pair(f->translated_port | (__u32)f->translated_ue_port << 16, key->protocol));
	if (back && has_twin(f->action))
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
	if (has_twin(f->action))
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

/* A flow of one packet, which nobody enters: by the outcome in this CPU's struct lookup. */
INLINE struct flow *flow_alone(struct packet *p)
{
	__u32 zero = 0;
	struct flow_pair *pair = bpf_map_lookup_elem(&flow_scratch, &zero);
	struct lookup *l = lookup_here();

	if (!pair || !l)
		return 0;
	struct flow *f = &pair->uplink;
	memset(f, 0, sizeof(*f));
	f->action = l->outcome.action;
	f->flags = l->outcome.flags & RULE_TREATED ? FLOW_TREATED : 0;
	p->service = f->service = l->outcome.service;
	p->rule = f->rule = l->outcome.id;
	f->next_hop = l->outcome.next_hop;
	return f;
}

/* Enters both ways of a flow. The uplink entry is complete but for the deltas. Returns 0 when there is no room. */
INLINE int enter_flow(struct packet *p, struct flow_pair *pair, struct session *s)
{
	struct flow_key key, back;
	struct flow *f = &pair->uplink, *reply = &pair->reply;

	uplink_key(&key, p);
	f->translated_ue_port = p->ue_port;
	*reply = *f;
	reply->action = keeps_tunnel(f->action) ? f->action : ACTION_REPLY;
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
		    p->protocol != PROTO_ICMPV6 && p->protocol != PROTO_QUERY)
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
	if (!bpf_map_update_elem(&flows, &key, f, BPF_NOEXIST)) {
		__sync_fetch_and_add(&s->flows, 1);
		return 1;
	}
	/* another of the service's endpoints speaks to the same port: it is counted already */
	if (!bpf_map_update_elem(&flows, &key, f, BPF_EXIST))
		return 1;
	bpf_map_delete_elem(&flows, &back);
	return 0;
}

#endif
