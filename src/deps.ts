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

/**
 * Loads @peculiar/x509, which makes certificates. Only boxes with secrets pay for it (about 60 ms and
 * 25 MB in a process of their own).
 */
export async function loadX509(): Promise<typeof import("npm:@peculiar/x509@^1.14.0")> {
  await import("npm:reflect-metadata@^0.2.2"); // what it is built on wants it to be there
  return await import("npm:@peculiar/x509@^1.14.0");
}
