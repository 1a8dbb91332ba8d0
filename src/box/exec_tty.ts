/**
 * Terminals of commands: their checks, and what the box is told of them.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { TtySize } from "../guest/messages.ts";
import type { TerminalOptions, TerminalSize } from "./exec_options.ts";

type Variables = Readonly<Record<string, string>>;

/** Size of a terminal where none is given. */
const USUAL: TerminalSize = { rows: 24, columns: 80 };
const MOST = 65_535;

/** The size as the agent takes it. Throws `invalid_option`. */
export function ttySizeOf({ rows, columns }: TerminalSize): TtySize {
  for (const [name, count] of [["rows", rows], ["columns", columns]] as const) {
    if (Number.isInteger(count) && count >= 1 && count <= MOST) continue;
    throw new HutchError(
      "invalid_option",
      `Cannot make a terminal of ${count} ${name}: it isn't a whole number from 1 to ${MOST}`,
    );
  }
  return [rows, columns];
}

/** The size that is asked for; undefined for no terminal. Throws `invalid_option`. */
export function ttyOf(tty: boolean | TerminalOptions | undefined): TtySize | undefined {
  if (!tty) return undefined;
  const { rows = USUAL.rows, columns = USUAL.columns } = tty === true ? USUAL : tty;
  return ttySizeOf({ rows, columns });
}

/** The variables of a command with a terminal: `TERM` is among them. */
export function terminalEnv(
  tty: TerminalOptions | true,
  { box, own }: { readonly box: Variables; readonly own: Variables },
): Record<string, string> {
  const term = tty === true ? undefined : tty.term;
  return { TERM: hostTerm(), ...box, ...term === undefined ? {} : { TERM: term }, ...own };
}

/** This program's terminal, whether it is connected to it or not. */
function hostTerm(): string {
  const known = Deno.permissions.querySync({ name: "env", variable: "TERM" });
  const term = known.state === "granted" ? Deno.env.get("TERM") : undefined;
  return term === undefined || term === "" || term === "dumb" ? "xterm" : term;
}
