/**
 * hutch's version. A module of its own: deno.json can't be imported from a URL everywhere.
 *
 * @module
 */

/** Semantic version; a test compares it with deno.json's. */
export const VERSION = "0.1.0";
