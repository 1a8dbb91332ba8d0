/**
 * Compares the guide's table of hooks with the contract that it is made from.
 *
 * @module
 */
import { errorText } from "../../src/errors.ts";
import { GUIDE, withTable } from "../plugin_table.ts";
import type { Finding } from "./imports.ts";

/** Finds a guide whose table isn't the contract's, or that can't have one. */
export function checkGuide(guide: string, contract: string): Finding[] {
  try {
    if (withTable(guide, contract) === guide) return [];
    return [`${GUIDE}:1: its table of hooks is out of date: run deno task plugin-table`];
  } catch (error) {
    return [`${GUIDE}:1: its table of hooks can't be made: ${errorText(error)}`];
  }
}
