/* Which program runs where?
 *
 *   access, core        on the wire's two adapters, one load per data plane
 *   ether_access, ether_core  the same where the wire carries no tunnels (A14)
 *   shared              on an adapter that carries both sides (A2)
 *   from_apps           on the far end of the return veth: what apps send to UEs
 *   from_pinger         on the far end of the pinger's veth: echo requests in a UE's name
 *   from_slow           on the control plane's TAP: what it held, reassembled or fragmented
 *   from_slow_uplink    its second half for frames of the access side, one per data plane (tail call)
 *   ether_from_slow     the same where the wire carries no tunnels
 *   from_slow_reply     its second half for replies (tail call)
 *   copy_tunnelled      on copies that leave by a mirror, of frames in GTP-U; one load per mirror
 *   copy_bare           on copies of other frames
 *   read_clock          by test run: what time is it in jiffies?
 *
 * docs/packet-path.md is the specification; test/model is a second implementation of it.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#include "copy.h"
#include "uplink.h"
#include "downlink.h"
#include "reply.h"
#include "functions.h"

SEC("xdp.frags")
int access(struct xdp_md *ctx)
{
	int verdict = fast_uplink(ctx);

	if (verdict != SLOW_WAY)
		return verdict;
	struct packet *p = new_packet(WAY_UPLINK);

	return p ? uplink(ctx, config_of(DATAPLANE), p) : XDP_PASS;
}

SEC("xdp.frags")
int core(struct xdp_md *ctx)
{
	int verdict = fast_downlink(ctx);

	if (verdict != SLOW_WAY)
		return verdict;
	struct packet *p = new_packet(WAY_DOWNLINK);

	return p ? downlink(ctx, config_of(DATAPLANE), p) : XDP_PASS;
}

SEC("xdp.frags")
int ether_access(struct xdp_md *ctx)
{
	struct packet *p = new_packet(WAY_UPLINK);

	return p ? uplink_ethernet(ctx, config_of(DATAPLANE), p) : XDP_PASS;
}

SEC("xdp.frags")
int ether_core(struct xdp_md *ctx)
{
	struct packet *p = new_packet(WAY_DOWNLINK);

	return p ? downlink_ethernet(ctx, config_of(DATAPLANE), p) : XDP_PASS;
}

SEC("xdp.frags")
int shared(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct config *cfg = config_of(DATAPLANE);
	struct packet *p = new_packet(WAY_UPLINK);
	struct address from;

	if (!cfg || !p || data + 54 > end)
		return XDP_PASS;
	if (*(__u16 *)(data + 12) == bpf_htons(ETH_P_IP))
		mapped(&from, *(__u32 *)(data + 26));
	else if (*(__u16 *)(data + 12) == bpf_htons(ETH_P_IPV6))
		load_address(&from, data + 22);
	else
		return XDP_PASS;
	/* only what is addressed to us: anything else would loop */
	if (*(__u32 *)data != *(__u32 *)cfg->own_mac || *(__u16 *)(data + 4) != *(__u16 *)(cfg->own_mac + 4))
		return XDP_PASS;
	if (prefix_has(PREFIX_ACCESS_PEER, DATAPLANE, &from))
		return uplink(ctx, cfg, p);
	if (prefix_has(PREFIX_CORE_PEER, DATAPLANE, &from)) {
		p->way = WAY_DOWNLINK;
		return downlink(ctx, cfg, p);
	}
	return XDP_PASS;
}

INLINE int reply(struct xdp_md *ctx, int from_hold)
{
	struct packet *p = new_packet(WAY_APPS);
	struct flow_key key = {.reply = 1};
	struct flow *f;
	int refused = p ? parse_plain(ctx, p, 0) : COUNTER_DROP_NO_FLOW;

	if (refused || !p)
		return drop(ctx, refused);
	if (is_icmp_other(p)) {
		if (!find_quoted(ctx, p, &key, 0))
			return drop(ctx, COUNTER_DROP_NO_FLOW);
		f = bpf_map_lookup_elem(&flows, &key);
		if (!f)
			f = asked_flow(&key);
		if (!f || f->action != ACTION_REPLY)
			return drop(ctx, COUNTER_DROP_NO_FLOW);
		p->untranslated = !same_address(&key.remote, &p->remote);
		/* a held error comes twice: it is translated when it leaves */
		struct bearer *b = bpf_map_lookup_elem(&bearers, &f->bearer);
		if (from_hold || (b && b->state == BEARER_LIVE && b->epoch == f->epoch)) {
			if (!translate_quote(ctx, p, &key, f, 0))
				return drop(ctx, COUNTER_DROP_REPLY_MALFORMED);
		}
		p->fragment = FRAGMENT_LATER;
		return send_reply(ctx, p, f, from_hold);
	}
	if (p->fragment && !follow_fragment(p, ~0)) /* one source port for all of a packet */
		return drop(ctx, COUNTER_DROP_FRAGMENT);
	uplink_key(&key, p);
	key.reply = 1;
	f = bpf_map_lookup_elem(&flows, &key);
	if (!f) {
		f = asked_flow(&key);
		if (f)
			name_server_answers();
	}
	if (f) {
		if (f->action != ACTION_REPLY)
			return drop(ctx, COUNTER_DROP_NO_FLOW);
	} else {
		if (!app_speaks_first(p))
			return drop(ctx, COUNTER_DROP_NO_FLOW);
		f = bpf_map_lookup_elem(&flows, &key);
		if (!f)
			return drop(ctx, COUNTER_DROP_NO_FLOW);
	}
	return send_reply(ctx, p, f, from_hold);
}

SEC("xdp.frags")
int from_apps(struct xdp_md *ctx)
{
	int verdict = fast_reply(ctx);

	if (verdict != SLOW_WAY)
		return verdict;
	if (is_for_chains(ctx))
		return from_function(ctx);
	return reply(ctx, 0);
}

/* Only by a device map: see copy.h. */
SEC("xdp/devmap")
int copy_tunnelled(struct xdp_md *ctx)
{
	return make_copy(ctx, 1);
}

SEC("xdp/devmap")
int copy_bare(struct xdp_md *ctx)
{
	return make_copy(ctx, 0);
}

SEC("xdp.frags")
int from_pinger(struct xdp_md *ctx)
{
	struct packet *p = new_packet(WAY_PINGER);
	struct session_key key;
	__u8 m[8];
	int refused = p ? parse_plain(ctx, p, 1) : 1;

	if (refused || !p || p->fragment || is_icmp_other(p) || (p->protocol != PROTO_ICMP && p->protocol != PROTO_ICMPV6) ||
	    bpf_xdp_load_bytes(ctx, p->l4, m, 8))
		return drop(ctx, COUNTER_DROP_UNKNOWN_UE);
	session_key_of(&key, &p->ue, p->inner_v6);
	__u32 *index = bpf_map_lookup_elem(&ue_sessions, &key);
	struct session *s = index ? session_at(*index) : 0;
	if (!s)
		return drop(ctx, COUNTER_DROP_UNKNOWN_UE);
	struct bearer *b = bearer_at(*index, m[6] & 0x80 ? SLOT_CANDIDATE : SLOT_UPLINK);
	if (!b || b->state != BEARER_LIVE || b->epoch != s->epoch)
		return drop(ctx, COUNTER_DROP_UNKNOWN_UE);
	struct config *cfg = config_of(b->dataplane);
	if (!cfg || cfg->mode != MODE_OFFLOAD)
		return drop(ctx, COUNTER_DROP_UNKNOWN_UE);
	__u32 dataplane = b->dataplane, length = p->inner_length;
	if (!push_header(ctx, b, p, length, bpf_get_prandom_u32(), 255))
		return drop(ctx, COUNTER_DROP_UNKNOWN_UE);
	ends_in(ctx, dataplane, COUNTER_PING_SENT, length);
	return bpf_redirect_map(&ports, cfg->flags & CONFIG_SHARED ? PORT_RETURN : PORT_CORE(dataplane), XDP_DROP);
}

/* The slow port's header; the frame stays as it is. */
INLINE int read_slow_header(struct xdp_md *ctx, struct slow_header *h)
{
	return !bpf_xdp_load_bytes(ctx, 0, h, sizeof(*h)) && h->protocol == bpf_htons(ETH_P_SLOW);
}

INLINE int release_hold(const struct slow_header *h)
{
	struct session *s = session_at(h->session);

	if (!s || s->epoch != h->epoch || s->held != h->sequence || !lock_session(s))
		return XDP_DROP;
	for (__u32 slot = 0; slot < DOWNLINK_SLOTS; slot++) {
		struct bearer *b = bearer_at(h->session, slot);
		if (b && b->state == BEARER_DRAINING)
			b->state = BEARER_LIVE;
	}
	__sync_fetch_and_and(&s->flags, ~SESSION_HOLD);
	unlock_session(s);
	return XDP_DROP;
}

SEC("xdp.frags")
int from_slow(struct xdp_md *ctx)
{
	struct slow_header h;

	if (!read_slow_header(ctx, &h))
		return drop(ctx, COUNTER_DROP_SLOW_MALFORMED);
	if (h.op == SLOW_RELEASE)
		return release_hold(&h);
	if (h.op == SLOW_REPLY)
		bpf_tail_call(ctx, &from_slow_programs, FROM_SLOW_REPLY);
	if (h.op == SLOW_REASSEMBLED || h.op == SLOW_WIRE)
		bpf_tail_call(ctx, &from_slow_programs, h.port);
	return drop(ctx, COUNTER_DROP_SLOW_MALFORMED);
}

SEC("xdp.frags")
int from_slow_reply(struct xdp_md *ctx)
{
	if (bpf_xdp_adjust_head(ctx, sizeof(struct slow_header)))
		return drop(ctx, COUNTER_DROP_SLOW_MALFORMED);
	return reply(ctx, 1);
}

/* Takes our header off. Returns its op, -1 when there is none. */
GLOBAL int strip_slow_header(struct xdp_md *ctx, struct packet *p)
{
	struct slow_header h;

	if (!p || !read_slow_header(ctx, &h) || bpf_xdp_adjust_head(ctx, sizeof(h)))
		return -1;
	p->token = h.sequence;
	return h.op;
}

/* What the control plane gives back for the access side. */
INLINE int back_from_slow(struct xdp_md *ctx, int ethernet)
{
	struct packet *p = new_packet(WAY_UPLINK);
	int op = p ? strip_slow_header(ctx, p) : -1;

	if (!p || op < 0)
		return drop(ctx, COUNTER_DROP_SLOW_MALFORMED);
	struct config *cfg = config_of(DATAPLANE);
	if (op == SLOW_WIRE) {
		int verdict;
		ends(ctx, COUNTER_PASS_OUTER_FRAGMENT, frame_length(ctx));
		verdict = bpf_redirect_map(&ports, cfg && cfg->flags & CONFIG_SHARED ? PORT_RETURN : PORT_CORE(DATAPLANE), XDP_DROP);
		return verdict;
	}
	p->from_slow = 1;
	return ethernet ? uplink_ethernet(ctx, cfg, p) : uplink(ctx, cfg, p);
}

SEC("xdp.frags")
int from_slow_uplink(struct xdp_md *ctx)
{
	return back_from_slow(ctx, 0);
}

SEC("xdp.frags")
int ether_from_slow(struct xdp_md *ctx)
{
	return back_from_slow(ctx, 1);
}

SEC("xdp.frags")
int read_clock(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct clock *c = bpf_map_lookup_elem(&clock, &zero);

	if (!c)
		return XDP_ABORTED;
	c->jiffies = bpf_jiffies64();
	c->time = bpf_ktime_get_ns();
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
