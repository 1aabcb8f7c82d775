/* What does a program cost per packet, when a test run does not give it its packet back?
 *
 * `harness` restores the frame and tail-calls the program under test; the same with `empty` is subtracted. `minimal_up`
 * and `minimal_down` are the yardstick: parse, one hash lookup, adjust head, count, redirect, and nothing else.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define FRAME_MAX 112

struct harness_state {
	__u32 length;   /* of the frame; only its first FRAME_MAX octets are restored */
	__u32 flows;    /* 0: the frame as it is; else this many UEs, taken in turn or at random */
	__u32 random;
	__u32 next;
	__u32 ue_at;       /* offset of the UE's IPv4 address */
	__u32 checksum_at; /* offset of that header's checksum */
	__u32 checksum;    /* sum of that header with address and checksum zero */
	__u32 teid_at;     /* offset of the TEID, 0 none */
	__u32 ue_base;     /* host order */
	__u32 pad;
	__u8 octets[FRAME_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct harness_state);
} harness_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} under_test SEC(".maps");

struct yard {
	__u32 teid, destination;
	__u64 packets;
	__u8 header[48];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct yard);
} yards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[2]);
} yard_counter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} yard_ports SEC(".maps");

SEC("xdp.frags")
int harness(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct harness_state *s = bpf_map_lookup_elem(&harness_state, &zero);

	if (!s)
		return XDP_ABORTED;
	__u64 data = ctx->data, end = ctx->data_end;
	asm volatile("" : "+r"(data), "+r"(end));
	int moved = (int)(end - data) - (int)s->length;
	if (moved && bpf_xdp_adjust_head(ctx, moved))
		return XDP_ABORTED;
	void *d = (void *)(long)ctx->data, *e = (void *)(long)ctx->data_end;
	if (d + FRAME_MAX > e)
		return XDP_ABORTED;
	__builtin_memcpy(d, s->octets, FRAME_MAX);
	if (s->flows) {
		__u32 n = s->random ? bpf_get_prandom_u32() : s->next++;
		n = ((__u64)n * (s->random ? s->flows : 1)) >> (s->random ? 32 : 0);
		if (!s->random && s->next >= s->flows)
			s->next = 0;
		__u32 ue = bpf_htonl(s->ue_base + n);
		__u32 at = s->ue_at & 127, checksum_at = s->checksum_at & 127, teid_at = s->teid_at & 127;
		if (d + at + 4 > e || d + checksum_at + 2 > e || d + teid_at + 4 > e)
			return XDP_ABORTED;
		*(__u32 *)(d + at) = ue;
		__u32 sum = s->checksum + (ue & 0xffff) + (ue >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		*(__u16 *)(d + checksum_at) = ~(__u16)((sum & 0xffff) + (sum >> 16));
		if (teid_at)
			*(__u32 *)(d + teid_at) = bpf_htonl(n + 1);
	}
	bpf_tail_call(ctx, &under_test, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

static __always_inline int yard_end(__u32 octets)
{
	__u32 zero = 0;
	__u64 *c = bpf_map_lookup_elem(&yard_counter, &zero);

	if (c) {
		c[0]++;
		c[1] += octets;
	}
	return bpf_redirect_map(&yard_ports, 0, 0);
}

SEC("xdp.frags")
int minimal_up(struct xdp_md *ctx)
{
	void *d = (void *)(long)ctx->data, *e = (void *)(long)ctx->data_end;

	if (d + 70 > e)
		return XDP_PASS;
	if (*(__u16 *)(d + 12) != bpf_htons(0x0800) || *(__u8 *)(d + 14) != 0x45 || *(__u8 *)(d + 23) != 17 ||
	    *(__u16 *)(d + 36) != bpf_htons(2152) || (*(__u8 *)(d + 42) & 0xf7) != 0x30 || *(__u8 *)(d + 43) != 255)
		return XDP_PASS;
	__u32 teid = *(__u32 *)(d + 46);
	struct yard *y = bpf_map_lookup_elem(&yards, &teid);
	if (!y)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, 36))
		return XDP_ABORTED;
	d = (void *)(long)ctx->data;
	e = (void *)(long)ctx->data_end;
	if (d + 14 > e)
		return XDP_ABORTED;
	__builtin_memcpy(d, y->header, 14);
	return yard_end(e - d);
}

SEC("xdp.frags")
int minimal_down(struct xdp_md *ctx)
{
	void *d = (void *)(long)ctx->data, *e = (void *)(long)ctx->data_end;

	if (d + 34 > e || *(__u16 *)(d + 12) != bpf_htons(0x0800) || *(__u8 *)(d + 14) != 0x45)
		return XDP_PASS;
	__u16 length = bpf_ntohs(*(__u16 *)(d + 16));
	__u32 ue = *(__u32 *)(d + 30);
	struct yard *y = bpf_map_lookup_elem(&yards, &ue);
	if (!y)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, -36))
		return XDP_ABORTED;
	d = (void *)(long)ctx->data;
	e = (void *)(long)ctx->data_end;
	if (d + 50 > e)
		return XDP_ABORTED;
	__builtin_memcpy(d, y->header, 46);
	*(__u32 *)(d + 46) = y->teid;
	*(__u16 *)(d + 16) = bpf_htons(length + 36);
	*(__u16 *)(d + 38) = bpf_htons(length + 16);
	*(__u16 *)(d + 44) = bpf_htons(length);
	return yard_end(e - d);
}

char LICENSE[] SEC("license") = "GPL";
