/**
 * References to files and folders of this machine, with options: `PATH[?NAME=VALUE&…]`.
 *
 * @module
 */
import { resolve } from "node:path";
import { HutchError } from "../../../mod.ts";

/** What a reference says. */
export interface PathReference {
  /** Absolute. */
  readonly path: string;
  /** By name, unchecked. */
  readonly options: ReadonlyMap<string, string>;
}

/** What Linux takes for a path, and some more for options. */
const LIMIT = 4096 + 512;
const OPTION = /^([a-z]+)=([A-Za-z0-9:,.-]*)$/;

/**
 * Takes a reference apart. The last question mark ends the path: one more at the end is for a path
 * that has some itself.
 *
 * @param names The options there are.
 * @throws {HutchError} `invalid_reference`
 */
export function parsePathReference(text: string, names: readonly string[]): PathReference {
  const fail = (problem: string) => invalidReference(text, problem);
  if (text.length > LIMIT) throw fail(`it is longer than ${LIMIT}`);
  if (/\p{Cc}/u.test(text)) throw fail("it has a control character");
  const mark = text.lastIndexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  if (path === "") throw fail("it names no path");
  const options = new Map<string, string>();
  for (const part of mark < 0 ? [] : text.slice(mark + 1).split("&")) {
    if (part === "") continue;
    const [, name = "", value = ""] = OPTION.exec(part) ?? [];
    if (!names.includes(name) || options.has(name)) {
      const known = names.map((known) => `${known}=…`).join(" and ");
      throw fail(`${shown(part)} isn't one of its options, ${known}`);
    }
    options.set(name, value);
  }
  return { path: resolve(path), options };
}

/** The canonical spelling, which {@link parsePathReference} takes apart again. */
export function formatPathReference({ path, options }: PathReference): string {
  const texts = [...options].sort(([a], [b]) => a < b ? -1 : 1).map((pair) => pair.join("="));
  return texts.length > 0 || path.includes("?") ? `${path}?${texts.join("&")}` : path;
}

/** The error for a reference that can't be one. */
export function invalidReference(text: string, problem: string): HutchError {
  return new HutchError("invalid_reference", `Cannot read reference ${shown(text)}: ${problem}`);
}

function shown(text: string): string {
  const cut = text.length > 300 ? `${text.slice(0, 300)}…` : text;
  return JSON.stringify(cut.replace(/[\x7f-\x9f]/g, "?"));
}
