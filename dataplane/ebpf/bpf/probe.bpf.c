/* Does a frame that is redirected to a port leave through it? See probe.ts.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} target SEC(".maps");

SEC("xdp.frags")
int probe(struct xdp_md *ctx)
{
	return bpf_redirect_map(&target, 0, XDP_DROP);
}

char LICENSE[] SEC("license") = "GPL";
