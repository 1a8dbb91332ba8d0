/**
 * Who has a home open: every runtime shares its lock, a repair has it alone.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { lockHolders } from "../lock_holders.ts";

/** Holds a home's lock until disposed of. The lock is on the folder itself, so it leaves no file. */
export class HomeLock implements Disposable {
  readonly #folder: Deno.FsFile;

  private constructor(folder: Deno.FsFile) {
    this.#folder = folder;
  }

  /**
   * For a runtime.
   *
   * @throws HutchError `home_unusable` while it is being repaired.
   */
  static share(home: string): HomeLock {
    const lock = HomeLock.#take(home, false);
    if (lock) return lock;
    throw new HutchError("home_unusable", `Cannot use home ${home}: it is being repaired`, {
      hint: "try again when the repair is over",
    });
  }

  /**
   * For a repair.
   *
   * @throws HutchError `home_unusable` while any program has it open.
   */
  static own(home: string): HomeLock {
    const lock = HomeLock.#take(home, true);
    if (lock) return lock;
    const pids = lockHolders(home).filter((pid) => pid !== Deno.pid);
    const who = pids.length > 0 ? ` (process ${pids.join(", ")})` : "";
    throw new HutchError(
      "home_unusable",
      `Cannot repair home ${home}: a program has it open${who}`,
      { hint: "end the programs that use it; boxes may go on" },
    );
  }

  static #take(home: string, alone: boolean): HomeLock | undefined {
    const folder = Deno.openSync(home);
    try {
      if (folder.tryLockSync(alone)) return new HomeLock(folder);
    } catch (error) {
      folder.close();
      throw error;
    }
    folder.close();
    return undefined;
  }

  /** Lets go. */
  [Symbol.dispose](): void {
    this.#folder.close();
  }
}
