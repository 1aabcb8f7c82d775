/* How does a packet change when it crosses between tunnel and app?
 *
 * Addresses, ports and checksums of the inner packet; the MSS of a TCP SYN; packets quoted in ICMP errors (RFC 5508).
 * Checksums are updated, never recomputed: what was wrong stays wrong (RFC 1624, equation 3).
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_TRANSLATE_H
#define OFFRAMP_TRANSLATE_H

#include "common.h"

/* `delta` is the one's complement sum of ~old and new words. */
INLINE __u16 update_checksum(__u16 checksum, __u32 delta)
{
	__u32 sum = (__u16)~checksum + delta;

	sum = (sum & 0xffff) + (sum >> 16);
	return ~(__u16)((sum & 0xffff) + (sum >> 16));
}

INLINE __u32 delta_address(const struct address *from, const struct address *to)
{
	struct address inverse = {.hi = ~from->hi, .lo = ~from->lo};

	return fold(sum_address(&inverse) + sum_address(to));
}

INLINE __u32 delta_word(__u16 from, __u16 to)
{
	return fold((__u64)(__u16)~from + to);
}

/* Fills the translated fields' deltas. `before` and `after` are the address that changes; ports likewise. ICMP carries
 * no pseudo header in IPv4 (RFC 792), but does in IPv6 (RFC 4443). */
INLINE void set_deltas(struct flow *f, const struct address *before, const struct address *after, __u16 port_before,
		       __u16 port_after, __u16 ue_before, __u16 ue_after, __u8 protocol)
{
	__u32 address = delta_address(before, after);
	__u32 ports = protocol == PROTO_ICMP || protocol == PROTO_ICMPV6
			      ? delta_word(ue_before, ue_after)
			      : fold((__u64)delta_word(port_before, port_after) + delta_word(ue_before, ue_after));

	f->l3_delta = address;
	f->l4_delta = protocol == PROTO_ICMP ? ports : fold((__u64)address + ports);
}

/* Rewrites the packet that starts with an Ethernet header at the frame's start and its IP header at 14.
 * `up`: the destination becomes the endpoint; else the source becomes what the UE knows.
 * `l4`: offset of the transport header from the IP header. Returns 0 when it cannot be done. */
INLINE int translate(struct xdp_md *ctx, const struct flow *f, const struct packet *p, int up, __u32 ip, __u32 l4)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *c = data + ip;
	__u16 port = f->translated_port, ue_port = f->translated_ue_port;

	if (p->untranslated)
		return 1;
	if (!p->inner_v6) {
		if (c + 20 > end)
			return 0;
		*(__u32 *)(c + (up ? 16 : 12)) = mapped_ipv4(&f->translated);
		*(__u16 *)(c + 10) = update_checksum(*(__u16 *)(c + 10), f->l3_delta);
	} else {
		if (c + 40 > end)
			return 0;
		memcpy(c + (up ? 24 : 8), &f->translated, 16);
	}
	if (p->fragment == FRAGMENT_LATER)
		return 1;
	c += l4 & 63;
	if (c + 8 > end)
		return 0;
	if (p->protocol == PROTO_TCP) {
		if (c + 18 > end)
			return 0;
		*(__u16 *)c = up ? ue_port : port;
		*(__u16 *)(c + 2) = up ? port : ue_port;
		*(__u16 *)(c + 16) = update_checksum(*(__u16 *)(c + 16), f->l4_delta);
	} else if (p->protocol == PROTO_UDP) {
		*(__u16 *)c = up ? ue_port : port;
		*(__u16 *)(c + 2) = up ? port : ue_port;
		__u16 checksum = *(__u16 *)(c + 6);
		if (checksum) { /* none stays none: RFC 768 */
			checksum = update_checksum(checksum, f->l4_delta);
			*(__u16 *)(c + 6) = checksum ? checksum : 0xffff;
		}
	} else if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6) {
		*(__u16 *)(c + 4) = ue_port;
		*(__u16 *)(c + 2) = update_checksum(*(__u16 *)(c + 2), f->l4_delta);
	}
	return 1;
}

#define TCP_OPTIONS_MAX 40

/* Lowers the MSS option of a SYN to `limit`. `tcp`: offset of the TCP header. RFC 9293 §3.7.1; RFC 2923. */
GLOBAL int clamp_mss(struct xdp_md *ctx, __u32 tcp, __u32 limit)
{
	__u8 o[TCP_OPTIONS_MAX] = {};
	__u8 h[24] ALIGNED;

	if (bpf_xdp_load_bytes(ctx, tcp, h, 20))
		return 0;
	__u32 length = (h[12] >> 4) * 4;
	if (length <= 20 || length > 60)
		return 0;
	length -= 20;
	if (length > TCP_OPTIONS_MAX || length < 4 || bpf_xdp_load_bytes(ctx, tcp + 20, o, length))
		return 0;
	__u32 i = 0;
	for (int n = 0; n < TCP_OPTIONS_MAX; n++) {
		if (i + 4 > length || i > TCP_OPTIONS_MAX - 4)
			return 0;
		__u8 kind = o[i];
		if (kind == 0)
			return 0;
		if (kind == 1) {
			i++;
			continue;
		}
		__u8 size = o[i + 1];
		if (kind == 2 && size == 4) {
			__u32 mss = o[i + 2] << 8 | o[i + 3];
			if (mss <= limit)
				return 0;
			__u16 fresh = bpf_htons((__u16)limit);
			__u16 sum = *(__u16 *)(h + 16);
			/* the option may lie across two checksum words */
			__u16 before, after;
			if (i & 1) {
				__u32 old_words = fold((__u64)(__u16)~(__u16)(o[i + 2] << 8) + (__u16)~(__u16)o[i + 3]);
				__u32 new_words = fold((__u64)(__u16)((limit >> 8) << 8) + (limit & 0xff));
				sum = update_checksum(sum, fold((__u64)old_words + new_words));
			} else {
				before = bpf_htons((__u16)mss);
				after = fresh;
				sum = update_checksum(sum, delta_word(before, after));
			}
			if (bpf_xdp_store_bytes(ctx, tcp + 20 + i + 2, &fresh, 2) ||
			    bpf_xdp_store_bytes(ctx, tcp + 16, &sum, 2))
				return 0;
			count(COUNTER_NOTE_MSS_CLAMPED, 0);
			return 1;
		}
		if (size < 2)
			return 0;
		i += size;
	}
	return 0;
}

/* Largest TCP segment that fits the access link once it is in a tunnel; on Ethernet, that fits every way to the apps. */
INLINE __u32 mss_limit(const struct config *cfg, __u32 overhead, int inner_v6)
{
	__u32 headers = (cfg->flags & CONFIG_ETHERNET ? cfg->reserved_overhead : overhead) + (inner_v6 ? 60 : 40);

	return cfg->mtu_access > headers + 88 ? cfg->mtu_access - headers : 88;
}

#endif
