/* How does somebody get to see packets? Taps see nothing under native XDP, so the program copies them itself.
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_CAPTURE_H
#define OFFRAMP_CAPTURE_H

#include "fate.h"

INLINE int capture_on(void)
{
	__u32 zero = 0;
	struct capture *c = bpf_map_lookup_elem(&capture, &zero);

	return c && c->enabled;
}

INLINE void capture_part(struct xdp_md *ctx, const struct capture *c, const struct packet *p, __u32 verdict,
			 __u32 service, __u32 from, int inner, __u32 dataplane, int downlink)
{
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	__u32 whole = bpf_xdp_get_buff_len(ctx);

	if (!s || from >= whole)
		return;
	__u32 octets = whole - from;
	s->record.time = bpf_ktime_get_ns();
	s->record.length = octets;
	if (octets > c->snap)
		octets = c->snap;
	if (octets > SNAP_MAX)
		octets = SNAP_MAX;
	if (!within(&octets, 1, SNAP_MAX))
		return;
	s->record.captured = octets;
	s->record.dataplane = dataplane;
	s->record.port = downlink ? PORT_CORE(dataplane) : PORT_ACCESS(dataplane);
	s->record.verdict = verdict;
	s->record.inner = inner;
	s->record.service = service;
	if (bpf_xdp_load_bytes(ctx, from, s->octets, octets))
		return;
	octets += sizeof(s->record);
	if (octets > sizeof(*s))
		return;
	if (bpf_ringbuf_output(&captured, s, octets, 0))
		count(COUNTER_NOTE_CAPTURE_LOST, 0);
}

/* Copies the frame as it is now. `p` says where the inner packet is, 0 where there is none. `verdict`: COUNTER_*. `way`:
 * data plane * 2, + 1 for the downlink. */
GLOBAL int capture_frame(struct xdp_md *ctx, struct packet *p, __u32 verdict, __u32 service, __u32 way)
{
	if (!p)
		return 0;
	__u32 zero = 0;
	struct capture *c = bpf_map_lookup_elem(&capture, &zero);

	if (!c)
		return 0;
	if (c->teid && c->teid != p->teid)
		return 0;
	if (c->ue.hi | c->ue.lo) {
		if (p->inner_v6 > 1 || c->ue.hi != p->ue.hi || (!p->inner_v6 && c->ue.lo != p->ue.lo))
			return 0;
	}
	if (c->enabled & 1)
		capture_part(ctx, c, p, verdict, service, 0, 0, way >> 1, way & 1);
	if (c->enabled & 2 && p->inner)
		capture_part(ctx, c, p, verdict, service, p->inner, 1, way >> 1, way & 1);
	return 0;
}

#endif
