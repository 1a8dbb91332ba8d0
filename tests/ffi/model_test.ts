import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import { fc } from "../deps.ts";
import { checkExt4, readExt4 } from "../support/ext4.ts";
import { modelOf, onlyAllowed } from "../support/layer_model.ts";
import { describeDisk, describeModel } from "../support/tree_description.ts";
import { writeImage } from "../support/layers.ts";
import { archive, type WrittenEntry } from "../support/layer_writer.ts";
import { oddLayers, randomLayers } from "../support/random_layers.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";

/** More, and other, runs than a gate has time for: `MODEL_RUNS=5000 MODEL_SEED=7 deno test …`. */
const RUNS = Number(Deno.env.get("MODEL_RUNS") ?? 40);
const SEED = Number(Deno.env.get("MODEL_SEED") ?? 1);

async function digestOf(path: string): Promise<string> {
  return createHash("sha256").update(await Deno.readFile(path)).digest("hex");
}

/** Whether the layers were allowed; fails unless the disk is what the model says. */
async function check(
  layers: readonly (readonly WrittenEntry[])[],
  pieceSize: number,
): Promise<boolean> {
  await using folder = new TempFolder(MEMORY);
  const [disk, again] = [join(folder.path, "disk"), join(folder.path, "again")];
  const tars = layers.map(archive);
  const model = modelOf(layers);
  if (!model) {
    await assert.rejects(
      writeImage(disk, tars, { pieceSize }),
      (error) => error instanceof HutchError && error.code === "invalid_image",
    );
    return false;
  }
  await writeImage(disk, tars, { pieceSize });
  await checkExt4(disk);
  assert.deepEqual(describeDisk(await readExt4(disk)), describeModel(model));
  await writeImage(again, tars);
  assert.equal(await digestOf(again), await digestOf(disk));
  return true;
}

const pieceSize = fc.oneof(fc.constant(512), fc.integer({ min: 100, max: 5000 }));

Deno.test("Ext4Image.applyLayer makes of random layers what the model does, byte by byte the same twice", async () => {
  await fc.assert(
    fc.asyncProperty(randomLayers("abcd").map(onlyAllowed), pieceSize, async (layers, size) => {
      assert.ok(await check(layers, size));
    }),
    { numRuns: RUNS, seed: SEED },
  );
});

Deno.test("Ext4Image.applyLayer refuses of random layers just those that the model refuses", async () => {
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(oddLayers("abcd"), pieceSize, async (layers, size) => {
      if (!await check(layers, size)) refused++;
    }),
    { numRuns: RUNS, seed: SEED },
  );
  assert.ok(refused > RUNS / 4 && refused < RUNS, `${refused} of ${RUNS} were refused`);
});
