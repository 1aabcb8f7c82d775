/**
 * Do the programs and the reference model agree on every frame? networks.ts says how they are compared.
 *
 *   OFFRAMP_FRAMES=1000000 node --import tsx test/model/differential.test.ts     the long run
 *   OFFRAMP_SEED=7          another run
 *   OFFRAMP_NETWORK=12      only this network; with OFFRAMP_STRICT=1 the first frame after which any counter or session differs
 *   OFFRAMP_OBJECT=path     another build of the programs
 */
import { test } from "uvu";
import { generate } from "./generate.ts";
import { agree } from "./networks.ts";
import { config } from "./population.ts";

const wanted = Number(process.env.OFFRAMP_FRAMES ?? 50_000);

test(`${wanted} generated and mutated frames: programs and model agree on verdict, octets and counters`, () =>
  agree(wanted, { config, generate }));

test.run();
