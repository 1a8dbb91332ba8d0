import assert from "node:assert/strict";
import { HutchError, type ImageLimits, Runtime } from "../../mod.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";

/** Its image's disk is made, or refused, before anything is run. */
const BOX = { image: "builtin:busybox", memory: 128, engine: "qemu" } as const;

async function refused(imageLimits: ImageLimits): Promise<HutchError> {
  await using home = new TempFolder();
  const error = await (async () => {
    await using runtime = await Runtime.open({ home: home.path, imageLimits });
    await using box = await runtime.create(BOX);
    await box.start();
  })().then(() => undefined, (error) => error);
  assert.ok(error instanceof HutchError, `${error}`);
  return error;
}

Deno.test("Runtime.open takes limits of images, which hold for every disk that is made", async () => {
  const error = await refused({ maxEntries: 1 });
  assert.equal(error.code, "limit_exceeded");
  assert.match(error.message, /over 1 entries/);
});

Deno.test("Runtime.open refuses limits of images that can't be meant", async () => {
  for (const maxBytes of [0, -1, 1.5, NaN]) {
    const error = await refused({ maxBytes });
    assert.equal(error.code, "invalid_option");
    assert.match(error.message, /maxBytes .* is no positive integer/);
  }
});
