/**
 * File locks, which the kernel takes away from the dead. A module of its own, and without imports:
 * every box process loads it.
 *
 * @module
 */

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
      const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
      try {
        await file.lock(true);
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

  /** Lets go; idempotent. */
  [Symbol.dispose](): void {
    if (!this.#file) return;
    try {
      Deno.removeSync(this.#path);
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
