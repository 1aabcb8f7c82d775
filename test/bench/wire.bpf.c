/* How do frames get onto a wire by the million, and who counts what comes out of its end?
 *
 * `generate` is run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES: each run writes the whole frame (the kernel
 * gives a frame back as the last receiver left it) and sends it out of the adapter in slot `port`. `sink_N` are put on
 * the far ends: they count frames that end with MAGIC and a number, and mark the number as seen, so that a lost frame
 * and a doubled one are told apart.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define FRAME_MAX 128
#define MAGIC 0x0ff7a39bU
#define STREAMS 8
#define NUMBERS (1 << 22) /* told apart per stream */

struct generator {
	__u32 length;
	__u32 port;        /* index into `wires` */
	__u32 stream;      /* 1 .. STREAMS - 1: numbered; 0: counted only */
	__u32 number;      /* of the next frame */
	__u32 flows;       /* 0: the frame as it is; else this many UEs in turn */
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
	__uint(max_entries, STREAMS);
	__type(key, __u32);
	__type(value, struct generator);
} generators SEC(".maps");

/* Which generators send in turn: the first `count`. */
struct turns {
	__u32 count, next;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct turns);
} turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 4);
} wires SEC(".maps");

/* Index: sink * STREAMS + stream; packets, and packets seen before. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8 * STREAMS);
	__type(key, __u32);
	__type(value, __u64[2]);
} arrived SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STREAMS * NUMBERS / 64);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct turns *t = bpf_map_lookup_elem(&turns, &zero);

	if (!t)
		return XDP_ABORTED;
	__u32 turn = t->next;
	t->next = turn + 1 < t->count ? turn + 1 : 0;
	struct generator *g = bpf_map_lookup_elem(&generators, &turn);
	void *d = (void *)(long)ctx->data, *e = (void *)(long)ctx->data_end;

	if (!g || d + FRAME_MAX - 16 > e)
		return XDP_ABORTED;
	__builtin_memcpy(d, g->octets, FRAME_MAX - 16);
	__u32 at = ((__u32)g->length - 8) & 127;
	if (d + at + 8 > e)
		return XDP_ABORTED;
	*(__u32 *)(d + at) = bpf_htonl(MAGIC + g->stream);
	*(__u32 *)(d + at + 4) = bpf_htonl(g->number++);
	if (g->flows) {
		__u32 n = g->next++;
		if (g->next >= g->flows)
			g->next = 0;
		__u32 ue = bpf_htonl(g->ue_base + n);
		__u32 ue_at = g->ue_at & 127, checksum_at = g->checksum_at & 127, teid_at = g->teid_at & 127;
		if (d + ue_at + 4 > e || d + checksum_at + 2 > e || d + teid_at + 4 > e)
			return XDP_ABORTED;
		*(__u32 *)(d + ue_at) = ue;
		__u32 sum = g->checksum + (ue & 0xffff) + (ue >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		*(__u16 *)(d + checksum_at) = ~(__u16)((sum & 0xffff) + (sum >> 16));
		if (teid_at)
			*(__u32 *)(d + teid_at) = bpf_htonl(n + 1);
	}
	return bpf_redirect_map(&wires, g->port, 0);
}

static __always_inline int sink(struct xdp_md *ctx, __u32 index)
{
	void *d = (void *)(long)ctx->data, *e = (void *)(long)ctx->data_end;
	__u32 at = (__u32)(e - d) - 8;

	if (at > 255)
		return XDP_PASS;
	__u8 *tail = d + at;
	if ((void *)tail + 8 > e)
		return XDP_PASS;
	__u32 stream = bpf_ntohl(*(__u32 *)tail) - MAGIC, number = bpf_ntohl(*(__u32 *)(tail + 4));
	if (stream >= STREAMS)
		return XDP_PASS;
	__u32 entry = index * STREAMS + stream;
	__u64 *c = bpf_map_lookup_elem(&arrived, &entry);
	if (!c)
		return XDP_DROP;
	c[0]++;
	if (stream && number < NUMBERS) {
		__u32 word = stream * (NUMBERS / 64) + number / 64;
		__u64 *s = bpf_map_lookup_elem(&seen, &word), bit = 1ULL << (number & 63);
		if (s && __sync_fetch_and_or(s, bit) & bit)
			c[1]++;
	}
	return XDP_DROP;
}

SEC("xdp")
int sink_core(struct xdp_md *ctx)
{
	return sink(ctx, 0);
}

SEC("xdp")
int sink_app(struct xdp_md *ctx)
{
	return sink(ctx, 1);
}

SEC("xdp")
int sink_ran(struct xdp_md *ctx)
{
	return sink(ctx, 2);
}

SEC("xdp")
int sink_bridge(struct xdp_md *ctx)
{
	return sink(ctx, 3);
}

SEC("xdp")
int sink_direct(struct xdp_md *ctx)
{
	return sink(ctx, 4);
}

char LICENSE[] SEC("license") = "GPL";
