/* Is this service within its rate?
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#ifndef OFFRAMP_METER_H
#define OFFRAMP_METER_H

#include "common.h"

/* 1: the packet may go on. `octets`: of the inner packet. */
INLINE int within_rate(__u32 service, int downlink, __u32 octets)
{
	return 1;
}

#endif
