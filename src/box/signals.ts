/**
 * Signals of Linux by name and number. The guest is Linux whatever the host is, so the host's own
 * numbers don't serve.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

const NAMES = [
  ...["HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2"],
  ...["PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG"],
  ...["XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"],
] as const;

/**
 * The number of a signal, 1 to 31, or of a real-time signal `SIGRTMIN+N`, 34 to 64; also of a text
 * with such a number.
 *
 * @throws HutchError `invalid_option` for a name that Linux doesn't have.
 */
export function signalNumber(name: string): number {
  const plain = name.replace(/^SIG/, "");
  const at = NAMES.findIndex((each) => each === plain);
  if (at >= 0) return at + 1;
  const realTime = /^(?:SIG)?RTMIN(?:\+(\d+))?$/.exec(name);
  const number = realTime ? 34 + Number(realTime[1] ?? 0) : 0;
  if (/^\d{1,2}$/.test(name) && Number(name) >= 1 && Number(name) <= 64) return Number(name);
  if (number >= 34 && number <= 64) return number;
  throw new HutchError(
    "invalid_option",
    `Cannot send signal "${name}": Linux has none of this name`,
    {
      hint: "take a name such as SIGTERM",
    },
  );
}

/** The name of a signal by its name or number, 1 to 31; undefined for any other. */
export function usualSignal(signal: string | number): Deno.Signal | undefined {
  const name = NAMES.find((each, at) => signal === at + 1 || signal === `SIG${each}`);
  return name && `SIG${name}`;
}

/** The name with `SIG` before it. */
export function signalName(name: string): string {
  return name.startsWith("SIG") ? name : `SIG${name}`;
}
