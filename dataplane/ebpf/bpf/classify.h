/* Which rule decides this flow?
 *
 * Runs on a flow's first packet; the answer is kept in `flows`. search.h finds the rule.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_CLASSIFY_H
#define OFFRAMP_CLASSIFY_H

#include "flow.h"

INLINE __u64 mac_number(const __u8 *mac)
{
	return (__u64)(mac[0] << 8 | mac[1]) << 32 | (__u32)mac[2] << 24 | mac[3] << 16 | mac[4] << 8 | mac[5];
}

/* Of an address that stands for a station: see MAC_PREFIX. */
INLINE __u64 mac_in(const struct address *a)
{
	return bpf_be64_to_cpu(a->lo) & 0xffffffffffffULL;
}

/* Where it came from and in what: all but the inner packet. */
INLINE void point_outside(struct lookup *l, const struct packet *p, __u32 message)
{
	set_number(l, DIMENSION_DIRECTION, DIRECTION_UPLINK);
	set_number(l, DIMENSION_DATAPLANE, DATAPLANE);
	set_number(l, DIMENSION_VLAN, p->link >> 12 & 0xfff);
	set_number(l, DIMENSION_INNER_VLAN, p->link & 0xfff);
	set_number(l, DIMENSION_SOURCE_MAC, mac_number(p->mac + 6));
	set_number(l, DIMENSION_DESTINATION_MAC, mac_number(p->mac));
	set_address(l, DIMENSION_BASE_STATION, &p->source);
	set_address(l, DIMENSION_GATEWAY, &p->destination);
	if (p->ethernet) { /* what stands there is no address */
		set_number(l, DIMENSION_BASE_STATION, 0);
		set_number(l, DIMENSION_GATEWAY, 0);
	}
	set_number(l, DIMENSION_TEID, bpf_ntohl(p->teid));
	set_number(l, DIMENSION_QFI, qfi_of(p));
	set_number(l, DIMENSION_MESSAGE, message);
}

INLINE void point_inside(struct lookup *l, const struct packet *p)
{
	int ports = p->protocol == PROTO_TCP || p->protocol == PROTO_UDP; /* an identifier is not a port */

	set_address(l, DIMENSION_DESTINATION, &p->remote);
	set_address(l, DIMENSION_SOURCE, &p->ue);
	set_number(l, DIMENSION_PROTOCOL, p->protocol | (__u32)p->inner_v6 << 8);
	set_number(l, DIMENSION_DESTINATION_PORT, ports ? bpf_ntohs(p->remote_port) : 0);
	set_number(l, DIMENSION_SOURCE_PORT, ports ? bpf_ntohs(p->ue_port) : 0);
	set_number(l, DIMENSION_DSCP, p->dscp);
}

/* What is to be matched? */
#define FIND_UPLINK 0     /* an uplink packet */
#define FIND_SIGNALLING 1 /* a GTP-U message of the access side that is no G-PDU: it has nothing inside */
#define FIND_APP 2        /* an app's packet, as if the UE of session `index` had sent it in its own tunnel */
#define FIND_CORE 3       /* a packet of the core, likewise */
#define FIND_DOWNLINK 4   /* a packet of the core as it is; its ends and tunnel as the uplink would have them */

/* TEID of the uplink tunnel of the UE that this packet is for; 0 where none is proven. */
INLINE __u32 uplink_teid(const struct packet *p)
{
	struct session_key key;

	session_key_of(&key, &p->ue, p->inner_v6 && !p->ethernet);
	__u32 *slot = bpf_map_lookup_elem(&ue_sessions, &key);
	struct session *s = slot ? session_at(*slot) : 0;
	struct bearer *own = s ? bearer_at(*slot, SLOT_UPLINK) : 0;
	if (!own || !(s->flags & SESSION_UPLINK) || own->epoch != s->epoch)
		return 0;
	return bpf_ntohl(own->key.teid);
}

/* Searches the rules; the outcome is in this CPU's struct lookup. Returns 1 when one matches. */
GLOBAL int find_rule(struct packet *p, __u32 what, __u32 index)
{
	struct lookup *l = lookup_here();
	struct rules_header *header = rules_head();

	if (!p || !l || !header)
		return 0;
	l->generation = *(volatile __u32 *)&header->generation;
	if (what == FIND_SIGNALLING) {
		for (int i = DIMENSION_DESTINATION; i <= DIMENSION_DSCP; i++)
			set_number(l, i, 0);
	} else {
		point_inside(l, p);
	}
	if (what == FIND_APP || what == FIND_CORE) {
		struct session *s = session_at(index);
		struct bearer *own = bearer_at(index, SLOT_UPLINK);
		if (!s || !own)
			return 0;
		/* rules for apps say nothing about what only a packet of the UE's could show */
		set_number(l, DIMENSION_DIRECTION, DIRECTION_UPLINK);
		set_number(l, DIMENSION_DATAPLANE, s->dataplane);
		set_number(l, DIMENSION_VLAN, own->key.link >> 12 & 0xfff);
		set_number(l, DIMENSION_INNER_VLAN, own->key.link & 0xfff);
		set_address(l, DIMENSION_BASE_STATION, &s->base_station);
		set_address(l, DIMENSION_GATEWAY, &own->key.endpoint);
		set_number(l, DIMENSION_TEID, bpf_ntohl(own->key.teid));
		if (s->base_station.hi == MAC_PREFIX) {
			set_number(l, DIMENSION_BASE_STATION, 0);
			set_number(l, DIMENSION_GATEWAY, 0);
		}
		if (what == FIND_CORE) {
			set_number(l, DIMENSION_SOURCE_MAC, p->ethernet ? mac_in(&s->base_station) : 0);
			set_number(l, DIMENSION_DESTINATION_MAC, p->ethernet ? mac_in(&s->gateway) : 0);
			set_number(l, DIMENSION_QFI, NO_QFI);
			set_number(l, DIMENSION_MESSAGE, GTPU_G_PDU);
		}
	} else {
		point_outside(l, p, what == FIND_SIGNALLING ? p->message : GTPU_G_PDU);
	}
	if (what == FIND_DOWNLINK) {
		set_number(l, DIMENSION_DIRECTION, DIRECTION_DOWNLINK);
		set_number(l, DIMENSION_SOURCE_MAC, mac_number(p->mac));
		set_number(l, DIMENSION_DESTINATION_MAC, mac_number(p->mac + 6));
		set_number(l, DIMENSION_TEID, p->ethernet ? 0 : uplink_teid(p));
		if (!p->ethernet) {
			set_address(l, DIMENSION_BASE_STATION, &p->destination);
			set_address(l, DIMENSION_GATEWAY, &p->source);
		}
	}
	return search(what == FIND_APP ? ROOT_APP : ROOT_UPLINK);
}

/* Does a rule drop this message? */
INLINE int is_dropped(struct packet *p, __u32 what)
{
	struct lookup *l = lookup_here();

	return find_rule(p, what, 0) && l && l->outcome.action == ACTION_DROP;
}

/* Is the outcome in this CPU's struct lookup that of a rule for one direction, which does more than pass? */
INLINE int acts_alone(void)
{
	struct lookup *l = lookup_here();

	return l && l->outcome.flags & RULE_DIRECTED && l->outcome.action != ACTION_PASS;
}

/* Could an app's replies come back? Returns 0, or the counter to pass with; says when the downlink is wanted. */
INLINE int want_downlink(struct packet *p, struct session *s, __u32 index)
{
	if (s->aside_until && (__s32)(s->aside_until - now()) > 0)
		return COUNTER_PASS_ASIDE;
	if (usable_slot(index, s) != ~0u)
		return 0;
	/* without a control plane nobody could hold the reply, or find the downlink */
	if (!slow_present())
		return COUNTER_PASS_ASIDE;
	s->flags |= SESSION_WANTED;
	if (now() - s->wanted_at > HZ / 10) {
		s->wanted_at = now();
		tell(EVENT_WANTED, s, index, p, 0, p->message);
	}
	return 0;
}

/* The downlink bearer that pairs with the uplink that a packet came in, else the session's first. */
INLINE __u32 bearer_beside(__u32 index, const struct session *s, const struct packet *p)
{
	__u32 found = 0;

	for (__u32 slot = 1; slot < DOWNLINK_SLOTS; slot++) {
		struct bearer *b = bearer_at(index, slot);
		if (b && b->state == BEARER_LIVE && b->epoch == s->epoch && b->pair_teid == p->teid)
			found = slot;
	}
	return index * BEARER_SLOTS + found;
}

/* Remembers that this flow stays as it is, so that the next packet need not ask again. Nothing is lost without room. */
INLINE void remember_flow(struct packet *p, struct config *cfg, struct session *s, struct flow *f)
{
	struct flow_key key;

	uplink_key(&key, p);
	if (s->flows < cfg->ue_flows && !bpf_map_update_elem(&flows, &key, f, BPF_ANY))
		__sync_fetch_and_add(&s->flows, 1);
}

/* The second half of decide(); `matched`: the outcome is in this CPU's struct lookup. */
GLOBAL int follow_rule(struct packet *p, struct config *cfg, struct tunnel *t, __u32 matched)
{
	if (!p || !cfg || !t)
		return 0;
	struct lookup *l = lookup_here();

	if (!l)
		return COUNTER_PASS_NO_RULE;
	__u32 index = p->inner_v6 ? t->session6 : t->session4;
	struct session *s = session_at(index);
	if (!s || s->epoch != (p->inner_v6 ? t->epoch6 : t->epoch4))
		return COUNTER_PASS_UNPROVEN;
	if (p->fragment == FRAGMENT_LATER || is_icmp_other(p))
		return COUNTER_PASS_NO_RULE;
	__u32 action = ACTION_PASS, running = 0;
	struct outcome *o = &l->outcome;
	if (matched)
		action = o->action;
	/* a connection is taken from its SYN on */
	if (p->protocol == PROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN &&
	    action != ACTION_DROP && action != ACTION_THROUGH) {
		if (!p->running)
			return COUNTER_PASS_MID_CONNECTION;
		running = action != ACTION_PASS;
		action = ACTION_PASS;
	}
	struct flow_pair *pair = new_flow(index, s, l->generation);
	if (!pair)
		return COUNTER_PASS_TABLE_FULL;
	struct flow *f = &pair->uplink;
	set_flow_tunnel(f, p);
	if (matched) {
		p->service = o->service;
		p->rule = f->rule = o->id;
	}
	f->dscp = p->dscp;
	f->qfi = qfi_of(p);
	if (action == ACTION_PASS) {
		f->flags = running ? FLOW_RUNNING : 0;
		remember_flow(p, cfg, s, f);
		return COUNTER_PASS_NO_RULE;
	}
	if (cfg->mode != MODE_OFFLOAD)
		return COUNTER_PASS_OBSERVE;
	f->action = action;
	f->service = o->service;
	f->rule = o->id;
	f->next_hop = o->next_hop;
	if (o->flags & RULE_TREATED)
		f->flags |= FLOW_TREATED;
	if (action == ACTION_DROP) {
		remember_flow(p, cfg, s, f);
		return COUNTER_DROP_RULE;
	}
	/* only what can be translated completely is translated */
	if (action == ACTION_TAKE && p->protocol != PROTO_TCP && p->protocol != PROTO_UDP && p->protocol != PROTO_ICMP &&
	    p->protocol != PROTO_ICMPV6)
		return COUNTER_PASS_NO_RULE;
	if (!keeps_tunnel(action)) {
		int refused = want_downlink(p, s, index);
		if (refused)
			return refused;
	}
	if (action != ACTION_TAKE && f->flags & FLOW_TREATED && action != ACTION_THROUGH &&
	    !has_way(o->next_hop, action, p))
		return COUNTER_PASS_NO_WAY;
	if (s->flows >= cfg->ue_flows) {
		count(COUNTER_NOTE_FULL, 0);
		return COUNTER_PASS_TABLE_FULL;
	}
	f->bearer = bearer_beside(index, s, p);
	f->translated = p->remote;
	f->translated_port = p->remote_port;
	if (action == ACTION_TAKE) {
		f->translated = o->endpoint;
		if (o->endpoint_port && (p->protocol == PROTO_TCP || p->protocol == PROTO_UDP))
			f->translated_port = o->endpoint_port;
	}
	if (!enter_flow(p, pair, s)) {
		count(COUNTER_NOTE_FULL, 0);
		return COUNTER_PASS_TABLE_FULL;
	}
	return -1;
}

#define DECIDED_FLOW -1
#define DECIDED_ALONE -2

/* Decides a packet on a proven tunnel: the first of its flow, which was entered to be taken, or to stay in its tunnel
 * with a treatment (DECIDED_FLOW), or alone, by a rule for one direction. Else returns the counter that the packet passes
 * with, or COUNTER_DROP_RULE. */
INLINE int decide(struct packet *p, struct config *cfg, struct tunnel *t)
{
	__u32 found = find_rule(p, FIND_UPLINK, 0);

	if (found && acts_alone())
		return DECIDED_ALONE;
	return follow_rule(p, cfg, t, found);
}

#endif
