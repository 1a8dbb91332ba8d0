/**
 * Where hutch keeps what isn't one home's: tools and native parts.
 *
 * @module
 */
import { join } from "node:path";

/** Where hutch keeps what it installs for itself: `$XDG_CACHE_HOME/hutch`, else `~/.cache/hutch`. */
export function cacheFolder(): string {
  const base = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? "/", ".cache");
  return join(base, "hutch");
}
