/**
 * Every import from outside, spelled so that it resolves without an import map. The README's
 * table says why each is here.
 *
 * @module
 */

export { decode as decodeCbor, encode as encodeCbor } from "npm:cbor2@^2.3.0";
export { Command, CommanderError, InvalidArgumentError, Option } from "npm:commander@^15.0.0";
