/**
 * A home on a file system of its own, that can be full.
 *
 * @module
 */
import { join } from "node:path";
import { TempFolder } from "./temp.ts";
import { runTool } from "./tools.ts";

/** A folder with a file system in memory, as large as its options say; needs root. */
export class SmallHome implements AsyncDisposable {
  readonly #folder = new TempFolder();

  /** @param options Of a mount, such as `size=24m`. */
  static async make(options: string): Promise<SmallHome> {
    const home = new SmallHome();
    await runTool("mount", "-t", "tmpfs", "-o", options, "tmpfs", home.path);
    return home;
  }

  get path(): string {
    return this.#folder.path;
  }

  /** Gives it room for everything. */
  async grow(): Promise<void> {
    await runTool("mount", "-o", "remount,size=64m,nr_inodes=1000", this.path);
  }

  /** Takes the last byte, into a file with this name; disposing gives it back. */
  fill(name = "fill"): Disposable {
    const path = join(this.path, name);
    using file = Deno.openSync(path, { write: true, create: true });
    const block = new Uint8Array(4096);
    try {
      for (;;) file.writeSync(block);
    } catch {
      // It is full.
    }
    return { [Symbol.dispose]: () => Deno.removeSync(path) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await runTool("umount", this.path);
    await this.#folder[Symbol.asyncDispose]();
  }
}
