/**
 * What a box process has in the file system from its beginning to its end, see `ffi/life/life.h`.
 *
 * @module
 */
import { BoxLibrary } from "./box_library.ts";

const EWOULDBLOCK = Deno.build.os === "linux" ? 11 : 35;

/** The life of a box process, which others see by a lock. The lock ends with the process, however it ends. */
export class BoxLife implements Disposable {
  readonly #library: BoxLibrary;
  readonly #lock: string;
  #fd: number | undefined;

  private constructor(library: BoxLibrary, lock: string, fd: number) {
    this.#library = library;
    this.#lock = lock;
    this.#fd = fd;
  }

  /**
   * Takes the lock, and removes what one that had it before may have left.
   *
   * @param library The library's file.
   * @param lock The lock's file; made where it isn't there, and removed at the end.
   * @param stale A file.
   * @returns Undefined while somebody else has the lock.
   * @throws Error when either can't be done.
   */
  static begin(library: string, lock: string, stale: string): BoxLife | undefined {
    const opened = new BoxLibrary(library);
    const fd = opened.symbols.hutch_life_begin(cString(lock), cString(stale));
    if (fd >= 0) return new BoxLife(opened, lock, fd);
    opened[Symbol.dispose]();
    if (fd === -EWOULDBLOCK) return undefined;
    throw new Error(`${lock} can't be locked, or ${stale} removed: errno ${-fd}`);
  }

  /**
   * Removes files, some of which may not be there.
   *
   * @throws Error when there are some that can't be removed; all others are.
   */
  remove(paths: readonly string[]): void {
    const list = paths.map((path) => `${path}\0`).join("");
    const result = this.#library.symbols.hutch_life_remove(cString(list));
    if (result < 0) {
      throw new Error(`not all of ${paths.join(", ")} can be removed: errno ${-result}`);
    }
  }

  /** Lets go of the lock; idempotent. */
  [Symbol.dispose](): void {
    if (this.#fd === undefined) return;
    this.#library.symbols.hutch_life_end(this.#fd, cString(this.#lock));
    this.#fd = undefined;
    this.#library[Symbol.dispose]();
  }
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
