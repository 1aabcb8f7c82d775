/* Names every struct that programs and control plane share, so that all of them have BTF in one object.
 * SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "structs.h"

#define USE(name) struct name use_##name
USE(address);
USE(tunnel_key);
USE(tunnel);
USE(session_key);
USE(session);
USE(bearer);
USE(flow_key);
USE(flow);
USE(next_hop);
USE(treatment);
USE(outlet);
USE(hop);
USE(vtep);
USE(root);
USE(dimension);
USE(group);
USE(outcome);
USE(member);
USE(rules_header);
USE(name_key);
USE(name_server);
USE(config);
USE(peer);
USE(peer_key);
USE(prefix_key);
USE(fragment_key);
USE(fragment);
USE(slow_header);
USE(event);
struct buckets *use_buckets;
USE(slots);
USE(clock);
USE(cached);
USE(cached_reply);
USE(injection);
USE(counter);
USE(capture);
USE(capture_record);
USE(treatment);
USE(monitor);
USE(tally_key);
USE(tally);
USE(verdict_record);
