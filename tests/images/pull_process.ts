/**
 * A program that pulls an image and makes its base disk: `pull_process.ts HOME REFERENCE [hang]`, or,
 * with `hang`, only a half of it. Prints each event as a line of JSON, and `{"type":"failed","code":…}`
 * when it fails.
 *
 * @module
 */
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import type { BaseDiskRequest } from "../../src/images/base_disk/base_disks.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { openDatabase } from "../../src/state/database.ts";
import { ImageTable } from "../../src/state/images.ts";
import { imageStore } from "../support/image_store.ts";

const [home = "", reference = "", hang] = Deno.args;
const database = openDatabase(join(home, "state.db"));
const store = imageStore(home, {
  records: new ImageTable(database),
  build: hang === undefined ? buildBaseDisk : buildHalf,
});
const tell = (event: unknown) => console.log(JSON.stringify(event));
try {
  await store.pull(reference, { disk: true, onProgress: tell });
} catch (error) {
  if (!(error instanceof HutchError)) throw error;
  tell({ type: "failed", code: error.code });
} finally {
  database.close();
}

async function buildHalf({ output, onProgress }: BaseDiskRequest): Promise<never> {
  await Deno.writeTextFile(output, "a half");
  onProgress?.(1);
  // A timer, since a program that waits for nothing ends.
  return await new Promise(() => setInterval(() => {}, 1000));
}
