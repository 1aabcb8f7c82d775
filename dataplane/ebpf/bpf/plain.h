/* What is in a frame from our own side?
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_PLAIN_H
#define OFFRAMP_PLAIN_H

#include "common.h"

/* Reads Ethernet + IP from our own side. Returns 0, or the counter to drop with. */
INLINE int parse_plain(struct xdp_md *ctx, struct packet *p, int uplink)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	p->message = GTPU_G_PDU;
	if (data + 34 > end)
		return COUNTER_DROP_NOT_IP;
	__u16 type = *(__u16 *)(data + 12);
	p->inner = 14;
	if (type == bpf_htons(ETH_P_IP))
		p->inner_length = be16(data + 16);
	else if (type == bpf_htons(ETH_P_IPV6) && data + 54 <= end)
		p->inner_length = be16(data + 18) + 40;
	else
		return COUNTER_DROP_NOT_IP;
	__u32 need = 14 + (__u32)p->inner_length;
	if (end - data != need) {
		__u32 whole = bpf_xdp_get_buff_len(ctx);
		if (whole < need)
			return COUNTER_DROP_REPLY_MALFORMED;
		if (whole > need) {
			if (bpf_xdp_adjust_tail(ctx, (int)need - (int)whole))
				return COUNTER_DROP_REPLY_MALFORMED;
			data = (void *)(long)ctx->data;
			end = (void *)(long)ctx->data_end;
			if (data + 34 > end)
				return COUNTER_DROP_REPLY_MALFORMED;
		}
	}
	parse_inner_addresses(p, data + 14, end, uplink);
	if (parse_inner(ctx, p, uplink, 0))
		return COUNTER_DROP_REPLY_MALFORMED;
	return 0;
}

#endif
