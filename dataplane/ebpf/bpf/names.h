/* Does this UE ask for a name that the platform's own name server answers?
 *
 * RFC 1035 §4.1: twelve octets of header, then the question: labels, each behind its length, an empty one at the end;
 * type and class. A query is judged by itself, not by its flow: the same ports may ask for other names, and those pass to
 * the resolver that the UE has asked. Queries that are taken have flows of their own (protocol PROTO_QUERY in their keys),
 * so that the answer comes back from that resolver's address.
 *
 *   uplink packet -> UDP to port 53? -> a query for one name that is in `names`? -> does no rule match? -> take
 *
 * Names are compared in lower case: resolvers mix the case of what they ask (draft-vixie-dnsext-dns0x20).
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_NAMES_H
#define OFFRAMP_NAMES_H

#include "chain.h"
#include "classify.h"
#include "deliver.h"

#define DNS_PORT bpf_htons(53)
#define DNS_HEADER 12
#define NAME_AT 16 /* of the name in struct question, so that it is read in whole words */
#define NAME_WORDS (NAME_MAX / 8)
#define MESSAGE_LEAST (DNS_HEADER + 1 + 4)
#define MESSAGE_MOST (DNS_HEADER + NAME_MAX + 4)
#define QUERY_OPAQUE 0xf8 /* QR and opcode, of the third octet */
#define CLASS_IN bpf_htons(1)

/* A query as it came, from its fourth octet on, and the name that it asks for. */
struct question {
	__u8 octets[4 + DNS_HEADER + NAME_MAX + 8];
	struct name_key name;
};

/* Where does a query lie? */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");

/* Is the inner packet UDP to port 53? */
INLINE int is_for_resolver(struct xdp_md *ctx, const struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 at = p->inner;

	if (at > 0x3fff)
		return 0;
	void *c = data + at;
	if (c + 28 > end)
		return 0;
	if (!p->inner_v6)
		return *(__u8 *)(c + 9) == PROTO_UDP && *(__u16 *)(c + 22) == DNS_PORT;
	return c + 48 <= end && *(__u8 *)(c + 6) == PROTO_UDP && *(__u16 *)(c + 42) == DNS_PORT;
}

struct label_walk {
	struct question *q;
	__u32 at;
	__u32 octets; /* of the whole name, 0 while it is not known to end */
};

static long next_label(__u32 i, void *context)
{
	struct label_walk *w = context;
	__u32 at = w->at;

	if (at >= NAME_MAX)
		return 1;
	__u8 length = w->q->octets[NAME_AT + at];
	if (!length) {
		w->octets = at + 1;
		return 1;
	}
	if (length > LABEL_MAX) /* a pointer, or no label at all */
		return 1;
	w->at = at + length + 1;
	return 0;
}

#define EACH_OCTET 0x0101010101010101ULL

/* Eight octets, A to Z in lower case. The lengths of labels are smaller than any letter. */
INLINE __u64 lower_case(__u64 w)
{
	__u64 seven = w & 0x7f * EACH_OCTET;
	__u64 from_a = seven + (0x80 - 'A') * EACH_OCTET, beyond_z = seven + (0x7f - 'Z') * EACH_OCTET;

	return w | (~w & (from_a ^ beyond_z) & 0x80 * EACH_OCTET) >> 2;
}

static long copy_word(__u32 i, void *context)
{
	struct label_walk *w = context;
	__u32 left = w->octets - i * 8;

	if (i >= NAME_WORDS || i * 8 >= w->octets)
		return 1;
	__u64 word = lower_case(*(__u64 *)(w->q->octets + NAME_AT + i * 8));
	if (left < 8)
		word &= (1ULL << left * 8) - 1;
	w->q->name.words[i] = word;
	return 0;
}

/* A query for one name that the name server answers? Whatever is not understood completely is none. */
GLOBAL int asks_by_name(struct xdp_md *ctx, struct packet *p)
{
	__u32 zero = 0;
	struct question *q = bpf_map_lookup_elem(&questions, &zero);
	struct lookup *l = lookup_here();

	if (!p || !q || !l || parse_inner(ctx, p, 1, 0) || p->fragment || p->protocol != PROTO_UDP)
		return 0;
	__u32 octets = p->l4_length - 8;
	if (octets < MESSAGE_LEAST || octets > 0xffff)
		return 0;
	if (octets > MESSAGE_MOST)
		octets = MESSAGE_MOST;
	if (bpf_xdp_load_bytes(ctx, p->l4 + 8, q->octets + 4, octets))
		return 0;
	/* a standard query, one question, no answers, no authorities */
	if (q->octets[6] & QUERY_OPAQUE || *(__u32 *)(q->octets + 8) != bpf_htonl(1 << 16) || *(__u16 *)(q->octets + 12))
		return 0;
	struct label_walk w = {.q = q, .at = begin_at(l), .octets = begin_at(l)};
	bpf_loop(NAME_MAX / 2, next_label, &w, 0);
	__u32 name = w.octets;
	if (!name || name > NAME_MAX - 1 || DNS_HEADER + name + 4 > octets)
		return 0;
	if (*(__u16 *)(q->octets + NAME_AT + name + 2) != CLASS_IN)
		return 0;
	memset(&q->name, 0, sizeof(q->name));
	bpf_loop(NAME_WORDS, copy_word, &w, 0);
	return bpf_map_lookup_elem(&names, &q->name) != 0;
}

/* Of what is sure to be taken if the tunnel is the UE's own: a rule that matches comes first, whatever it says. */
INLINE int is_named(struct xdp_md *ctx, struct packet *p)
{
	struct rules_header *header = rules_head();

	return header && header->names && is_for_resolver(ctx, p) && asks_by_name(ctx, p) && !find_rule(p, FIND_UPLINK, 0);
}

INLINE void query_key(struct flow_key *key, const struct packet *p)
{
	uplink_key(key, p);
	key->protocol = PROTO_QUERY;
}

INLINE struct name_server *name_server_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&name_server, &zero);
}

/* Who is not answered asks elsewhere: while the name server is silent, queries pass, but for one in sixteen, which finds out
 * whether it is back. Chance picks it: so nobody who asks what is never answered keeps the others from finding out. */
INLINE int is_silent(const struct name_server *server)
{
	return server->waiting && (__s32)(now() - server->waiting) >= (__s32)(SILENT_SECONDS * HZ) &&
	       bpf_get_prandom_u32() & 15;
}

INLINE void name_server_asked(struct name_server *server)
{
	if (!server->waiting)
		server->waiting = now() | 1;
}

/* The query's flow that a packet of the apps' side with this key answers, or 0. */
INLINE struct flow *asked_flow(const struct flow_key *key)
{
	struct flow_key asked = *key;

	if (key->protocol != PROTO_UDP)
		return 0;
	asked.protocol = PROTO_QUERY;
	return bpf_map_lookup_elem(&flows, &asked);
}

/* An answer of the name server is on its way to a UE. */
INLINE void name_server_answers(void)
{
	struct name_server *server = name_server_here();

	if (server && server->waiting)
		server->waiting = 0;
}

/* The query's flow, made where it has none, and made anew where its session or the server has changed. `key`: of its uplink
 * entry. Returns 0 when there is no room. */
INLINE int query_flow(struct packet *p, struct config *cfg, struct flow_key *key, struct session *s, __u32 index,
		      const struct address *to, __u16 port)
{
	struct flow *f = bpf_map_lookup_elem(&flows, key);

	if (f && f->session == index && f->epoch == s->epoch && f->translated_port == port &&
	    same_address(&f->translated, to)) {
		set_flow_tunnel(f, p);
		f->last_seen = now();
		return 1;
	}
	if (f)
		forget_flow(key, f);
	struct flow_pair *pair = s->flows < cfg->ue_flows ? new_flow(index, s, 0) : 0;
	if (!pair)
		return 0;
	f = &pair->uplink;
	set_flow_tunnel(f, p);
	f->action = ACTION_TAKE;
	f->bearer = bearer_beside(index, s, p);
	f->translated = *to;
	f->translated_port = port;
	p->protocol = PROTO_QUERY;
	int entered = enter_flow(p, pair, s);
	p->protocol = PROTO_UDP;
	return entered;
}

/* May this query be taken, in the UE's own proven tunnel? Returns -1 and its flow is there, else the counter to pass with. */
GLOBAL int enter_query(struct packet *p, struct config *cfg, struct tunnel *t)
{
	struct name_server *server = name_server_here();
	struct flow_key key;

	if (!p || !cfg || !t || !server)
		return COUNTER_PASS_NO_RULE;
	__u32 index = p->inner_v6 ? t->session6 : t->session4;
	struct session *s = session_at(index);
	if (!s || s->epoch != (p->inner_v6 ? t->epoch6 : t->epoch4))
		return COUNTER_PASS_UNPROVEN;
	const struct address *to = p->inner_v6 ? &server->address6 : &server->address4;
	__u16 port = p->inner_v6 ? server->port6 : server->port4;
	if (!port)
		return COUNTER_PASS_NO_RULE;
	int refused = want_downlink(p, s, index);
	if (refused)
		return refused;
	if (is_silent(server))
		return COUNTER_PASS_DNS_ASIDE;
	query_key(&key, p);
	if (!query_flow(p, cfg, &key, s, index, to, port)) {
		count(COUNTER_NOTE_FULL, 0);
		return COUNTER_PASS_TABLE_FULL;
	}
	name_server_asked(server);
	return -1;
}

/* Its way to the name server. The flow is there. */
GLOBAL int take_query(struct xdp_md *ctx, struct packet *p)
{
	struct flow_key key;

	if (!p)
		return XDP_DROP;
	query_key(&key, p);
	struct flow *f = bpf_map_lookup_elem(&flows, &key);
	if (!f)
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	if (!strip(ctx, p))
		return drop(ctx, COUNTER_DROP_TAKEN_MALFORMED);
	return deliver(ctx, p, f, 0, DATAPLANE << 16 | COUNTER_TAKE_DNS);
}

#endif
