/**
 * The console's file, which the engine writes: what comes to it goes to the log too, and it is kept
 * from filling the host's disk.
 *
 * @module
 */
import { after } from "./timer.ts";

/** Size at which the file is cut, in bytes. */
const LIMIT = 16 * 2 ** 20;
/** What of it is kept, beside it as `….1`, in bytes. */
const KEEP = 256 * 1024;
/** How often it is looked at, in `ms`: so late an entry's time may be. */
const INTERVAL_MS = 500;
/** Most bytes that go to the log at each look: the newest. */
const MOST = 64 * 1024;

/** A console that is watched. */
export interface ConsoleWatch {
  /** Looks now and then, from now on; to be called once. */
  start(): void;
  /** Looks at once. */
  look(): void;
  /** Looks for the last time. */
  stop(): void;
}

/**
 * Watches the console's file, once it is started. When it holds more than 16 MiB, its last 256 KiB move
 * to `PATH.1` and it starts again from nothing.
 *
 * @param said Gets what came; of a flood, the end of it.
 */
export function watchConsole(path: string, said: (bytes: Uint8Array) => void): ConsoleWatch {
  let seen = 0;
  const look = () => {
    try {
      const { size } = Deno.statSync(path);
      if (size < seen) seen = 0; // it was cut
      if (size > seen) said(tailOf(path, Math.max(seen, size - MOST), size));
      seen = size;
      cut(path);
    } catch {
      // No console yet, or no room for the copy: look again.
    }
  };
  let timer: Disposable | undefined;
  const goOn = () => {
    timer = after(INTERVAL_MS, () => {
      look();
      goOn();
    });
  };
  return {
    start: goOn,
    look,
    stop() {
      timer?.[Symbol.dispose]();
      look();
    },
  };
}

/** Bytes of the file; without the zeros that a hole reads as. */
function tailOf(path: string, from: number, to: number): Uint8Array {
  using file = Deno.openSync(path);
  return read(file, from, to - from).filter((byte) => byte !== 0);
}

function cut(path: string): void {
  const { size, blocks } = Deno.statSync(path);
  // An engine that doesn't append leaves a hole where the cut was: count what is really there.
  if (Math.min(size, (blocks ?? 0) * 512) <= LIMIT) return;
  using file = Deno.openSync(path, { read: true, write: true });
  Deno.writeFileSync(`${path}.1`, read(file, size - KEEP, KEEP), { mode: 0o600 });
  file.truncateSync(0);
}

function read(file: Deno.FsFile, from: number, count: number): Uint8Array {
  file.seekSync(from, Deno.SeekMode.Start);
  const bytes = new Uint8Array(count);
  let length = 0;
  for (let n; length < count && (n = file.readSync(bytes.subarray(length))) !== null;) length += n;
  return bytes.subarray(0, length);
}
