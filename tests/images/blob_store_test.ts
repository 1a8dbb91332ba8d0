import assert from "node:assert/strict";
import { join } from "node:path";
import { digestOf } from "../../src/images/digest.ts";
import { rejects } from "../support/rejects.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { BYTES, DIGEST, FOREVER, HEX, serving, TempStore } from "./blob_setting.ts";

Deno.test("BlobStore.ingest keeps a blob whose size and digest are right", async () => {
  await using temp = new TempStore();
  const { open, offsets } = serving(BYTES);
  const seen: number[] = [];
  const onProgress = (bytes: number) => void seen.push(bytes);
  assert.equal(await temp.store.has(DIGEST, BYTES.length), false);
  assert.equal(
    await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER, onProgress }),
    true,
  );
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
  assert.equal(await temp.store.has(DIGEST, BYTES.length), true);
  assert.equal(await temp.store.has(DIGEST, BYTES.length - 1), false);
  assert.deepEqual(await temp.store.read(DIGEST), BYTES);
  assert.equal(seen.at(-1), BYTES.length);
  assert.deepEqual(seen, seen.toSorted((a, b) => a - b));
  assert.equal(await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER }), false);
  assert.deepEqual(offsets, [0]);
});

Deno.test("BlobStore.ingest keeps an empty blob", async () => {
  await using temp = new TempStore();
  const empty = digestOf(new Uint8Array());
  const { open } = serving(new Uint8Array());
  assert.equal(await temp.store.ingest(empty, 0, open, { signal: FOREVER }), true);
  assert.equal(await temp.store.has(empty, 0), true);
});

const WRONG: readonly (readonly [string, Uint8Array<ArrayBuffer>, number, RegExp])[] = [
  [
    "changed",
    BYTES.map((byte, at) => at === 1_500_000 ? byte ^ 1 : byte),
    BYTES.length,
    /its bytes have/,
  ],
  ["truncated", BYTES.slice(0, -1), BYTES.length, /ended after 2999999 of 3000000/],
  ["empty", new Uint8Array(), BYTES.length, /ended after 0 of/],
  ["longer", Uint8Array.from([...BYTES, 0]), BYTES.length, /larger than the 3000000/],
  ["larger than announced", BYTES, 1000, /larger than the 1000/],
];

for (const [name, bytes, size, problem] of WRONG) {
  Deno.test(`BlobStore.ingest leaves nothing of a blob that is ${name}`, async () => {
    await using temp = new TempStore();
    const { open } = serving(bytes);
    const ingest = temp.store.ingest(DIGEST, size, open, { signal: FOREVER });
    await rejects(ingest, "digest_mismatch", problem);
    assert.deepEqual(temp.files(), []);
  });
}

const mount = needs("mount", "umount");
const rootNote = Deno.uid() === 0 ? "" : " (needs root)";

Deno.test({
  name: `BlobStore.ingest says where no space is left, and leaves nothing${mount.note || rootNote}`,
  ignore: mount.ignore || rootNote !== "",
  async fn() {
    await using folder = new TempFolder();
    await runTool("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder.path);
    try {
      await using temp = new TempStore(folder.path);
      const ingest = temp.store.ingest(DIGEST, BYTES.length, serving(BYTES).open, {
        signal: FOREVER,
      });
      await rejects(ingest, "no_space", new RegExp(`no space is left in ${folder.path}`));
      assert.deepEqual(temp.files(), []);
    } finally {
      await runTool("umount", folder.path);
    }
  },
});

Deno.test({
  name: `BlobStore.ingest says which folder can't be written${mount.note || rootNote}`,
  ignore: mount.ignore || rootNote !== "",
  async fn() {
    await using folder = new TempFolder();
    await runTool("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder.path);
    try {
      await using temp = new TempStore(folder.path);
      const ingest = temp.store.ingest(DIGEST, BYTES.length, serving(BYTES).open, {
        signal: FOREVER,
      });
      await rejects(ingest, "home_unusable", new RegExp(`${folder.path}/partial can't be written`));
    } finally {
      await runTool("umount", folder.path);
    }
  },
});

Deno.test("BlobStore.read refuses a file that was changed", async () => {
  await using temp = new TempStore();
  await temp.store.ingest(DIGEST, BYTES.length, serving(BYTES).open, { signal: FOREVER });
  assert.equal(await temp.store.removeIfChanged(DIGEST, FOREVER), false);
  await Deno.writeFile(temp.store.path(DIGEST), BYTES.toReversed());
  await rejects(temp.store.read(DIGEST), "digest_mismatch", /was changed/);
  assert.equal(await temp.store.removeIfChanged(DIGEST, FOREVER), true);
  assert.deepEqual(temp.files(), []);
  assert.equal(await temp.store.removeIfChanged(DIGEST, FOREVER), false);
});

Deno.test("BlobStore.path refuses what isn't a digest", async () => {
  await using temp = new TempStore();
  for (const text of ["", "../../x", `sha256:${"../".repeat(21)}x`, `sha512:${"0".repeat(128)}`]) {
    assert.throws(() => temp.store.path(text), /digest/);
  }
});

Deno.test("BlobStore.ingest tells bytes it checks from those it fetches", async () => {
  await using temp = new TempStore();
  await Deno.mkdir(join(temp.path, "partial"));
  await Deno.writeFile(join(temp.path, "partial", HEX), BYTES.subarray(0, 1_500_000));
  const seen: (readonly [string, number])[] = [];
  const onProgress = (bytes: number, doing: string) => void seen.push([doing, bytes]);
  const { open } = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER, onProgress });
  const order = seen.map(([doing]) => doing).filter((doing, at, all) => doing !== all[at - 1]);
  assert.deepEqual(order, ["verify", "fetch", "verify"]);
  assert.deepEqual(seen.find(([, bytes]) => bytes === 1_500_000)?.[0], "verify");
  assert.ok(seen.every(([doing, bytes]) => doing === "verify" || bytes > 1_500_000));
  assert.deepEqual(seen.at(-1), ["verify", BYTES.length]);
});
