/* Small programs to try the loader with: a counter, a constant, a ring, an array of maps, a redirect.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 UNUSED = 3;
const volatile __u32 PORT = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sum SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps");

SEC("xdp.frags")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Counts at index PORT, reports the inner map's last value, and sends the frame out of port PORT. */
SEC("xdp.frags")
int wire(struct xdp_md *ctx)
{
	__u32 zero = 0, port = PORT;
	__u32 *n = bpf_map_lookup_elem(&seen, &port);
	__u64 *s = bpf_map_lookup_elem(&sum, &zero);
	void *in = bpf_map_lookup_elem(&outer, &zero);
	__u32 report[3] = { ctx->data_end - ctx->data, port, 0 };

	if (n)
		__sync_fetch_and_add(n, 1);
	if (s)
		*s += report[0];
	if (in) {
		__u32 last = 2;
		__u32 *v = bpf_map_lookup_elem(in, &last);

		report[2] = v ? *v : 0;
	}
	bpf_ringbuf_output(&ring, report, sizeof(report), 0);
	return bpf_redirect_map(&ports, port, XDP_PASS);
}

/* The verifier refuses this one. */
SEC("xdp.frags")
int refused(struct xdp_md *ctx)
{
	return *(volatile int *)(long)ctx->data;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
