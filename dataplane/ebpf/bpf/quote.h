/* What does an ICMP error quote, and how is the quote translated? (RFC 792, RFC 4443, RFC 5508)
 *
 * An error travels against the packet that it is about. From the UE (`up`) it quotes what the app sent, as the UE saw
 * it; from the apps' side it quotes what the UE sent, as the app saw it.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_QUOTE_H
#define OFFRAMP_QUOTE_H

#include "translate.h"

#define QUOTE_OFFSET(p) ((p)->l4 + 8)
#define QUOTE_HEADER(p) ((p)->inner_v6 ? 40 : 20)

/* Fills the key of the flow that the quoted packet belongs to. Returns 0 when this is no error, or quotes nothing that
 * could be one of ours. */
GLOBAL int find_quoted(struct xdp_md *ctx, struct packet *p, struct flow_key *key, int up)
{
	if (!p || !key)
		return 0;
	__u8 q[48] ALIGNED;
	__u32 quote = QUOTE_OFFSET(p);
	struct address from, to;
	__u8 kind = p->tcp_flags;

	if (p->fragment || p->l4 > 0x3fff)
		return 0;
	if (!p->inner_v6) {
		if ((kind != 3 && kind != 4 && kind != 11 && kind != 12) || p->l4_length < 36 ||
		    bpf_xdp_load_bytes(ctx, quote, q, 28) || q[0] != 0x45 || *(__u16 *)(q + 6) & bpf_htons(0x1fff))
			return 0;
		mapped(&from, *(__u32 *)(q + 12));
		mapped(&to, *(__u32 *)(q + 16));
		key->protocol = q[9];
	} else {
		if (kind < 1 || kind > 4 || p->l4_length < 56 || bpf_xdp_load_bytes(ctx, quote, q, 48) ||
		    (q[0] >> 4) != 6)
			return 0;
		load_address(&from, q + 8);
		load_address(&to, q + 24);
		key->protocol = q[6];
	}
	const __u8 *ports = p->inner_v6 ? q + 40 : q + 20;
	__u16 first = *(__u16 *)ports, second = *(__u16 *)(ports + 2);
	if (key->protocol == PROTO_ICMP || key->protocol == PROTO_ICMPV6)
		first = second = *(__u16 *)(ports + 4);
	else if (key->protocol != PROTO_TCP && key->protocol != PROTO_UDP)
		return 0;
	key->remote = up ? from : to;
	key->ue = up ? to : from;
	key->remote_port = up ? first : second;
	key->ue_port = up ? second : first;
	key->reply = !up;
	key->pad = 0;
	/* the error goes to whoever sent the quoted packet; from the UE it comes from the UE itself */
	return same_address(&key->ue, &p->ue) && (!up || same_address(&key->remote, &p->remote));
}

/* Rewrites the quote to what the receiver of the error sent, and keeps every checksum as right as it was. */
GLOBAL int translate_quote(struct xdp_md *ctx, struct packet *p, struct flow_key *key, struct flow *f, int up)
{
	if (!p || !key || !f)
		return 0;
	__u32 quote = QUOTE_OFFSET(p), l4 = quote + QUOTE_HEADER(p), changed;
	__u16 ports[4], sum;

	if (!f || !key)
		return 0;
	if (!p->inner_v6) {
		__u32 address = mapped_ipv4(&f->translated);
		if (bpf_xdp_load_bytes(ctx, quote + 10, &sum, 2))
			return 0;
		__u16 fresh = update_checksum(sum, f->l3_delta);
		changed = fold((__u64)f->l3_delta + delta_word(sum, fresh));
		if (bpf_xdp_store_bytes(ctx, quote + (up ? 12 : 16), &address, 4) ||
		    bpf_xdp_store_bytes(ctx, quote + 10, &fresh, 2))
			return 0;
	} else {
		struct address address = f->translated;
		changed = f->l3_delta;
		if (bpf_xdp_store_bytes(ctx, quote + (up ? 8 : 24), &address, 16))
			return 0;
	}
	if (bpf_xdp_load_bytes(ctx, l4, ports, 8))
		return 0;
	if (key->protocol == PROTO_TCP || key->protocol == PROTO_UDP) {
		__u16 fresh[2] = {up ? f->translated_port : f->translated_ue_port,
				  up ? f->translated_ue_port : f->translated_port};
		changed = fold((__u64)changed + delta_word(ports[0], fresh[0]) + delta_word(ports[1], fresh[1]));
		if (bpf_xdp_store_bytes(ctx, l4, fresh, 4))
			return 0;
		if (key->protocol == PROTO_UDP && ports[3]) {
			sum = update_checksum(ports[3], f->l4_delta);
			if (!sum)
				sum = 0xffff;
			changed = fold((__u64)changed + delta_word(ports[3], sum));
			if (bpf_xdp_store_bytes(ctx, l4 + 6, &sum, 2))
				return 0;
		} else if (key->protocol == PROTO_TCP && p->l4_length >= 8 + QUOTE_HEADER(p) + 18) {
			__u16 fresh_sum;
			if (bpf_xdp_load_bytes(ctx, l4 + 16, &sum, 2))
				return 0;
			fresh_sum = update_checksum(sum, f->l4_delta);
			changed = fold((__u64)changed + delta_word(sum, fresh_sum));
			if (bpf_xdp_store_bytes(ctx, l4 + 16, &fresh_sum, 2))
				return 0;
		}
	} else {
		__u16 identifier = f->translated_ue_port;
		sum = update_checksum(ports[1], f->l4_delta);
		changed = fold((__u64)changed + delta_word(ports[2], identifier) + delta_word(ports[1], sum));
		if (bpf_xdp_store_bytes(ctx, l4 + 4, &identifier, 2) || bpf_xdp_store_bytes(ctx, l4 + 2, &sum, 2))
			return 0;
	}
	/* the error's own checksum covers the quote, in ICMPv6 also the address that take() or send_reply() changes */
	if (bpf_xdp_load_bytes(ctx, p->l4 + 2, &sum, 2))
		return 0;
	sum = update_checksum(sum, p->inner_v6 && !p->untranslated ? fold((__u64)changed + f->l3_delta) : changed);
	return !bpf_xdp_store_bytes(ctx, p->l4 + 2, &sum, 2);
}

#endif
