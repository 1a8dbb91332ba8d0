/**
 * How a box process gives up what it doesn't need, see `ffi/confine/confine.h`.
 *
 * @module
 */
import { BoxLibrary } from "./box_library.ts";

const LANDLOCK = 1;
const SECCOMP = 2;

/** What a process may still do with files below a path. */
export interface FileRule {
  /** `remove`: take files out of a folder. */
  readonly may: "read" | "write" | "remove";
  /** Absolute; one that isn't there is left out. */
  readonly path: string;
}

/** What the kernel did about a process, or could. */
export interface Confinement {
  /** Files but those of the rules are out of reach. */
  readonly landlock: boolean;
  /** Programs, mounts, other processes' memory and new sockets are out of reach. */
  readonly seccomp: boolean;
}

/**
 * Confines this process, all of its threads and for good; what the kernel has nothing for stays.
 *
 * @param library The library's file.
 * @throws Error when the kernel refuses: the process is confined in part then, and should end.
 */
export function confine(library: string, rules: readonly FileRule[]): Confinement {
  using opened = new BoxLibrary(library);
  const list = rules.map(({ may, path }) => `${may === "remove" ? "d" : may[0]}${path}\0`);
  const done = new Uint32Array(1);
  const result = opened.symbols.hutch_confine(
    new TextEncoder().encode(`${list.join("")}\0`),
    done,
  );
  if (result < 0) throw new Error(`the process can't be confined: errno ${-result}`);
  return confinementOf(done[0] ?? 0);
}

/** Reads the bits that the library gives. */
export function confinementOf(bits: number): Confinement {
  return { landlock: (bits & LANDLOCK) !== 0, seccomp: (bits & SECCOMP) !== 0 };
}
