/**
 * Compares the guide's table of hooks with the contract that it is made from, and keeps what the
 * guide shows short.
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

/** The plugins that the guide shows are for reading: each has fewer lines than this. */
const PLUGIN_LINES = 150;

/** Finds a plugin of `plugins/` itself that is too long to be an example. */
export function checkPluginLength(path: string, text: string): Finding[] {
  const lines = text.split("\n").length - 1;
  if (!/^plugins\/\w+\.ts$/.test(path) || lines < PLUGIN_LINES) return [];
  return [`${path}:1: it has ${lines} lines; plugins that are examples have under ${PLUGIN_LINES}`];
}
