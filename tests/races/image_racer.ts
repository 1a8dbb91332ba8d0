/**
 * A program that does random things to two images of a home, while others do so too: `image_racer.ts
 * HOME REFERENCE REFERENCE SEED STEPS`. Each has to work, or to find no image since somebody else has
 * removed it; what it holds has to be whole. Prints how often each worked.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import { digestOf } from "../../src/images/digest.ts";
import { referredBlobs } from "../../src/images/blobs/referred_blobs.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { openDatabase } from "../../src/state/database.ts";
import { ImageTable } from "../../src/state/images.ts";
import { fc } from "../deps.ts";
import { imageManager, imageStore } from "../support/image_store.ts";
import "../support/native.ts";

/** What may become of a deed when another program does one at the same time. */
const RACED = ["image_not_found", "image_in_use"];

const [home = "", one = "", two = "", seed = "1", steps = "20"] = Deno.args;
const database = openDatabase(join(home, "state.db"));
const ledger = new ImageTable(database);
const store = imageStore(home, { records: ledger, build: buildBaseDisk });
const manager = imageManager(home, store, ledger);

const DEEDS: Readonly<Record<string, (reference: string) => Promise<unknown>>> = {
  pull: (reference) => store.pull(reference),
  disk: (reference) => store.pull(reference, { disk: true }),
  hold: (reference) => holdAndLook(reference),
  cancel: (reference) => cancelled(reference),
  tag: (reference) => manager.tag(reference, `${reference}-again`),
  untag: (reference) => manager.remove(`${reference}-again`),
  remove: (reference) => manager.remove(reference),
  force: (reference) => manager.remove(reference, { force: true }),
  prune: () => manager.prune(),
  empty: () => manager.prune({ all: true }),
};

const moves = fc.sample(
  fc.record({
    reference: fc.constantFrom(one, two),
    deed: fc.constantFrom("pull", "disk", "hold", "hold", ...Object.keys(DEEDS)),
  }),
  { seed: Number(seed), numRuns: Number(steps) },
);
const worked: Record<string, number> = {};
for (const { reference, deed } of moves) {
  console.error(`${deed} ${reference}`);
  try {
    await DEEDS[deed]?.(reference);
    worked[deed] = (worked[deed] ?? 0) + 1;
  } catch (error) {
    if (!(error instanceof HutchError) || !RACED.includes(error.code)) throw error;
    console.error(`  ${error.message}`);
  }
}
database.close();
console.log(JSON.stringify(worked));

/** What is held is here until it is let go, whatever others remove. */
async function holdAndLook(reference: string): Promise<void> {
  const record = ledger.get(`registry:${reference}`);
  const signal = new AbortController().signal;
  using held = record && await store.hold(record, signal);
  if (!record || !held) throw new HutchError("image_not_found", "it isn't here");
  const path = await store.baseDisk(record.digest);
  const disk = digestOf(await Deno.readFile(path));
  await new Promise((resolve) => setTimeout(resolve, 20));
  const digests = await referredBlobs([record], store.blobs);
  assert.equal(digests.size, record.layers.length + 2, "its configuration isn't known");
  for (const digest of digests) {
    assert.equal(digestOf(await Deno.readFile(store.blobs.path(digest))), digest);
  }
  assert.equal(digestOf(await Deno.readFile(path)), disk);
}

async function cancelled(reference: string): Promise<void> {
  try {
    await store.pull(reference, { disk: true, signal: AbortSignal.timeout(15) });
  } catch (error) {
    if (!(error instanceof HutchError) || error.code !== "cancelled") throw error;
  }
}
