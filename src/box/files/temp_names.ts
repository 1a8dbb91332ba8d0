/**
 * Names that nothing else has.
 *
 * @module
 */
import type { MakeTempOptions } from "./options.ts";

const NAME_TRIES = 100;

/** Tries names until one is free; gives its path. */
export async function named(
  { dir = "/tmp", prefix = "", suffix = "" }: MakeTempOptions,
  make: (path: string) => Promise<void>,
): Promise<string> {
  for (let tries = 1;; tries++) {
    const path = `${dir}/${prefix}${crypto.randomUUID().slice(-12)}${suffix}`;
    try {
      await make(path);
      return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists) || tries === NAME_TRIES) throw error;
    }
  }
}
