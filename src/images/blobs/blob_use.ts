/**
 * Who counts on blobs that no record names yet.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { asNoSpace, removeIfThere } from "../../atomic_file.ts";
import { cancelled, sleep } from "../wait.ts";

const PAUSE_MS = 30;

/**
 * Holds the folder of blobs for a pull, shared with others, or alone for whoever removes some of them;
 * until disposed, or the program ends. The lock is on the folder itself, so it leaves no file.
 *
 * A pull that knows which blobs it needs names them, in a file that it keeps locked, and lets go of the
 * folder: then others may remove blobs, but not those.
 */
export class BlobUse implements Disposable {
  readonly #path: string;
  readonly #folder: Deno.FsFile;
  #names: { readonly path: string; readonly file: Deno.FsFile } | undefined;

  private constructor(path: string, folder: Deno.FsFile) {
    this.#path = path;
    this.#folder = folder;
  }

  /**
   * For a pull: from now on nobody removes a finished blob. Waits while somebody does.
   *
   * @throws {HutchError} `cancelled`
   */
  static async share(path: string, signal: AbortSignal): Promise<BlobUse> {
    for (;;) {
      if (signal.aborted) throw cancelled("wait for another program", signal);
      const use = BlobUse.#take(path, false);
      if (use) return use;
      await sleep(PAUSE_MS, signal);
    }
  }

  /** For whoever removes blobs: undefined while anybody holds the folder. */
  static alone(path: string): BlobUse | undefined {
    return BlobUse.#take(path, true);
  }

  /**
   * Counts on these alone from now on, by digest; also on the records of images that are named so.
   * Once only, while the folder is held.
   *
   * @throws {HutchError} `no_space`
   */
  name(digests: Iterable<string>): void {
    if (this.#names) throw new Error("Cannot name blobs: they are named already");
    const folder = namesFolder(this.#path);
    try {
      Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
      const path = join(folder, `${crypto.randomUUID()}.json`);
      const file = Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
      this.#names = { path, file };
      file.lockSync(true);
      Deno.writeTextFileSync(path, JSON.stringify([...digests]));
    } catch (error) {
      throw asNoSpace(error, folder);
    }
    this.#folder.unlockSync();
  }

  /**
   * Makes a pull's use one that is alone, if nobody else holds the folder; says whether it did. If not,
   * it is no use any more, but for what it has named.
   */
  becomeAlone(): boolean {
    return this.#folder.tryLockSync(true);
  }

  /** What others count on, for whoever is alone. What programs that died have named is forgotten. */
  async namedByOthers(): Promise<ReadonlySet<string>> {
    const named = new Set<string>();
    const folder = namesFolder(this.#path);
    for (const name of await namesIn(folder)) {
      const path = join(folder, name);
      if (path === this.#names?.path) continue;
      for (const digest of await readNames(path)) named.add(digest);
    }
    return named;
  }

  /** Lets go. */
  [Symbol.dispose](): void {
    const names = this.#names;
    this.#names = undefined;
    if (names) {
      try {
        Deno.removeSync(names.path);
      } catch {
        // Whoever reads it next sees that nobody holds it.
      }
      names.file.close();
    }
    this.#folder.close();
  }

  static #take(path: string, alone: boolean): BlobUse | undefined {
    const folder = Deno.openSync(path);
    try {
      if (folder.tryLockSync(alone)) return new BlobUse(path, folder);
    } catch (error) {
      folder.close();
      throw error;
    }
    folder.close();
    return undefined;
  }
}

function namesFolder(blobs: string): string {
  return join(dirname(blobs), "uses");
}

/** What a file lists; nothing when nobody holds it any more. */
async function readNames(path: string): Promise<readonly string[]> {
  try {
    using file = await Deno.open(path, { read: true, write: true });
    if (!file.tryLockSync(true)) return JSON.parse(await Deno.readTextFile(path));
    await removeIfThere(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // let go meanwhile
  }
  return [];
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
