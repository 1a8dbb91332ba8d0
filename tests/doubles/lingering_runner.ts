/**
 * The engine double's runner in a box process that takes its time to end when all of its box has.
 *
 * @module
 */
export { default } from "./engine_runner.ts";

const LINGERS_MS = 700;

globalThis.addEventListener("unload", () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LINGERS_MS);
});
