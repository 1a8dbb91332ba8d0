/**
 * Paths on the host, as people write them.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { volumeRefused, type VolumeSpec } from "../../mod.ts";

/** Whether text begins like a path. */
export function isPath(text: string): boolean {
  return /^(\/|\.{1,2}(\/|$)|~(\/|$))/.test(text);
}

/** The path, absolute: a relative one counts from the working folder. */
export function absolutePath(path: string, spec: VolumeSpec): string {
  if (path.includes("\0")) throw volumeRefused(spec, "its host path has a NUL character");
  if (!/^~(\/|$)/.test(path)) return resolve(path);
  const home = Deno.env.get("HOME");
  if (!home) throw volumeRefused(spec, "HOME, which ~ stands for, is not set");
  return join(resolve(home), path.slice(1));
}
