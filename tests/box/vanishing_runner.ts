/**
 * A runner whose machine sees its box's folder go, as when a program removes the box of a dead one whose
 * box process is only beginning. What it does then is what the engine's part `then` says.
 *
 * @module
 */
import type { Machine, MachineRunner, MachineSpec } from "../../mod.ts";

const runner: MachineRunner = { start };
export default runner;

function start(spec: MachineSpec): Promise<Machine> {
  Deno.removeSync(spec.folder, { recursive: true });
  if (spec.engine.then === "fail") throw new Error("there is no folder");
  return Promise.resolve({
    exited: Promise.resolve({ code: 0, signal: null, output: "" }),
    kill() {},
  });
}
