/**
 * Checks of a box's disk by others' tools.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { TempFolder } from "./temp.ts";
import { runTool } from "./tools.ts";

/**
 * Has `qemu-img check` and `e2fsck` look at a box's disk.
 *
 * @param options `journal`: the box ran when it was copied, so its journal is to be played first.
 */
export async function checkDisk(
  home: string,
  id: string,
  { journal = false }: { readonly journal?: boolean } = {},
): Promise<void> {
  const disk = join(home, "boxes", id, "disk.qcow2");
  await runTool("qemu-img", "check", "-f", "qcow2", disk);
  await using folder = new TempFolder();
  const raw = join(folder.path, "raw");
  await runTool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw);
  if (journal) {
    const { code } = await new Deno.Command("e2fsck", { args: ["-p", raw] }).output();
    assert.ok(code <= 1, `e2fsck -p ended with ${code}`); // 1: it was mended, by its journal
  }
  await runTool("e2fsck", "-f", "-n", raw);
}
