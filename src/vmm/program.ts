/**
 * Starting programs from the box process, for an engine's runner.
 *
 * @module
 */
import { BoxLibrary } from "../../ffi/box_library.ts";
import { ChildProcess } from "../../ffi/child.ts";
import type { RunnerProgram, RunningProgram } from "./engine.ts";
import { after } from "./timer.ts";

/** Where programs look for others. */
export const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
/** How long a lock may be held by one that is just ending, in `ms`. */
const LOCK_MS = 10_000;
/** Between two tries, in `ms`. */
const STEP_MS = 20;

/**
 * Starts a program that dies with this process.
 *
 * @param library The library that box processes load.
 * @throws Error when it can't be started, or somebody else holds its lock for too long.
 */
export async function startProgram(
  library: string,
  program: RunnerProgram,
): Promise<RunningProgram> {
  const env = { PATH, ...program.env };
  for (let left = LOCK_MS; left > 0; left -= STEP_MS) {
    const child = ChildProcess.start(new BoxLibrary(library), { ...program, env });
    if (child) return child;
    await new Promise<void>((resolve) => after(STEP_MS, resolve));
  }
  throw new Error(`${program.lock} is still locked after ${LOCK_MS} ms`);
}
