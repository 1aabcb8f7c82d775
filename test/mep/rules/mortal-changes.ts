/**
 * Which changes does mortal.ts make, one after the other?
 */
const rule = (trafficRuleId: string, priority: number, state: string) => ({
  trafficRuleId,
  filterType: "FLOW",
  priority,
  trafficFilter: [{ dstAddress: ["203.0.113.20"] }, { dstAddress: ["203.0.113.21"] }],
  action: "DROP",
  state,
});

export const descriptors = ["x", "y"].map((id, at) => {
  const { state: _state, ...descriptor } = rule(id, at, "");
  return descriptor;
});

export const changes = [
  rule("x", 0, "ACTIVE"),
  rule("y", 1, "ACTIVE"),
  rule("x", 2, "ACTIVE"),
  rule("y", 1, "INACTIVE"),
  rule("x", 2, "INACTIVE"),
  rule("y", 9, "ACTIVE"),
];
