/**
 * `hutch rmi`, `hutch image rm`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { RemovedImage } from "../images/manage/remove.ts";
import type { Invocation } from "./command.ts";
import { eachWord } from "./each_word.ts";
import { formatBytes, printable, shortReference } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";

interface Flags {
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE...")
    .argument("<IMAGE...>", "names, digests or unique beginnings of digests")
    .option("-f, --force", "take all its names away, also when boxes use it: they keep the rest")
    .option("--json", "an array of what was removed");
}

/** Removes images; those that boxes use only with `--force`, which leaves the boxes what they need. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, io } = invocation;
  const { force, json } = command.opts<Flags>();
  const all: RemovedImage[] = [];
  const code = await eachWord(invocation, async ({ images }, word) => {
    const removed = await images.remove(word, { force: force === true });
    all.push(removed);
    if (!json) await print(io.stdout, formatRemoved(removed));
  });
  if (json) await printJson(io.stdout, "image rm", all);
  return code;
}

/** A line for each name that went, and one for the image. */
export function formatRemoved({ digest, references, kept, bytes }: RemovedImage): string {
  const names = references.map((each) => `Untagged: ${printable(shortReference(each))}\n`);
  const last = kept === null
    ? `Removed: ${digest} (${formatBytes(bytes)})\n`
    : `Kept: ${digest}, ${printable(kept)}\n`;
  return names.join("") + last;
}
