/**
 * What can happen to a packet, by name?
 *
 * The one table of verdicts: the C header (`bin/build` writes build/counters.gen.h from it), the metric labels, the
 * trace lines and docs/counters.md are made from it. The order is the index in the kernel's `counters` map, so names
 * are only ever added at the end.
 *
 * `kind`: `pass` went to the opposite port untouched, `take` left its way, mostly without its tunnel, `reply` was put back into a tunnel,
 * `drop` went nowhere, `slow` went to the control plane, `chain` went to a function of a chain, `note` is counted beside one of the others.
 */
export type CounterKind = "pass" | "take" | "reply" | "drop" | "slow" | "chain" | "note";

export interface CounterName {
  name: string;
  kind: CounterKind;
  text: string;
}

const c = (name: string, kind: CounterKind, text: string): CounterName => ({ name, kind, text });

export const counters: readonly CounterName[] = [
  c("pass_not_gtpu", "pass", "not GTP-U: another protocol, another port, another GTP version"),
  c(
    "pass_gtpu_control",
    "pass",
    "GTP-U signalling: Echo, Supported Extension Headers Notification, End Marker, others",
  ),
  c("pass_not_ip", "pass", "Ethernet plug-in: neither IPv4 nor IPv6 (ARP, EAPOL, a third tag)"),
  c("pass_other_dataplane", "pass", "the address lives on another data plane"),
  c("pass_no_rule", "pass", "user traffic that no rule takes"),
  c("pass_downlink", "pass", "user traffic from the core"),
  c("pass_bypass", "pass", "bypass is on"),
  c("pass_observe", "pass", "observe mode: a rule would have taken it"),
  c("pass_malformed", "pass", "GTP-U whose lengths or headers contradict each other"),
  c("pass_extension", "pass", "an extension header that only its receiver may interpret, or more than eight"),
  c("pass_options", "pass", "outer IPv4 options or IPv6 extension headers"),
  c("pass_outer_fragment", "pass", "outer fragments of packets that no rule takes"),
  c("pass_inner_malformed", "pass", "an inner packet that no app should see: bad lengths, checksum, options, TTL"),
  c("pass_not_own_source", "pass", "the inner source is not the UE that this tunnel belongs to"),
  c("pass_unproven", "pass", "uplink on a tunnel that is not proven to belong to the UE"),
  c("pass_peer_refused", "pass", "a peer or UE outside the configured prefixes, or over its share of the tables"),
  c("pass_mid_connection", "pass", "TCP of a connection that was running before it could be taken"),
  c("pass_aside", "pass", "the pinger gave up for this UE: its traffic goes to the core for a while"),
  c("pass_table_full", "pass", "a table is full: new flows or sessions are not taken"),
  c("pass_error_indication", "pass", "an Error Indication that is not about a packet of ours"),
  c("take_uplink", "take", "taken out of its tunnel"),
  c("take_routed", "take", "taken out of its tunnel for the local gateway, untranslated"),
  c("reply_downlink", "reply", "put back into the UE's downlink tunnel"),
  c("ping_sent", "reply", "an echo request in a UE's name, put into its uplink tunnel"),
  c("slow_hold", "slow", "a reply that waits for the UE's downlink"),
  c("slow_fragment", "slow", "an outer fragment handed to reassembly"),
  c("slow_inner_fragment", "slow", "an inner fragment that came before the first one, handed to reordering"),
  c("slow_too_big", "slow", "a reply to be fragmented before it is encapsulated"),
  c("drop_protected", "drop", "UE traffic to a protected prefix"),
  c("drop_gtp_in_gtp", "drop", "GTP-U or GTP-C inside a tunnel toward a protected prefix"),
  c("drop_pinger_answer", "drop", "the core's answer to a ping of ours, swallowed"),
  c("drop_error_indication", "drop", "an Error Indication about a packet of ours, absorbed"),
  c("drop_no_flow", "drop", "a packet from the apps' side that answers nothing a UE sent"),
  c("drop_no_downlink", "drop", "a reply whose downlink is unknown while nobody can hold it"),
  c("drop_not_ip", "drop", "not IP, on the apps' side"),
  c("drop_reply_malformed", "drop", "a malformed packet from the apps' side"),
  c(
    "drop_too_big",
    "drop",
    "longer than the way that it has to go takes; a reply is answered with ICMP where that is due",
  ),
  c("drop_fragment", "drop", "a fragment of a taken flow that could not be put together"),
  c("drop_taken_malformed", "drop", "a packet of a taken flow that no longer makes sense"),
  c("drop_unknown_ue", "drop", "a ping for an unknown UE"),
  c("drop_redirect", "drop", "the egress port is gone, or its next hop is not found any more"),
  c("drop_slow_malformed", "drop", "a frame on the slow port that the program does not know"),
  c("note_learnt", "note", "a tunnel was learnt"),
  c("note_moved", "note", "a session moved to another base station"),
  c("note_owner_changed", "note", "a UE address got a new owner"),
  c("note_conflict", "note", "a downlink that contradicts what is known taught nothing"),
  c("note_learning_limited", "note", "a peer taught faster than it may"),
  c("note_event_lost", "note", "the event ring was full"),
  c("note_capture_lost", "note", "the capture ring was full"),
  c("note_mss_clamped", "note", "a TCP MSS was lowered"),
  c("note_bearer_stale", "note", "a bearer was marked stale"),
  c("note_full", "note", "a table was full"),
  c("pass_treated", "pass", "on in its tunnel after what its service's treatment asks for"),
  c("drop_rate", "drop", "over its service's rate"),
  c("note_monitor_lost", "note", "a packet that the monitor could not describe: its ring or its table was full"),
  c("chain_uplink", "chain", "taken out of its tunnel and handed to the first function of its chain"),
  c("chain_downlink", "chain", "on its way to the UE, handed to the first function of its chain"),
  c("chain_next", "chain", "from one function of a chain to the next"),
  c("chain_back", "reply", "put back into its own tunnel behind its chain, either way"),
  c("drop_chain_blocked", "drop", "a function of its chain is down, and the service does without none"),
  c("drop_chain_unknown", "drop", "to the chains' own address, but not from a function of a chain"),
  c("drop_chain_no_flow", "drop", "a packet that leaves a chain and belongs to no flow"),
  c("drop_rule", "drop", "a rule says so"),
  c("note_mirrored", "note", "a copy left by its service's mirror"),
  c("note_chain_bypassed", "note", "a function of its chain is down: it goes on without"),
  c("note_not_mirrored", "note", "no copy was made: the mirror's adapter is gone, or the frame has several buffers"),
  c("take_dns", "take", "a query for a name that the platform's name server answers, taken out of its tunnel"),
  c("pass_dns_aside", "pass", "such a query while the name server does not answer: the UE's own resolver does"),
  c("take_forwarded", "take", "handed to an output with its tunnel, either way"),
  c(
    "pass_no_way",
    "pass",
    "its rule's output has no way for it: the next hop is not found, or the tunnel end is of the other family",
  ),
];
