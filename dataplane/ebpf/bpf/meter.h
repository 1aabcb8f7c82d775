/* Is this service within its rate?
 *
 * A virtual schedule (ITU-T I.371, GCRA): each service and direction has the time at which all that it has sent would have
 * gone, had each octet taken its time at the configured rate. That time lies ahead of the clock while it sends faster.
 * What would put it further ahead than the burst allows is dropped, and costs nothing.
 *
 *   burst = the larger of RATE_BURST_NS and the time of RATE_BURST_OCTETS at the rate
 *
 * No lock: CPUs compare and swap the one 64-bit number; who loses the race RACES times in a row adds its part unasked.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_METER_H
#define OFFRAMP_METER_H

#include "common.h"

#define RACES 4

/* 1: the packet may go on. `per_octet`: as in struct treatment. */
GLOBAL int keeps_rate(__u64 per_octet, __u32 index, __u32 octets)
{
	__u64 *schedule = bpf_map_lookup_elem(&meters, &index);

	if (!schedule)
		return 1;
	__u64 t = bpf_ktime_get_ns(), cost = per_octet * (octets & 0xffff) >> RATE_SHIFT;
	__u64 burst = per_octet * RATE_BURST_OCTETS >> RATE_SHIFT;
	if (burst < RATE_BURST_NS)
		burst = RATE_BURST_NS;
	for (int i = 0; i < RACES; i++) {
		__u64 due = *(volatile __u64 *)schedule;
		__u64 from = due > t ? due : t;
		if (from - t > burst)
			return 0;
		if (__sync_val_compare_and_swap(schedule, due, from + cost) == due)
			return 1;
	}
	__sync_fetch_and_add(schedule, cost);
	return 1;
}

/* 1: the packet may go on. `octets`: of the inner packet. */
INLINE int within_rate(const struct treatment *t, __u32 service, int downlink, __u32 octets)
{
	__u64 per_octet = downlink ? t->rate_down : t->rate_up;

	return !per_octet || keeps_rate(per_octet, service * 2 + downlink, octets);
}

#endif
