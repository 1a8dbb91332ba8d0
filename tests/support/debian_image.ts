/**
 * The small Debian that `scripts/setup test` makes, as an image.
 *
 * @module
 */
import { join } from "node:path";
import { cacheFolder } from "../../src/cache_folder.ts";
import { TempLayout } from "./layout.ts";
import { memoryImage } from "./fake_registry.ts";

/** Its files, as a tar. */
export const DEBIAN_LAYER: string = join(cacheFolder(), "tools/debian.tar");

/** For a test's `ignore` and name: whether it can't run, and what its name gets then. */
export function needsDebian(): { ignore: boolean; note: string } {
  try {
    Deno.statSync(DEBIAN_LAYER);
    return { ignore: false, note: "" };
  } catch {
    return { ignore: true, note: " (needs the Debian that scripts/setup test makes)" };
  }
}

/** A layout with the image, whose programs are busybox, SQLite's shell and apt. */
export class DebianLayout extends TempLayout {
  /** As a box is told it. */
  readonly reference = `oci:${this.path}`;

  constructor() {
    super();
    this.index(this.add(memoryImage([Deno.readFileSync(DEBIAN_LAYER)])));
  }
}
