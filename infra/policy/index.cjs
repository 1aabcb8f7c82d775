// Policy packs are loaded by require; ours is an ES module, as bin/build has made it.
module.exports = import("../../dist/infra/policy/pack.js");
