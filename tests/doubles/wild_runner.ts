/**
 * The engine double's runner in a box process whose wall clock is set all the time, by the engine's part
 * `days`.
 *
 * @module
 */
import type { MachineRunner } from "../../mod.ts";
import runner from "./engine_runner.ts";
import { makeDateWild } from "./wild_date.ts";

const wild: MachineRunner = {
  start(spec, options) {
    makeDateWild(Number(spec.engine.days));
    return runner.start(spec, options);
  },
};
export default wild;
