/* What becomes of the frame at last, and who is told?
 *
 * Every path ends with `wire`, `drop` or `ends`, which count it by name. `offramp monitor` asks for verdicts:
 * they are tallied by verdict, service and rule, and the first packet of each second is described, or each packet. While
 * nobody asks it costs one look at a flag, and on the short way (fast.h) nothing.
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_FATE_H
#define OFFRAMP_FATE_H

#include "common.h"

INLINE __u32 monitor_flags(void)
{
	__u32 zero = 0;
	struct monitor *m = bpf_map_lookup_elem(&monitor, &zero);

	return m ? m->enabled : 0;
}

/* What the parser had no reason to read. */
INLINE void read_transport(struct xdp_md *ctx, struct packet *p)
{
	__u32 l4 = p->inner + (p->inner_v6 ? 40 : 20);
	__u16 ports[2];

	if (bpf_xdp_load_bytes(ctx, p->inner + (p->inner_v6 ? 6 : 9), &p->protocol, 1))
		return;
	if ((p->protocol != PROTO_TCP && p->protocol != PROTO_UDP) || bpf_xdp_load_bytes(ctx, l4, ports, 4))
		return;
	int up = p->way == WAY_UPLINK || p->way == WAY_PINGER;
	p->ue_port = up ? ports[0] : ports[1];
	p->remote_port = up ? ports[1] : ports[0];
}

INLINE void describe(const struct packet *p, __u32 verdict, __u32 dataplane, __u32 octets)
{
	struct verdict_record *v = bpf_ringbuf_reserve(&verdicts, sizeof(*v), 0);

	if (!v) {
		count(COUNTER_NOTE_MONITOR_LOST, 0);
		return;
	}
	v->time = bpf_ktime_get_ns();
	v->source = p->source;
	v->destination = p->destination;
	v->ue = p->ue;
	v->remote = p->remote;
	v->teid = p->teid;
	v->link = p->link;
	v->psc = p->psc;
	v->octets = octets;
	v->service = p->service;
	v->rule = p->rule;
	v->ue_port = p->ue_port;
	v->remote_port = p->remote_port;
	v->dataplane = dataplane;
	v->way = p->way;
	v->verdict = verdict;
	v->outer = p->v6 < 2;
	v->inner_v6 = p->inner_v6;
	v->protocol = p->protocol;
	v->dscp = p->dscp;
	v->tcp_flags = p->tcp_flags;
	v->message = p->message;
	v->pad[0] = v->pad[1] = v->pad[2] = 0;
	bpf_ringbuf_submit(v, 0);
}

static const volatile struct tally NO_TALLY;

/* Somebody looks: does it concern this packet? `fate`: COUNTER_* | data plane << 8. */
GLOBAL int report(struct xdp_md *ctx, __u32 fate, __u32 octets)
{
	__u32 zero = 0, verdict = fate & 0x7f;
	struct monitor *m = bpf_map_lookup_elem(&monitor, &zero);
	struct packet *p = bpf_map_lookup_elem(&packets, &zero);

	if (!m || !p || !(m->enabled & MONITOR_ON) || !(m->verdicts[verdict >> 6] >> (verdict & 63) & 1))
		return 0;
	if (m->service && m->service != p->service)
		return 0;
	if (m->ue.hi | m->ue.lo) {
		if (p->inner_v6 > 1 || m->ue.hi != p->ue.hi || (!p->inner_v6 && m->ue.lo != p->ue.lo))
			return 0;
	}
	struct tally_key key = {.dataplane = fate >> 8, .way = p->way, .verdict = verdict, .service = p->service,
				.rule = p->rule};
	struct tally *t = bpf_map_lookup_elem(&tallies, &key);
	if (!t) {
		/* not on the stack, which is full where this is called */
		if (!bpf_map_update_elem(&tallies, &key, (const void *)&NO_TALLY, BPF_NOEXIST)) {
			t = bpf_map_lookup_elem(&tallies, &key);
			if (t)
				t->shown = now() - HZ;
		} else {
			t = bpf_map_lookup_elem(&tallies, &key);
		}
	}
	if (!t) {
		count(COUNTER_NOTE_MONITOR_LOST, 0);
		return 0;
	}
	__sync_fetch_and_add(&t->packets, 1);
	__sync_fetch_and_add(&t->bytes, octets);
	if (!(m->enabled & MONITOR_EACH)) {
		if (now() - t->shown < HZ)
			return 0;
		t->shown = now();
	}
	if (!p->protocol && p->inner && p->inner_v6 < 2)
		read_transport(ctx, p);
	describe(p, verdict, fate >> 8, octets);
	return 0;
}

/* The packet at hand ends so: counted, and reported to who looks. Returns its number on this CPU. */
INLINE __u32 ends_in(struct xdp_md *ctx, __u32 dataplane, __u32 counter, __u32 octets)
{
	__u32 number = count_in(dataplane, counter, octets);

	if (monitor_flags())
		report(ctx, counter | dataplane << 8, octets);
	return number;
}

INLINE void ends(struct xdp_md *ctx, __u32 counter, __u32 octets)
{
	ends_in(ctx, DATAPLANE, counter, octets);
}

/* To the opposite port, untouched. In shared mode the kernel routes. */
INLINE int wire(struct xdp_md *ctx, const struct config *cfg, int uplink, __u32 counter)
{
	__u32 octets = frame_length(ctx);

	ends(ctx, counter, octets);
	if (cfg && cfg->flags & CONFIG_SHARED)
		return XDP_PASS;
	return bpf_redirect_map(&ports, uplink ? PORT_CORE(DATAPLANE) : PORT_ACCESS(DATAPLANE), XDP_PASS_TO_BRIDGE);
}

INLINE int drop(struct xdp_md *ctx, __u32 counter)
{
	__u32 octets = frame_length(ctx);

	ends(ctx, counter, octets);
	return XDP_DROP;
}

/* The short way knows no packet: what it drops is reported with its service alone. */
INLINE int drop_fast(struct xdp_md *ctx, __u32 dataplane, __u32 counter, __u32 octets, __u32 service, __u32 way)
{
	count_in(dataplane, counter, octets);
	if (monitor_flags()) {
		struct packet *p = new_packet(way);
		if (p)
			p->service = service;
		report(ctx, counter | dataplane << 8, octets);
	}
	return XDP_DROP;
}

#endif
