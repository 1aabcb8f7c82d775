/* Which is the first rule that this packet matches?
 *
 * Aggregated bit vectors (Baboescu and Varghese, SIGCOMM 2001). A packet is a point, one number per dimension; in each
 * dimension the rules cut the line of numbers into intervals, and an interval has a vector: a bit for each rule that
 * holds there. The first bit that all dimensions' vectors have in common is the rule, for rules are ordered.
 *
 *   point --tree--> interval --> own vector  \
 *                                             or --+
 *   dimension ----------------> "any" vector /      +-- and --> first common bit --> outcome
 *   ... the other dimensions that some rule names --+
 *
 * A vector is a summary for each 4096 rules (struct group) and those of its words that are not zero, so that a search
 * looks at few words however many rules there are. The vector of the rules to which a dimension is indifferent is kept
 * once, not in each interval. dataplane/ebpf/classifier.ts makes the image.
 *
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_SEARCH_H
#define OFFRAMP_SEARCH_H

#include "common.h"

#define ROOT_UPLINK 0
#define ROOT_APP 1

#define IMAGE_LINE_WORDS 8
#define SEARCH_STEPS 2048 /* at most 16 groups and 1024 words */

/* One line of the image, whatever it holds. */
union line {
	__u64 word[8];
	__u32 half[16];
	__u8 octet[64];
	struct root root;
	struct dimension dimension;
	struct group group[4];
	struct outcome outcome;
	struct member member[2];
};

/* What is looked for, and what was found. */
struct lookup {
	struct address point[DIMENSIONS_ROOM]; /* host order */
	struct outcome outcome;
	struct {
		struct group own, any;
	} at[DIMENSIONS_ROOM];
	__u32 own[DIMENSIONS_ROOM], any[DIMENSIONS_ROOM];
	__u32 generation; /* of the rules, before the search: what changes meanwhile is seen by the next packet */
	__u32 zero;       /* always; the verifier does not know. See begin_at() */
};

/* Where does a search lie? */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lookup);
} lookups SEC(".maps");

INLINE struct lookup *lookup_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lookups, &zero);
}

/* Where the state of a loop begins. Linux before 6.7 verifies the body of bpf_loop() once, with what it knows of the stack before
 * the loop, and takes code away that a first pass does not reach: what the body changes must begin as a number that it does
 * not know (commit ab5cfac139ab, "bpf: verify callbacks as if they are called unknown number of times"). */
INLINE __u32 begin_at(const struct lookup *l)
{
	return *(volatile const __u32 *)&l->zero;
}

INLINE void set_number(struct lookup *l, __u32 dimension, __u64 value)
{
	l->point[dimension].hi = 0;
	l->point[dimension].lo = value;
}

INLINE void set_address(struct lookup *l, __u32 dimension, const struct address *a)
{
	l->point[dimension].hi = bpf_be64_to_cpu(a->hi);
	l->point[dimension].lo = bpf_be64_to_cpu(a->lo);
}

/* 1 when a < b; without a branch, which the verifier would follow both ways. */
INLINE __u64 borrow(__u64 a, __u64 b, __u64 before)
{
	return ((~a & b) | ((~a | b) & (a - b - before))) >> 63;
}

/* The number that adds up the bits. */
INLINE __u32 bits_of(__u64 x)
{
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return x * 0x0101010101010101ULL >> 56;
}

struct search {
	void *image;
	struct lookup *l;
	__u64 words; /* of the present group, that all dimensions may have in common */
	__u32 dimensions, first;
	__u32 group, groups;
	__u32 found; /* index + 1 */
	__u32 index; /* of a line, for lookups */
};

INLINE union line *line_at(struct search *s, __u32 index)
{
	s->index = index;
	return bpf_map_lookup_elem(s->image, &s->index);
}

/* Finds the interval of one dimension in which the packet lies. */
static long find_interval(__u32 i, void *context)
{
	struct search *s = context;

	if (i >= s->dimensions || i >= DIMENSIONS)
		return 1;
	union line *line = line_at(s, s->first + i);
	if (!line)
		goto broken;
	struct dimension *d = &line->dimension;
	__u32 index = d->index & (DIMENSIONS_ROOM - 1), position = 0;
	__u64 hi = s->l->point[index].hi, lo = s->l->point[index].lo;
	int wide = DIMENSIONS_WIDE >> index & 1;
	for (int level = 0; level < LEVELS_MAX; level++) {
		if (level >= d->levels)
			break;
		union line *node = line_at(s, d->level[level] + position);
		if (!node)
			goto broken;
		__u64 below = 0;
		if (wide) {
			for (int n = 0; n < 8; n += 2)
				below += borrow(node->word[n], hi, borrow(node->word[n + 1], lo, 0));
			position = position * 4 + below;
		} else {
			for (int n = 0; n < 8; n++)
				below += borrow(node->word[n], lo, 0);
			position = position * 8 + below;
		}
	}
	union line *own = line_at(s, d->own + (position >> 4));
	s->l->own[i & (DIMENSIONS_ROOM - 1)] = own ? own->half[position & 15] : 0;
	s->l->any[i & (DIMENSIONS_ROOM - 1)] = d->any;
	return 0;
broken: /* no image of ours is: nothing matches */
	s->groups = 0;
	return 1;
}

INLINE void load_group(struct search *s, __u32 vector, struct group *to)
{
	union line *line = vector ? line_at(s, (vector + s->group) >> 2) : 0;

	to->words = 0;
	if (line) {
		struct group *g = &line->group[(vector + s->group) & 3];
		to->words = g->words;
		to->first = g->first;
	}
}

/* The word of the group that the bit `lowest` of its summary stands for. */
INLINE __u64 load_word(struct search *s, const struct group *g, __u64 lowest)
{
	if (!(g->words & lowest))
		return 0;
	__u32 at = g->first + bits_of(g->words & (lowest - 1));
	union line *line = line_at(s, at >> 3);
	return line ? line->word[at & 7] : 0;
}

/* One step: the next group's summary, or the next word that could hold the rule. */
static long next_step(__u32 step, void *context)
{
	struct search *s = context;
	struct lookup *l = s->l;

	if (!s->words) {
		__u64 words = ~0ULL;
		if (s->group >= s->groups)
			return 1;
		for (__u32 i = 0; i < DIMENSIONS; i++) {
			if (i >= s->dimensions)
				break;
			load_group(s, l->own[i], &l->at[i].own);
			load_group(s, l->any[i], &l->at[i].any);
			words &= l->at[i].own.words | l->at[i].any.words;
		}
		s->words = words;
		s->group++;
		return 0;
	}
	__u64 lowest = s->words & -s->words, common = ~0ULL;
	for (__u32 i = 0; i < DIMENSIONS; i++) {
		if (i >= s->dimensions)
			break;
		common &= load_word(s, &l->at[i].own, lowest) | load_word(s, &l->at[i].any, lowest);
	}
	if (!common) {
		s->words ^= lowest;
		return 0;
	}
	s->found = ((s->group - 1) << 12 | bits_of(lowest - 1) << 6 | bits_of((common & -common) - 1)) + 1;
	return 1;
}

INLINE __u64 mix(__u64 h, __u64 value)
{
	h = (h ^ value) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

/* Which of a rule's endpoints? A connection's hash, or its UE's, picks the slot (dataplane/ebpf/endpoints.ts). */
INLINE int pick_endpoint(struct search *s, struct outcome *o)
{
	struct lookup *l = s->l;
	struct address *point = l->point;
	int v6 = point[DIMENSION_PROTOCOL].lo >> 8 & 1;
	__u64 h = mix(mix(0, point[DIMENSION_SOURCE].hi), o->flags & RULE_BY_UE && v6 ? 0 : point[DIMENSION_SOURCE].lo);

	if (!(o->flags & RULE_BY_UE)) {
		h = mix(mix(h, point[DIMENSION_DESTINATION].hi), point[DIMENSION_DESTINATION].lo);
		h = mix(h, point[DIMENSION_PROTOCOL].lo << 32 | point[DIMENSION_SOURCE_PORT].lo << 16 |
				   point[DIMENSION_DESTINATION_PORT].lo);
	}
	__u32 slot = mix(h, 0) & 255;
	union line *line = line_at(s, o->slots + (slot >> 6));
	if (!line)
		return 0;
	__u32 member = line->octet[slot & 63];
	line = line_at(s, o->members + (member >> 1));
	if (!line)
		return 0;
	struct member *m = &line->member[member & 1];
	o->endpoint = m->endpoint;
	o->endpoint_port = m->port;
	o->next_hop = m->next_hop;
	return 1;
}

/* Searches for the point in this CPU's struct lookup, and leaves the outcome there. Returns 1 when a rule matches. */
INLINE int search(__u32 which)
{
	__u32 zero = 0;
	struct search s = {.l = lookup_here()};

	/* The image is fetched once: whatever comes meanwhile, this packet meets one set of rules. */
	s.image = bpf_map_lookup_elem(&rules, &zero);
	if (!s.image || !s.l)
		return 0;
	union line *line = line_at(&s, which);
	if (!line || !line->root.rules)
		return 0;
	__u32 count = line->root.rules, outcomes = line->root.outcomes;
	s.groups = (count + 4095) >> 12;
	s.dimensions = line->root.dimensions;
	s.first = line->root.first;
	s.words = s.group = s.found = begin_at(s.l);
	bpf_loop(DIMENSIONS, find_interval, &s, 0);
	bpf_loop(SEARCH_STEPS, next_step, &s, 0);
	if (!s.found || s.found > count)
		return 0;
	line = line_at(&s, outcomes + s.found - 1);
	if (!line)
		return 0;
	s.l->outcome = line->outcome;
	if (s.l->outcome.slots)
		return pick_endpoint(&s, &s.l->outcome);
	return 1;
}

#endif
