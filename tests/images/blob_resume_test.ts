import assert from "node:assert/strict";
import { join } from "node:path";
import type { BlobOpener } from "../../src/images/pull/download.ts";
import { digestOf } from "../../src/images/digest.ts";
import { rejects } from "../support/rejects.ts";
import { BYTES, DIGEST, FOREVER, HEX, serving, streamOf, TempStore } from "./blob_setting.ts";

Deno.test("BlobStore.ingest goes on where a download broke", async () => {
  await using temp = new TempStore();
  const offsets: number[] = [];
  const open: BlobOpener = ({ offset }) => {
    offsets.push(offset);
    const rest = BYTES.subarray(offset, offset + 1_100_000);
    const error = offset + rest.length < BYTES.length ? new Error("reset") : undefined;
    return Promise.resolve({ start: offset, body: streamOf(rest, error) });
  };
  await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  assert.deepEqual(offsets, [0, 1_100_000, 2_200_000]);
  assert.deepEqual(await temp.store.read(DIGEST), BYTES);
});

/** Gives so many bytes with each answer, and then breaks. */
function dripping(bytes: Uint8Array<ArrayBuffer>, piece: number) {
  const offsets: number[] = [];
  const open: BlobOpener = ({ offset }) => {
    offsets.push(offset);
    const rest = bytes.subarray(offset, offset + piece);
    return Promise.resolve({ start: offset, body: streamOf(rest, new Error("reset")) });
  };
  return { open, offsets };
}

Deno.test("BlobStore.ingest goes on after any number of breaks that bring it further", async () => {
  await using temp = new TempStore();
  const bytes = new Uint8Array(60 * 256 * 1024);
  const { open, offsets } = dripping(bytes, 256 * 1024);
  await temp.store.ingest(digestOf(bytes), bytes.length, open, { signal: FOREVER });
  assert.equal(offsets.length, 60);
});

Deno.test("BlobStore.ingest gives up a source that drips, and goes on there later", async () => {
  await using temp = new TempStore();
  const { open, offsets } = dripping(BYTES, 1000);
  const ingest = temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  await rejects(ingest, "registry_failed", /broke after 51000 of 3000000 bytes: reset/);
  assert.equal(offsets.length, 51);
  const whole = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, whole.open, { signal: FOREVER });
  assert.deepEqual(whole.offsets, [51_000]);
});

Deno.test("BlobStore.ingest goes on after an end that came too early", async () => {
  await using temp = new TempStore();
  const offsets: number[] = [];
  const open: BlobOpener = ({ offset }) => {
    offsets.push(offset);
    return Promise.resolve({ start: offset, body: streamOf(BYTES.subarray(offset, 2_000_000)) });
  };
  const cut: BlobOpener = (options) => offsets.length < 2 ? open(options) : whole.open(options);
  const whole = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, cut, { signal: FOREVER });
  assert.deepEqual([...offsets, ...whole.offsets], [0, 2_000_000, 2_000_000]);
});

for (const left of [BYTES.toReversed(), BYTES.map((byte) => byte ^ 1).slice(0, 1_000_000)]) {
  Deno.test(`BlobStore.ingest starts over when ${left.length} left-over bytes turn out wrong`, async () => {
    await using temp = new TempStore();
    await Deno.mkdir(join(temp.path, "partial"), { recursive: true });
    await Deno.writeFile(join(temp.path, "partial", HEX), left);
    const { open, offsets } = serving(BYTES);
    await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
    assert.deepEqual(offsets, left.length === BYTES.length ? [0] : [left.length, 0]);
    assert.deepEqual(await temp.store.read(DIGEST), BYTES);
  });
}

Deno.test("BlobStore.ingest that starts over goes on after breaks too", async () => {
  await using temp = new TempStore();
  await Deno.mkdir(join(temp.path, "partial"), { recursive: true });
  await Deno.writeFile(join(temp.path, "partial", HEX), BYTES.toReversed());
  const offsets: number[] = [];
  const open: BlobOpener = ({ offset }) => {
    offsets.push(offset);
    const rest = BYTES.subarray(offset, offset + 400_000);
    const error = offset + rest.length < BYTES.length ? new Error("reset") : undefined;
    return Promise.resolve({ start: offset, body: streamOf(rest, error) });
  };
  await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  assert.deepEqual(offsets, [0, 4, 8, 12, 16, 20, 24, 28].map((n) => n * 100_000));
});

Deno.test("BlobStore.ingest starts over once, and then a wrong blob is wrong", async () => {
  await using temp = new TempStore();
  const wrong = BYTES.map((byte) => byte ^ 1);
  const offsets: number[] = [];
  const open: BlobOpener = ({ offset }) => {
    offsets.push(offset);
    const broken = offset === 0 ? new Error("reset") : undefined;
    const rest = wrong.slice(offset, broken ? 2_000_000 : undefined);
    return Promise.resolve({ start: offset, body: streamOf(rest, broken) });
  };
  const ingest = temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  await rejects(ingest, "digest_mismatch", /its bytes have/);
  assert.deepEqual(offsets, [0, 2_000_000, 0, 2_000_000]);
  assert.deepEqual(temp.files(), []);
});

Deno.test("BlobStore.ingest that is cancelled at once keeps what was left", async () => {
  await using temp = new TempStore();
  await Deno.mkdir(join(temp.path, "partial"), { recursive: true });
  await Deno.writeFile(join(temp.path, "partial", HEX), BYTES.subarray(0, 1_234_567));
  const cancel = new AbortController();
  const ingest = temp.store.ingest(DIGEST, BYTES.length, serving(BYTES).open, {
    signal: cancel.signal,
    onProgress: () => cancel.abort(), // while the left-over is being read
  });
  await rejects(ingest, "cancelled", /cancelled/);
  assert.equal((await Deno.stat(join(temp.path, "partial", HEX))).size, 1_234_567);
});

Deno.test("BlobStore.ingest doesn't wait for a source that doesn't notice the cancelling", async () => {
  await using temp = new TempStore();
  const cancel = new AbortController();
  const answer = Promise.withResolvers<Awaited<ReturnType<BlobOpener>>>();
  const asked = Promise.withResolvers<void>();
  const ingest = temp.store.ingest(DIGEST, BYTES.length, () => {
    asked.resolve();
    return answer.promise;
  }, { signal: cancel.signal });
  await asked.promise;
  cancel.abort();
  await rejects(ingest, "cancelled", /cancelled/);
  assert.deepEqual(temp.files(), []);
  // What it answers after all is ended.
  const ended = Promise.withResolvers<void>();
  answer.resolve({ start: 0, body: new ReadableStream({ cancel: () => ended.resolve() }) });
  await ended.promise;
});

Deno.test("BlobStore.ingest starts over when the source can't go on", async () => {
  await using temp = new TempStore();
  let opened = 0;
  const open: BlobOpener = () => {
    const body = opened++ === 0
      ? streamOf(BYTES.subarray(0, 2_000_000), new Error("reset"))
      : streamOf(BYTES);
    return Promise.resolve({ start: 0, body });
  };
  await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  assert.equal(opened, 2);
  assert.deepEqual(await temp.store.read(DIGEST), BYTES);
});

Deno.test("BlobStore.ingest gives up a download that always breaks at the same place", async () => {
  await using temp = new TempStore();
  let opened = 0;
  const open: BlobOpener = ({ offset }) => {
    opened++;
    return Promise.resolve({
      start: offset,
      body: streamOf(BYTES.subarray(offset, 500_000), new Error("reset")),
    });
  };
  const ingest = temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  await rejects(ingest, "registry_failed", /broke after 500000 of 3000000 bytes: reset/);
  assert.equal(opened, 4);
  assert.deepEqual(temp.files(), [`partial/${HEX}`]);
  const { open: good, offsets } = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, good, { signal: FOREVER });
  assert.deepEqual(offsets, [500_000]);
});

Deno.test("BlobStore.ingest refuses a stream that begins elsewhere", async () => {
  await using temp = new TempStore();
  const open: BlobOpener = () => Promise.resolve({ start: 7, body: streamOf(BYTES.subarray(7)) });
  const ingest = temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  await rejects(ingest, "registry_failed", /goes on at byte 7/);
  assert.deepEqual(temp.files(), []);
});

Deno.test("BlobStore.ingest goes on with what a program that died left", async () => {
  await using temp = new TempStore();
  await Deno.mkdir(join(temp.path, "partial"), { recursive: true });
  await Deno.writeFile(join(temp.path, "partial", HEX), BYTES.subarray(0, 1_234_567));
  await Deno.writeFile(join(temp.path, "partial", `${HEX}.lock`), new Uint8Array());
  const { open, offsets } = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  assert.deepEqual(offsets, [1_234_567]);
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
});

Deno.test("BlobStore.ingest finishes a complete left-over without asking the source", async () => {
  await using temp = new TempStore();
  await Deno.mkdir(join(temp.path, "partial"), { recursive: true });
  await Deno.writeFile(join(temp.path, "partial", HEX), BYTES);
  const { open, offsets } = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  assert.deepEqual(offsets, []);
});

Deno.test("BlobStore.ingest throws away a left-over that is too long", async () => {
  await using temp = new TempStore();
  await Deno.mkdir(join(temp.path, "partial"), { recursive: true });
  await Deno.writeFile(join(temp.path, "partial", HEX), new Uint8Array(BYTES.length + 1));
  const { open, offsets } = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
  assert.deepEqual(offsets, [0]);
});

Deno.test("BlobStore.ingest replaces a blob file of the wrong size", async () => {
  await using temp = new TempStore();
  await Deno.mkdir(join(temp.path, "blobs"), { recursive: true });
  await Deno.writeFile(join(temp.path, "blobs", HEX), BYTES.subarray(1));
  await temp.store.ingest(DIGEST, BYTES.length, serving(BYTES).open, { signal: FOREVER });
  assert.deepEqual(await temp.store.read(DIGEST), BYTES);
});

Deno.test("BlobStore.ingest keeps what it has when it is cancelled, and goes on later", async () => {
  await using temp = new TempStore();
  const cancel = new AbortController();
  let ended = false;
  const open: BlobOpener = () => {
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => controller.enqueue(BYTES.slice(0, 400_000)), // and then nothing
      cancel: () => void (ended = true),
    });
    return Promise.resolve({ start: 0, body });
  };
  const ingest = temp.store.ingest(DIGEST, BYTES.length, open, {
    signal: cancel.signal,
    onProgress: () => cancel.abort(),
  });
  await rejects(ingest, "cancelled", /cancelled/);
  assert.equal(ended, true);
  assert.deepEqual(temp.files(), [`partial/${HEX}`]);
  const { open: good, offsets } = serving(BYTES);
  await temp.store.ingest(DIGEST, BYTES.length, good, { signal: FOREVER });
  assert.deepEqual(offsets, [400_000]);
});
