/**
 * Every import from outside, spelled so that it resolves without an import map. The README's
 * table says why each is here.
 *
 * @module
 */

export { decode as decodeCbor, encode as encodeCbor } from "npm:cbor2@^2.3.0";
export type { Command, CommanderError, Option } from "npm:commander@^15.0.0";

/**
 * Loads commander. Only the command line pays for it (about 30 ms and 15 MB): programs that import
 * hutch and box processes don't.
 */
export function loadCommander(): Promise<typeof import("npm:commander@^15.0.0")> {
  return import("npm:commander@^15.0.0");
}

/**
 * Loads log-update. Only a pull that takes its time, on a terminal, pays for it (about 50 ms and
 * 4 MB).
 */
export function loadLogUpdate(): Promise<typeof import("npm:log-update@^8.0.0")> {
  return import("npm:log-update@^8.0.0");
}
