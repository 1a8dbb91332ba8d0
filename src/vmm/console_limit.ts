/**
 * Keeps a guest from filling the host's disk with console output.
 *
 * @module
 */

/** Size at which the console's file is cut, in bytes. */
const LIMIT = 16 * 2 ** 20;
/** What of it is kept, beside it as `….1`, in bytes. */
const KEEP = 256 * 1024;
const INTERVAL_MS = 2_000;

/**
 * Looks at the console's file now and then. When it holds more than 16 MiB, its last 256 KiB move
 * to `PATH.1` and it starts again from nothing.
 */
export function limitConsole(path: string): { stop(): void } {
  const timer = setInterval(() => {
    try {
      cut(path);
    } catch {
      // No console yet, or no room for the copy: look again.
    }
  }, INTERVAL_MS);
  return { stop: () => clearInterval(timer) };
}

function cut(path: string): void {
  const { size, blocks } = Deno.statSync(path);
  // An engine that doesn't append leaves a hole where the cut was: count what is really there.
  if (Math.min(size, (blocks ?? 0) * 512) <= LIMIT) return;
  using file = Deno.openSync(path, { read: true, write: true });
  file.seekSync(size - KEEP, Deno.SeekMode.Start);
  const kept = new Uint8Array(KEEP);
  let length = 0;
  for (let n; length < KEEP && (n = file.readSync(kept.subarray(length))) !== null;) length += n;
  Deno.writeFileSync(`${path}.1`, kept.subarray(0, length), { mode: 0o600 });
  file.truncateSync(0);
}
