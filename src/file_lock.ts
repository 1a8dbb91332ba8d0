/**
 * File locks, which the kernel takes away from the dead. A box process takes its own by
 * `ffi/life/life.h`, which is the same kind.
 *
 * @module
 */

import { existsSync } from "node:fs";

/**
 * Holds a file lock (`flock`) until disposed; the lock goes with the process, however it ends.
 * The lock's file is removed with the lock.
 */
export class FileLock implements Disposable {
  readonly #path: string;
  #file: Deno.FsFile | undefined;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /** Waits for the lock. */
  static async acquire(path: string): Promise<FileLock> {
    for (;;) {
      const file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
      try {
        // Mostly it is free, and then there is nothing to wait for elsewhere.
        if (!file.tryLockSync(true)) await file.lock(true);
        // The one before us removed the file: a lock on it no longer excludes anybody.
        if (isAt(file, path)) return new FileLock(path, file);
      } catch (error) {
        file.close();
        throw error;
      }
      file.close();
    }
  }

  /** The lock, or undefined when somebody else holds it. */
  static try(path: string): FileLock | undefined {
    const file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
    try {
      if (file.tryLockSync(true) && isAt(file, path)) return new FileLock(path, file);
    } catch (error) {
      file.close();
      throw error;
    }
    file.close();
    return undefined;
  }

  /** Whether somebody holds the lock of an existing file; false when there is no such file. */
  static isHeld(path: string): boolean {
    if (!existsSync(path)) return false; // an error would take longer
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(path, { read: true, write: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
    try {
      return !file.tryLockSync(false); // shared, so that two who ask don't see each other
    } finally {
      file.close();
    }
  }

  /** Tells the file of a lock from those made after it at the same path; undefined if there is none. */
  static fileAt(path: string): string | undefined {
    try {
      return identityOf(Deno.statSync(path));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  /**
   * Waits until whoever holds the lock has let go, or died; not for those who take it after. The file
   * of a dead one is removed.
   *
   * @param known The lock's file as {@link FileLock.fileAt} told it: another one is somebody else's.
   */
  static async untilFree(
    path: string,
    known: string | undefined = FileLock.fileAt(path),
  ): Promise<void> {
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(path, { read: true, write: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    try {
      if (identityOf(file.statSync()) !== known) return;
      await file.lock(true);
      if (isAt(file, path)) Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // its folder is being removed
    } finally {
      file.close();
    }
  }

  /** Lets go; idempotent. */
  [Symbol.dispose](): void {
    if (!this.#file) return;
    try {
      // In a folder that was renamed, the path is somebody else's by now.
      if (isAt(this.#file, this.#path)) Deno.removeSync(this.#path);
    } catch {
      // Its folder was removed meanwhile, or can't be written: the lock ends all the same.
    }
    this.#file.close();
    this.#file = undefined;
  }
}

/** Whether `path` still names the opened file. */
function isAt(file: Deno.FsFile, path: string): boolean {
  try {
    const named = Deno.statSync(path);
    const opened = file.statSync();
    return named.ino === opened.ino && named.dev === opened.dev;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A number is used again as soon as its file is gone, but not at the same moment. */
function identityOf({ dev, ino, mtime }: Deno.FileInfo): string {
  return `${dev}:${ino}:${mtime?.getTime()}`;
}
