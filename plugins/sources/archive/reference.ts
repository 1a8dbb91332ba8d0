/**
 * References to images in archives and layouts: a path, a colon, and which image.
 *
 * @module
 */
import { resolve } from "node:path";
import type { HutchError } from "../../../mod.ts";
import { invalidReference } from "../local/reference.ts";

/** What Linux takes for a path, and some more for a name. */
const LIMIT = 4096 + 1024;

/** A reference cut in two. */
export interface CutReference {
  /** Absolute. */
  readonly path: string;
  /** What follows the colon, if there is one. */
  readonly rest?: string;
  /** The error for a reference that can't be one. */
  readonly fail: (problem: string) => HutchError;
}

/**
 * Cuts a reference where its first colon ends the path, as skopeo does.
 *
 * @param whole How errors quote it.
 * @throws {HutchError} `invalid_reference`
 */
export function cutReference(text: string, whole = text): CutReference {
  const fail = (problem: string) => invalidReference(whole, problem);
  if (text.length > LIMIT) throw fail(`it is longer than ${LIMIT}`);
  if (/\p{Cc}/u.test(text)) throw fail("it has a control character");
  const colon = text.indexOf(":");
  const given = colon < 0 ? text : text.slice(0, colon);
  if (given === "") throw fail("it names no path");
  const path = resolve(given);
  if (path.includes(":")) throw fail("its path has a colon");
  return { path, fail, ...(colon < 0 ? {} : { rest: text.slice(colon + 1) }) };
}

/** Names in an error, each in quotes; of many the first ones. */
export function listOf(names: readonly string[]): string {
  const shown = names.slice(0, 20).map((name) => JSON.stringify(name.slice(0, 128))).join(", ");
  return names.length > 20 ? `${shown}, …` : shown;
}
