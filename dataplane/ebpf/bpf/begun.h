/* Does the core begin a flow that stays in its tunnel: with a treatment, or forwarded?
 *
 * Rules are written as the uplink sees them: the packet is looked up as if the UE had answered it in its own uplink tunnel.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_BEGUN_H
#define OFFRAMP_BEGUN_H

#include "classify.h"

/* Was it decided on a packet of the core, by rules that have changed since? */
INLINE int is_begun_before(const struct flow *f)
{
	struct rules_header *h = rules_head();

	return f->action == ACTION_THROUGH && f->flags & FLOW_BEGUN && h && f->generation != h->generation;
}

/* May this packet be decided, in spite of the uplink entry that its flow has? Forgets what is out of date. */
GLOBAL int is_undecided(struct packet *p)
{
	struct flow_key key;

	if (!p || p->fragment == FRAGMENT_LATER)
		return 0;
	struct rules_header *h = rules_head();
	int mid = p->protocol == PROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN;

	uplink_key(&key, p);
	struct flow *f = bpf_map_lookup_elem(&flows, &key);
	if (!f)
		return !mid;
	struct session *s = session_at(f->session);
	if (s && s->epoch == f->epoch) {
		if (!stays_itself(f->action) || !h || f->generation == h->generation)
			return 0;
		if (mid && !(f->flags & FLOW_BEGUN))
			return 0;
	} else if (mid) {
		return 0;
	}
	forget_flow(&key, f);
	return 1;
}

/* Does the packet meet a rule that treats what passes, or forwards it? Returns 1 + its session; the outcome is in this CPU's struct lookup.
 * `own`: the downlink bearer that it came in, ~0 on Ethernet. */
GLOBAL __u32 find_begun(struct packet *p, __u32 own)
{
	struct session_key key;

	if (!p)
		return 0;
	session_key_of(&key, &p->ue, p->inner_v6 && !p->ethernet);
	__u32 *slot = bpf_map_lookup_elem(&ue_sessions, &key);
	if (!slot)
		return 0;
	__u32 index = *slot;
	struct session *s = session_at(index);
	struct bearer *up = bearer_at(index, SLOT_UPLINK);
	if (!s || !up || s->dataplane != DATAPLANE || !(s->flags & SESSION_UPLINK) || up->epoch != s->epoch)
		return 0;
	if (own != ~0u) { /* what an earlier owner of the address has left shows nothing */
		struct bearer *down = bpf_map_lookup_elem(&bearers, &own);
		if (!down || down->epoch != s->epoch || own / BEARER_SLOTS != index)
			return 0;
	}
	struct lookup *l = lookup_here();
	if (!find_rule(p, FIND_CORE, index) || !l || !keeps_tunnel(l->outcome.action) || l->outcome.flags & RULE_DIRECTED)
		return 0;
	if (l->outcome.action == ACTION_FORWARD && !has_way(l->outcome.next_hop, ACTION_FORWARD, p))
		return 0;
	return index + 1;
}

/* Enters the flow by the outcome in this CPU's struct lookup. Returns 0 when there is no room. */
GLOBAL int enter_begun(struct packet *p, struct config *cfg, __u32 own, __u32 index)
{
	struct lookup *l = lookup_here();
	struct session *s = session_at(index);
	struct bearer *up = bearer_at(index, SLOT_UPLINK);

	if (!p || !cfg || !l || !s || !up)
		return 0;
	struct flow_pair *pair = s->flows < cfg->ue_flows ? new_flow(index, s, l->generation) : 0;
	if (!pair) {
		count(COUNTER_NOTE_FULL, 0);
		return 0;
	}
	struct flow *f = &pair->uplink;
	f->source = s->base_station;
	f->destination = up->key.endpoint;
	f->teid = up->key.teid;
	f->link = up->key.link & ~(1u << 24);
	f->action = l->outcome.action;
	f->next_hop = l->outcome.next_hop;
	f->flags = FLOW_BEGUN | (l->outcome.flags & RULE_TREATED ? FLOW_TREATED : 0);
	f->service = l->outcome.service;
	f->rule = l->outcome.id;
	f->bearer = own == ~0u ? index * BEARER_SLOTS : own;
	f->dscp = p->dscp;
	f->qfi = NO_QFI;
	f->translated = p->remote;
	f->translated_port = p->remote_port;
	if (enter_flow(p, pair, s))
		return 1;
	count(COUNTER_NOTE_FULL, 0);
	return 0;
}

/* Enters the flow of a packet that belongs to none, where the rule that it meets treats what passes. */
INLINE int begin_through(struct packet *p, struct config *cfg, __u32 own)
{
	if (!is_undecided(p))
		return 0;
	__u32 found = find_begun(p, own);
	return found && enter_begun(p, cfg, own, found - 1);
}

#endif
