/* How do an app's replies get back into the UE's tunnel, and our pings into its uplink tunnel?
 *
 *   kernel routes to the return veth -> parse -> flow -> size -> translate -> prebuilt header -> access port
 *                                                 |                              | bearer not usable
 *                                                 v                              v
 *                                        drop / app may speak first       the slow port holds it
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_REPLY_H
#define OFFRAMP_REPLY_H

#include "chain.h"
#include "classify.h"
#include "capture.h"
#include "encapsulate.h"
#include "meter.h"
#include "mirror.h"

/* Tells the app that its packet does not fit (RFC 1191, RFC 8201), in the UE's name, back the way it came. */
GLOBAL int too_big(struct xdp_md *ctx, struct packet *p, __u32 mtu)
{
	if (!p)
		return 0;
	__u32 quote = p->inner_v6 ? 40 + 40 : 28;
	__u32 headers = p->inner_v6 ? 48 : 28;
	__u32 whole = bpf_xdp_get_buff_len(ctx);
	__u8 mac[12] ALIGNED;

	if (whole < 14 + quote || bpf_xdp_load_bytes(ctx, 0, mac, 12))
		return XDP_DROP;
	if (bpf_xdp_adjust_tail(ctx, (int)(14 + quote) - (int)whole) || bpf_xdp_adjust_head(ctx, -(int)headers))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + 14 + 48 + 40 > end && (p->inner_v6 || data + 14 + 28 + 28 > end))
		return XDP_DROP;
	memcpy(data, mac + 6, 6);
	memcpy(data + 6, mac, 6);
	void *ip = data + 14;
	if (!p->inner_v6) {
		if (data + 14 + 28 + 28 > end)
			return XDP_DROP;
		*(__u16 *)(data + 12) = bpf_htons(ETH_P_IP);
		*(__u32 *)ip = bpf_htonl(0x45000000 | (28 + 28));
		*(__u32 *)(ip + 4) = 0;
		*(__u32 *)(ip + 8) = bpf_htonl(64 << 24 | PROTO_ICMP << 16);
		*(__u32 *)(ip + 12) = mapped_ipv4(&p->ue);
		*(__u32 *)(ip + 16) = mapped_ipv4(&p->remote);
		*(__u16 *)(ip + 10) = ~(__u16)sum_ipv4(ip);
		*(__u32 *)(ip + 20) = bpf_htonl(3 << 24 | 4 << 16);
		*(__u32 *)(ip + 24) = bpf_htonl(mtu);
		const __u32 *w = ip + 20;
		__u64 sum = 0;
		for (int i = 0; i < 9; i++)
			sum += w[i];
		*(__u16 *)(ip + 22) = ~(__u16)fold(sum);
	} else {
		if (data + 14 + 48 + 80 > end)
			return XDP_DROP;
		*(__u16 *)(data + 12) = bpf_htons(ETH_P_IPV6);
		*(__u32 *)ip = bpf_htonl(0x60000000);
		*(__u32 *)(ip + 4) = bpf_htonl((8 + 80) << 16 | PROTO_ICMPV6 << 8 | 64);
		memcpy(ip + 8, &p->ue, 16);
		memcpy(ip + 24, &p->remote, 16);
		*(__u32 *)(ip + 40) = bpf_htonl(2 << 24);
		*(__u32 *)(ip + 44) = bpf_htonl(mtu);
		const __u32 *w = ip + 40;
		__u64 sum = sum_address(&p->ue) + sum_address(&p->remote) + bpf_htons(PROTO_ICMPV6) + bpf_htons(88);
		for (int i = 0; i < 22; i++)
			sum += w[i];
		*(__u16 *)(ip + 42) = ~(__u16)fold(sum);
	}
	return XDP_TX;
}

/* Another bearer, or the slow port. Returns a bearer, or 0 with *verdict set. */
INLINE struct bearer *choose_bearer(struct xdp_md *ctx, struct packet *p, struct flow *f, int from_hold, int *verdict,
				    __u32 *bearer)
{
	__u32 index = f->session;
	struct session *s = session_at(index);

	*verdict = XDP_DROP;
	if (!s || s->epoch != f->epoch) {
		*verdict = drop(ctx, COUNTER_DROP_NO_FLOW);
		return 0;
	}
	if (from_hold || !(s->flags & SESSION_HOLD)) {
		__u32 slot = usable_slot(index, s);
		if (slot != ~0u) {
			*bearer = index * BEARER_SLOTS + slot;
			return bearer_at(index, slot);
		}
	}
	if (from_hold) {
		*verdict = drop(ctx, COUNTER_DROP_NO_DOWNLINK);
		return 0;
	}
	__u32 dataplane = s->dataplane, epoch = s->epoch, octets = frame_length(ctx);
	if (now() - s->wanted_at > HZ / 10) {
		s->wanted_at = now();
		tell(EVENT_WANTED, s, index, p, 0, 0);
	}
	if (!slow_present()) {
		*verdict = drop(ctx, COUNTER_DROP_NO_DOWNLINK);
		return 0;
	}
	if (!(s->flags & SESSION_HOLD)) {
		s->held = 0;
		__sync_fetch_and_or(&s->flags, SESSION_HOLD);
	}
	__u32 number = __sync_fetch_and_add(&s->held, 1) + 1;
	if (slow(ctx, SLOW_HOLD, dataplane, index, epoch, number, 0)) {
		ends_in(ctx, dataplane, COUNTER_SLOW_HOLD, octets);
		*verdict = XDP_REDIRECT;
	} else {
		*verdict = drop(ctx, COUNTER_DROP_NO_DOWNLINK);
	}
	return 0;
}

/* A packet of ours goes into this bearer: an Error Indication may be about it. */
INLINE void note_injection(__u32 session, __u32 bearer)
{
	struct injection *ours = injection_of(session);

	if (ours) {
		ours->at = now();
		if (!(ours->slots & 1 << bearer % BEARER_SLOTS))
			__sync_fetch_and_or(&ours->slots, 1 << bearer % BEARER_SLOTS);
	}
}

/* The frame, an Ethernet header and the inner packet, goes down this bearer. `number`: of the packet, for its
 * identification. */
INLINE int into_tunnel(struct xdp_md *ctx, const struct config *cfg, struct packet *p, struct flow *f, struct bearer *b,
		       __u32 number, const struct treatment *treatment)
{
	__u32 length = p->inner_length, dataplane = b->dataplane, service = f->service;
	__u32 counter = f->action == ACTION_THROUGH ? COUNTER_CHAIN_BACK : COUNTER_REPLY_DOWNLINK;

	if (!push_header(ctx, b, p, length, (flow_entropy(ports_down(p)) & 0xff) | number << 8, f->qfi))
		return drop(ctx, COUNTER_DROP_NO_DOWNLINK);
	ends_in(ctx, dataplane, counter, length);
	if (capture_on()) {
		p->inner = frame_length(ctx) - length;
		capture_frame(ctx, p, counter, service, dataplane * 2 + 1);
	}
	int verdict = leave(ctx, cfg->flags & CONFIG_SHARED ? PORT_RETURN : PORT_ACCESS(dataplane), XDP_DROP, mirror_of(treatment, 1));
	if (verdict != XDP_REDIRECT)
		ends_in(ctx, dataplane, COUNTER_DROP_REDIRECT, length);
	return verdict;
}

/* Sends a reply whose flow is known. The frame is Ethernet + IP. `l4`: from the frame's start. */
INLINE int send_reply(struct xdp_md *ctx, struct packet *p, struct flow *f, int from_hold)
{
	__u32 t = now(), length = p->inner_length, slot = f->bearer;

	struct bearer *b = bpf_map_lookup_elem(&bearers, &slot);
	int verdict;

	p->service = f->service;
	p->rule = f->rule;
	if (!b || b->state != BEARER_LIVE || b->epoch != f->epoch) {
		b = choose_bearer(ctx, p, f, from_hold, &verdict, &slot);
		if (!b)
			return verdict;
	}
	struct config *cfg = config_of(b->dataplane);
	if (!cfg)
		return drop(ctx, COUNTER_DROP_REDIRECT);
	if (length + b->overhead > cfg->mtu_access) {
		__u32 mtu = cfg->mtu_access - b->overhead, dataplane = b->dataplane;
		if (p->dont_fragment) {
			ends_in(ctx, dataplane, COUNTER_DROP_TOO_BIG, length);
			return too_big(ctx, p, mtu);
		}
		if (slow(ctx, SLOW_TOO_BIG, dataplane, f->session, f->epoch, 0, mtu)) {
			ends_in(ctx, dataplane, COUNTER_SLOW_TOO_BIG, length);
			return XDP_REDIRECT;
		}
		ends_in(ctx, dataplane, COUNTER_DROP_TOO_BIG, length);
		return XDP_DROP;
	}
	const struct treatment *treatment = treatment_of(f);
	if (f->last_seen != t)
		f->last_seen = t;
	if (p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST) && p->protocol == PROTO_TCP && p->fragment != FRAGMENT_LATER) {
		if (p->tcp_flags & TCP_FIN)
			f->flags |= FLOW_FIN_DOWN;
		if (p->tcp_flags & TCP_RST)
			f->flags |= FLOW_RST;
		if (p->tcp_flags & TCP_SYN)
			clamp_mss(ctx, p->l4,
				  chain_mss(treatment, mss_limit(cfg, b->v6 ? 64 : 44, p->inner_v6), p->inner_v6));
	}
	__u32 service = f->service;
	if (treatment) {
		if (!within_rate(treatment, service, 1, length)) {
			ends_in(ctx, b->dataplane, COUNTER_DROP_RATE, length);
			return XDP_DROP;
		}
	} else if (cfg->flags & CONFIG_SHARED || !service ? 0 : b->state == BEARER_LIVE) {
		/* answers to queries (service 0) all come by here: they show that the name server lives */
		cache_reply(p, f, b, slot);
	}
	if (!translate(ctx, f, p, 0, 14, p->l4 - 14))
		return drop(ctx, COUNTER_DROP_REPLY_MALFORMED);
	__u32 number = count_service(service, 1, length);
	if (treatment && treatment->flags & TREATMENT_BYPASS_DOWN && !is_icmp_other(p))
		count_in(b->dataplane, COUNTER_NOTE_CHAIN_BYPASSED, 0);
	if (treatment && treatment->chain_down && !is_icmp_other(p))
		return to_function(ctx, p, treatment->chain_down, flow_entropy(ports_down(p)) << 8,
				   b->dataplane << 16 | COUNTER_CHAIN_DOWNLINK);
	note_injection(f->session, slot);
	return into_tunnel(ctx, cfg, p, f, b, number, treatment);
}

/* The short way (fast.h) for replies. */
INLINE int fast_reply(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *c = data + 14;
	__u32 t = now();

	if (c + 28 > end || *(__u16 *)(data + 12) != bpf_htons(ETH_P_IP) || *(__u8 *)c != 0x45)
		return SLOW_WAY;
	__u32 length = be16(c + 2), protocol = *(__u8 *)(c + 9);
	if (distance(c, end) != length || !plain_transport(c, end, length))
		return SLOW_WAY;
	struct rules_header *h = rules_head();
	if (!h)
		return SLOW_WAY;
	__u64 ends = word_pair(*(__u32 *)(c + 12), *(__u32 *)(c + 16)), ports_key = word_pair(*(__u32 *)(c + 20), protocol);
	struct cached_reply *f = reply_find(ends, ports_key);
	if (!f)
		return SLOW_WAY;
	struct prebuilt prebuilt = {.header = f->header, .sequence_at = &f->sequence};
	prebuilt.sequence = *(volatile __u32 *)&f->sequence;
	if (prebuilt.sequence & 1 || !reply_is(f, ends, ports_key) || f->version != cache_version(h) ||
	    t - f->stamp >= h->cache_for)
		return SLOW_WAY;
	prebuilt.octets = f->header_length;
	prebuilt.l3 = f->l3_offset;
	prebuilt.varies = f->port_varies;
	prebuilt.checksum = f->checksum;
	prebuilt.psc = f->psc;
	struct verdict v = {.address = f->address, .ports = f->ports, .deltas = *(const __u32 *)&f->l3_delta,
			    .service = f->service, .next_hop = f->qfi};
	__u32 index = f->bearer, overhead = f->overhead, dataplane = f->dataplane;
	if (session_version(index) != f->session_version || *(volatile __u32 *)&f->sequence != prebuilt.sequence)
		return SLOW_WAY;
	struct config *cfg = config_of(dataplane);
	if (!cfg || length + overhead > cfg->mtu_access)
		return SLOW_WAY;
	struct injection *ours = injection_of(index / BEARER_SLOTS);
	if (!ours || !translate_fast(c, end, &v, protocol, 0))
		return SLOW_WAY;
	ours->at = t;
	__u32 number = count_service(v.service, 1, length);
	if (!push_prebuilt(ctx, &prebuilt, 0, length, (flow_entropy(ports_key) & 0xff) | number << 8, v.next_hop,
			   CACHED_HEADER_MAX))
		return drop_fast(ctx, DATAPLANE, COUNTER_DROP_NO_DOWNLINK, length, v.service, WAY_APPS);
	count_in(dataplane, COUNTER_REPLY_DOWNLINK, length);
	int verdict = bpf_redirect_map(&ports, PORT_ACCESS(dataplane), XDP_DROP);
	if (verdict != XDP_REDIRECT)
		drop_fast(ctx, dataplane, COUNTER_DROP_REDIRECT, length, v.service, WAY_APPS);
	return verdict;
}

/* The session of this UE, which an app wants to reach; ~0 where nothing may be said to it first. */
GLOBAL int session_of_ue(struct packet *p)
{

	if (!p || p->fragment == FRAGMENT_LATER || is_icmp_other(p))
		return ~0;
	if (p->protocol != PROTO_TCP && p->protocol != PROTO_UDP && p->protocol != PROTO_ICMP && p->protocol != PROTO_ICMPV6)
		return ~0;
	__u32 *index = find_session(&p->ue, p->inner_v6);
	return index ? *index : ~0;
}

/* Enters the flow that an app begins, as if the UE had begun it. The outcome is in this CPU's struct lookup. */
GLOBAL int enter_app_flow(struct packet *p, __u32 index)
{
	struct lookup *l = lookup_here();
	struct session *s = session_at(index);
	struct bearer *own = bearer_at(index, SLOT_UPLINK);

	if (!p || !l || !s || !own || !(s->flags & SESSION_UPLINK))
		return 0;
	struct outcome *o = &l->outcome;
	struct config *cfg = config_of(s->dataplane);
	if (!cfg || cfg->mode != MODE_OFFLOAD || s->flows >= cfg->ue_flows)
		return 0;
	struct flow_pair *pair = new_flow(index, s, l->generation);
	if (!pair)
		return 0;
	struct flow *f = &pair->uplink;
	f->action = ACTION_TAKE;
	f->flags = FLOW_APP_INITIATED | (o->flags & RULE_TREATED ? FLOW_TREATED : 0);
	f->service = o->service;
	f->rule = o->id;
	f->next_hop = o->next_hop;
	f->bearer = index * BEARER_SLOTS;
	f->translated = p->remote;
	f->translated_port = p->remote_port;
	f->source = s->base_station;
	f->destination = own->key.endpoint;
	f->teid = own->key.teid;
	f->link = own->key.link & ~(1U << 24);
	/* the uplink key is what the UE will answer to */
	struct address endpoint = p->remote;
	__u16 port = p->remote_port;
	p->remote = o->endpoint;
	if (o->endpoint_port)
		p->remote_port = o->endpoint_port;
	p->psc = 0;
	int entered = enter_flow(p, pair, s);
	p->remote = endpoint;
	p->remote_port = port;
	return entered;
}

/* A packet that answers nothing: may this app speak first? Then its flow is entered. */
INLINE int app_speaks_first(struct packet *p)
{
	__u32 index = session_of_ue(p);

	return index != ~0u && find_rule(p, FIND_APP, index) && enter_app_flow(p, index);
}

#endif
