/**
 * What a copy failed at, as hutch's errors.
 *
 * @module
 */
import { getSystemErrorMap } from "node:util";
import { constants } from "node:os";
import { CopyFailure } from "../../ffi/helper.ts";
import { type ErrorCode, HutchError } from "../errors.ts";

const CODES: Readonly<Record<string, ErrorCode>> = {
  EDQUOT: "no_space",
  EFBIG: "limit_exceeded",
  ENOSPC: "no_space",
};

const HINTS: Readonly<Record<string, string>> = {
  EDQUOT: "free some room there",
  EEXIST: "let it be replaced (overwrite), or copy to another place",
  ENOSPC: "free some room there",
};

/** The error for whatever a copy from `source` to `destination` failed with. */
export function copyError(
  { source, destination }: { readonly source: string; readonly destination: string },
  error: unknown,
  signal: AbortSignal,
): unknown {
  const what = `Cannot copy ${source} to ${destination}`;
  if (error instanceof CopyFailure) {
    const hint = HINTS[error.code];
    return new HutchError(CODES[error.code] ?? "copy_failed", `${what}: ${said(error)}`, {
      cause: error,
      ...hint === undefined ? {} : { hint },
    });
  }
  if (!signal.aborted) return error;
  const reason: unknown = signal.reason;
  if (reason instanceof HutchError) return reason;
  return new HutchError("cancelled", `${what}: it was cancelled`, { cause: reason });
}

/** "path: cannot do this: why". */
function said({ path, message, code }: CopyFailure): string {
  const where = path === "" || path === "." ? "" : `${path.replace(/^\.\//, "")}: `;
  // What is wrong with an archive, or beyond a limit, says it all.
  const why = OWN_WORDS.test(message) ? "" : `: ${meaning(code)}`;
  return `${where}${OWN_WORDS.test(message) ? "" : "cannot "}${message}${why}`;
}

/** Failures that are whole sentences, rather than what was being done. */
const OWN_WORDS = /^(?:its? |a |an |the |something |no )/;

function meaning(code: string): string {
  const number = Object.entries(constants.errno).find(([name]) => name === code)?.[1] ?? 0;
  return getSystemErrorMap().get(-number)?.[1] ?? code;
}
