/**
 * Files that are either whole or absent, whoever dies in between and however many programs make
 * the same one at once.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { HutchError } from "./errors.ts";
import { FileLock } from "./file_lock.ts";

/** Whether a path exists; what else goes wrong is thrown. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Makes a private folder, and those above it; one that is removed in that very moment once more. */
export async function makeFolder(path: string): Promise<void> {
  for (;;) {
    try {
      return await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    } catch (error) {
      // It was there already, and wasn't any more when it was looked at.
      if (!(error instanceof Deno.errors.AlreadyExists) || await isOther(path)) throw error;
    }
  }
}

/** Whether something is there that is no folder. */
async function isOther(path: string): Promise<boolean> {
  try {
    return !(await Deno.lstat(path)).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Removes a file or folder; that it isn't there is fine. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** {@link removeIfThere} for what goes in a moment: a socket, an empty folder. */
export function removeIfThereSync(path: string): void {
  if (!existsSync(path)) return; // an error would take longer
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * Makes a file once: under a lock beside it, into a temporary name, synced, then renamed. Returns
 * at once when the file is there. Left-overs of makers that died are removed by the next one.
 *
 * @param path The finished file.
 * @param make Writes the file whose path it gets; that path doesn't exist yet.
 * @throws HutchError `no_space` when the disk is full; else what `make` throws. Nothing is left.
 */
export async function makeOnce(path: string, make: (path: string) => Promise<void>): Promise<void> {
  if (await exists(path)) return;
  using _lock = await FileLock.acquire(`${path}.lock`);
  if (await exists(path)) return; // somebody else was faster
  const temporary = `${path}.new`;
  try {
    await removeIfThere(temporary); // of a maker that died: we hold the lock
    await make(temporary);
    await syncPath(temporary);
    await Deno.rename(temporary, path);
    await syncPath(dirname(path));
  } catch (error) {
    await removeIfThere(temporary);
    throw asNoSpace(error, path);
  }
}

/**
 * Writes a small file so that readers see the old content or the new, never a part.
 *
 * @param options `durable`: the file survives a crash of the host too, as one or the other; costs two
 * trips to the disk. Without it, it may be empty then. @default {false}
 */
export async function writeAtomically(
  path: string,
  content: string | Uint8Array,
  { durable = false }: { readonly durable?: boolean } = {},
): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
  try {
    if (typeof content === "string") await Deno.writeTextFile(temporary, content, { mode: 0o600 });
    else await Deno.writeFile(temporary, content, { mode: 0o600 });
    if (durable) await syncPath(temporary);
    await Deno.rename(temporary, path);
    if (durable) await syncPath(dirname(path));
  } catch (error) {
    await removeIfThere(temporary);
    throw asNoSpace(error, path);
  }
}

/** Brings a file, or what is in a folder, to the disk. */
export async function syncPath(path: string): Promise<void> {
  using file = await Deno.open(path);
  await file.sync();
}

/** Turns "no space left on device" into a `no_space` error; leaves the rest alone. */
export function asNoSpace(error: unknown, path: string): unknown {
  if (!isNoSpace(error)) return error;
  return new HutchError("no_space", `Cannot write ${path}: no space is left on its disk`, {
    cause: error,
    hint: "free some room there, or choose another home with HUTCH_HOME",
  });
}

/** Whether a thrown value says that a disk is full or a quota used up. */
export function isNoSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT" ||
    /os error (28|122)\)/.test(error.message);
}

/** Bytes between two turns of {@link EarlySync}. */
const SYNC_EVERY = 32 * 2 ** 20;

/**
 * Has what a large file got so far brought to the disk while more is written: then the sync at its end,
 * which alone says that all is there, has little left to do.
 */
export class EarlySync implements AsyncDisposable {
  readonly #path: string;
  /** One of its own: a file's writes would wait for its syncs. */
  #file: Deno.FsFile | undefined;
  #running: Promise<void> | undefined;
  #bytes = 0;

  /** Does nothing yet. */
  constructor(path: string) {
    this.#path = path;
  }

  /** So much more was written. */
  wrote(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < SYNC_EVERY || this.#running) return;
    this.#bytes = 0;
    // What goes wrong here, the sync at the end is told of as well.
    this.#running = this.#sync().catch(() => {}).finally(() => this.#running = undefined);
  }

  /** Waits for what runs, and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running;
    this.#file?.close();
    this.#file = undefined;
  }

  async #sync(): Promise<void> {
    this.#file ??= await Deno.open(this.#path, { write: true });
    await this.#file.syncData();
  }
}
