/**
 * The numbers of bpf/consts.h that the control plane uses, under their own names.
 *
 * test/ebpf/layout.test.ts compares each with the header.
 */
export const LAYOUT_VERSION = 3;

export const BEARER_SLOTS = 5;
export const DOWNLINK_SLOTS = 3;
export const SLOT_UPLINK = 3;
export const SLOT_CANDIDATE = 4;

export const MODE_OFFLOAD = 0;
export const MODE_OBSERVE = 1;
export const MODE_BYPASS = 2;

export const CONFIG_SHARED = 1;
export const CONFIG_ACCESS_PEERS = 2;
export const CONFIG_CORE_PEERS = 4;
export const CONFIG_UE_POOLS = 8;
export const CONFIG_PINGER4 = 16;
export const CONFIG_PINGER6 = 32;
export const CONFIG_ETHERNET = 64;

export const TUNNEL_UPLINK = 1;
export const TUNNEL_CANDIDATE4 = 2;
export const TUNNEL_IPV4 = 4;
export const TUNNEL_IPV6 = 8;
export const TUNNEL_CANDIDATE6 = 16;

export const BEARER_FREE = 0;
export const BEARER_LIVE = 1;
export const BEARER_STALE = 2;
export const BEARER_DRAINING = 3;

export const SESSION_UPLINK = 1;
export const SESSION_HOLD = 2;
export const SESSION_WANTED = 4;
export const SESSION_MOVING = 8;
export const SESSION_CANDIDATE = 16;

export const ACTION_PASS = 0;
export const ACTION_TAKE = 1;
export const ACTION_ROUTE = 2;
export const ACTION_REPLY = 3;
export const ACTION_DROP = 4;
export const ACTION_THROUGH = 5;
export const ACTION_FORWARD = 6;

export const RULE_APP_INITIATED = 1;
export const RULE_TREATED = 2;
export const RULE_BY_UE = 4;
export const RULE_DIRECTED = 8;

export const OUTLET_PLAIN = 0;
export const OUTLET_GRE = 1;
export const OUTLET_GTPU = 2;
export const OUTLET_V6 = 1;
export const OUTLET_UNKNOWN = 2;
export const OUTLET_AS_IS = 4;
export const OUTLET_OWN_MACS = 8;
export const OUTLET_STRIP = 16;

export const RULES_SIGNALLING = 2;
export const RULES_DIRECTED = 4;

export const LEVELS_MAX = 11;
export const DIMENSIONS = 17;
export const DIMENSIONS_WIDE = 0x1803;
export const FIELD_DSCP = 0x00ff0000;
export const FIELD_QFI = 0xff000000;

export const RULES_THROUGH = 1;

export const FLOW_FIN_UP = 1;
export const FLOW_FIN_DOWN = 2;
export const FLOW_RST = 4;
export const FLOW_REPLIED = 8;
export const FLOW_APP_INITIATED = 16;
export const FLOW_TREATED = 32;
export const FLOW_RUNNING = 64;
export const FLOW_BEGUN = 128;

export const VXLAN_FLAG_VNI = 8;
export const GPE_FLAG_PROTOCOL = 4;
export const GPE_NSH = 4;
export const NSH_IPV4 = 1;
export const NSH_IPV6 = 2;
export const HOP_HEADER_MAX = 88;
export const HOP_V6 = 1;
export const HOP_NSH = 2;
export const HOP_DOWNLINK = 4;

export const TREATMENT_BYPASS_UP = 1;
export const TREATMENT_BYPASS_DOWN = 2;

export const CHAIN_NONE = 0;
export const CHAIN_BLOCKED = 0xffff_ffff;

export const MAYBE_RULE = 1;
export const MAYBE_RULE_HOST = 2;
export const MAYBE_PROTECTED = 4;
export const MAYBE_TREATED = 8;
export const MAYBE_TREATED_HOST = 16;
export const HOST_RULE = 1;
export const HOST_TREATED = 2;
export const MAYBE_V6 = 65536;

export const PREFIX_ACCESS_PEER = 1;
export const PREFIX_CORE_PEER = 2;
export const PREFIX_UE_POOL = 3;
export const PREFIX_PROTECTED = 4;

export const MAX_DATAPLANES = 32;
export const COUNTERS_STRIDE = 128;
export const PORT_ACCESS = (dataplane: number): number => dataplane * 2;
export const PORT_CORE = (dataplane: number): number => dataplane * 2 + 1;
export const RATE_SHIFT = 20n;
export const MAX_MIRRORS = 16;
export const PROTO_QUERY = 255;
export const NAME_MAX = 256;
export const MAX_NAMES = 16384;

export const PORT_SLOW = 64;
export const PORT_RETURN = 65;
export const PORT_APPS = 66;
export const MAX_PORTS = 128;

export const ETH_P_SLOW = 0x88b5;
export const SLOW_HOLD = 1;
export const SLOW_REPLY = 2;
export const SLOW_RELEASE = 3;
export const SLOW_FRAGMENT = 4;
export const SLOW_REASSEMBLED = 5;
export const SLOW_WIRE = 6;
export const SLOW_TOO_BIG = 7;
export const SLOW_INNER_FRAGMENT = 8;
export const SLOW_REASON_TAKEN = 0;
export const SLOW_REASON_UNKNOWN = 1;
export const SLOW_REASON_NOT_TAKEN = 2;

export const EVENT_SESSION_NEW = 1;
export const EVENT_DOWNLINK_LEARNT = 2;
export const EVENT_MOVED = 3;
export const EVENT_BEARER_NEW = 4;
export const EVENT_OWNER_CHANGED = 5;
export const EVENT_CANDIDATE = 6;
export const EVENT_WANTED = 7;
export const EVENT_STALE = 8;
export const EVENT_PINGER_ANSWER = 9;
export const EVENT_TABLE_FULL = 10;
export const EVENT_CAPTURE = 11;
export const EVENT_OVERLAP = 12;

export const WAY_UPLINK = 0;
export const WAY_DOWNLINK = 1;
export const WAY_APPS = 2;
export const WAY_PINGER = 3;

export const MONITOR_ON = 1;
export const MONITOR_EACH = 2;
export const MONITOR_UNCACHED = 4;
