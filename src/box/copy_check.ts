/**
 * Checks of a copy, before anything of it is sent to the box.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { CopyInInput, CopyOutInput } from "../plugin/contract.ts";
import type { CopyOptions } from "./copy_options.ts";

const MAX_PATH_BYTES = 4095;
const MAX_ID = 2 ** 32 - 2;

/** Throws `invalid_option` unless the copy may be made like this. */
export function checkCopyIn({ source, destination, options }: CopyInInput): void {
  checkPath("destination", destination);
  checkOptions(options);
  if (typeof source === "string") return checkPath("source", source);
  const { filter, followSymlinks, includeParent, preserve } = options;
  if (filter || followSymlinks || includeParent) {
    refuse("Cannot use filter, followSymlinks or includeParent for a tar stream");
  }
  if (preserve?.owner !== undefined && preserve.owner !== "keep") {
    refuse('Cannot use an owner other than "keep" for a tar stream');
  }
}

/** Throws `invalid_option` unless the copy may be made like this. */
export function checkCopyOut({ source, destination, options }: CopyOutInput): void {
  checkPath("source", source);
  checkOptions(options);
  for (const name of ["maxBytes", "maxEntries"] as const) {
    const value = options[name] ?? 1;
    if (!Number.isSafeInteger(value) || value < 1) {
      refuse(`Cannot use ${name} ${value}: it isn't a whole number from 1 on`);
    }
  }
  if (typeof destination === "string") return checkPath("destination", destination);
  const { filter, includeParent, preserve } = options;
  if (filter || includeParent || preserve) {
    refuse("Cannot use filter, includeParent or preserve for a tar stream");
  }
}

function checkPath(what: string, path: string): void {
  if (path === "") refuse(`Cannot copy: the ${what} is empty`);
  if (path.includes("\0")) refuse(`Cannot copy: the ${what} has a NUL character in it`);
  if (new TextEncoder().encode(path).length > MAX_PATH_BYTES) {
    refuse(`Cannot copy: the ${what} has more than ${MAX_PATH_BYTES} bytes`);
  }
}

function checkOptions({ preserve }: CopyOptions): void {
  const owner = preserve?.owner;
  if (owner === undefined || owner === "keep") return;
  const ids = "uid" in owner ? [owner.uid, owner.gid] : owner.flatMap((range) => {
    const { inside, outside, count } = range;
    if (!Number.isInteger(count) || count < 1) refuse(`Cannot map ${count} owners`);
    return [inside, outside, inside + count - 1, outside + count - 1];
  });
  for (const id of ids) {
    if (Number.isInteger(id) && id >= 0 && id <= MAX_ID) continue;
    refuse(`Cannot use owner ${id}: it isn't a whole number from 0 to ${MAX_ID}`);
  }
}

function refuse(message: string): never {
  throw new HutchError("invalid_option", message);
}
