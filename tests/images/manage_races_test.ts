/** Programs that pull, use and remove images of one home at once. */
import assert from "node:assert/strict";
import { fc } from "../deps.ts";
import { HutchError } from "../../src/errors.ts";
import type { ImageRecord } from "../../src/images/records.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { ManagedImages } from "../support/managed_images.ts";
import { TempFolder } from "../support/temp.ts";

/** Other ones with `RACE_SEED`. */
const SEED = Number(Deno.env.get("RACE_SEED") ?? 1);
const SHARED = someBytes(30_000, 1);
const IMAGES = [
  memoryImage([SHARED, someBytes(20_000, 2)]),
  memoryImage([SHARED, someBytes(1_000, 3)]),
];
const DEEDS = [
  "box",
  "box",
  "unbox",
  "remove",
  "force",
  "prune",
  "prune all",
  "pull",
  "tag",
  "save",
];
/** What may come of a deed that another one crosses. */
const CROSSED = new Set(["image_in_use", "image_not_found"]);
const FOREVER = new AbortController().signal;

type Deed = readonly [what: string, which: number];

/** One program's deeds, each with an image. */
async function play(images: ManagedImages, deeds: readonly Deed[], host: string): Promise<void> {
  const { manager, store } = images;
  let boxes: string[] = [];
  for (const [at, [what, which]] of deeds.entries()) {
    const name = `${host}/a/x${which}:1`;
    try {
      if (what === "pull") await store.pull(name);
      if (what === "tag") await manager.tag(name, `mine:${which}`);
      if (what === "remove") await manager.remove(name);
      if (what === "force") await manager.remove(name, { force: true });
      if (what === "prune") await manager.prune();
      if (what === "prune all") await manager.prune({ all: true });
      if (what === "save") await manager.save([name], { to: new WritableStream() });
      if (what === "box") boxes.push(await makeBox(images, name, `${at}-${crypto.randomUUID()}`));
      if (what === "unbox") {
        const [first, ...rest] = boxes;
        boxes = rest;
        if (first !== undefined) images.boxes.remove(first);
      }
    } catch (error) {
      if (!(error instanceof HutchError && CROSSED.has(error.code))) throw error;
    }
    await checkBoxes(images, what);
  }
}

/** As a runtime makes one. */
async function makeBox(images: ManagedImages, name: string, box: string): Promise<string> {
  for (;;) {
    const image = await images.store.resolve(name);
    using held = await images.store.hold(image, FOREVER);
    if (held) return images.addBox(box, image);
  }
}

/** Whatever happens, a box has its image: its record, and all that it is made of. */
async function checkBoxes({ boxes, ledger, store }: ManagedImages, after: string): Promise<void> {
  for (const { config } of boxes.list()) {
    const record: ImageRecord | undefined = ledger.getByDigest(config.image.digest);
    const still = () => boxes.byId(config.id) !== undefined;
    assert.ok(record || !still(), `a box has lost its image's record after ${after}`);
    for (const { digest, size } of record?.layers ?? []) {
      const there = await store.blobs.has(digest, size);
      assert.ok(there || !still(), `a box has lost a layer after ${after}`);
    }
  }
}

Deno.test("ImageManager keeps every box's image whole, whatever programs do at once", async () => {
  const deed = fc.tuple(fc.constantFrom(...DEEDS), fc.nat(IMAGES.length - 1));
  const programs = fc.array(fc.array(deed, { minLength: 10, maxLength: 25 }), {
    minLength: 3,
    maxLength: 3,
  });
  for (const lists of fc.sample(programs, { seed: SEED, numRuns: 5 })) {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    IMAGES.forEach((image, at) => registry.addImage(`a/x${at}:1`, image));
    await using stack = new AsyncDisposableStack();
    const all = lists.map(() => stack.use(new ManagedImages(home.path)));
    await Promise.all(lists.map((deeds, at) => {
      const images = all[at];
      assert.ok(images);
      return play(images, deeds, registry.host);
    }));
    const [images] = all;
    assert.ok(images);
    await checkBoxes(images, "all");
    // Nothing is left when nobody needs anything.
    for (const { config } of images.boxes.list()) images.boxes.remove(config.id);
    await images.manager.prune({ all: true });
    const left = images.files().filter((path) => !path.startsWith("blobs/partial/"));
    assert.deepEqual(left, []);
  }
});
