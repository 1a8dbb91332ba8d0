import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { readExt4 } from "../support/ext4.ts";
import {
  describedImage,
  FakeRegistry,
  type MemoryImage,
  memoryImage,
  someBytes,
} from "../support/fake_registry.ts";
import { filesIn, imageStore } from "../support/image_store.ts";
import "../support/native.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";

const PROGRAM = fileURLToPath(new URL("./pull_memory_process.ts", import.meta.url));
const MIB = 1024 * 1024;
/** Layers that come at once, and what they have in all; `PULL_MIB` makes it more. */
const LAYERS = 4;
const ALL_MIB = Number(Deno.env.get("PULL_MIB") ?? 160);

for (const parallel of [1, 4, 7]) {
  Deno.test(`ImageStore.pull fetches ${parallel} of an image's 40 layers at once, and no more`, async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    const image = memoryImage(Array.from({ length: 40 }, (_, seed) => someBytes(500, seed)));
    registry.addImage("a/b:1", image);
    let open = 0;
    let most = 0;
    const full = Promise.withResolvers<void>();
    const timer = setTimeout(full.resolve, 10_000); // where fewer are fetched at once
    registry.misbehave = async (_, url) => {
      if (!image.layers.some((digest) => url.pathname.endsWith(digest))) return undefined;
      most = Math.max(most, ++open);
      if (open === parallel) full.resolve();
      await full.promise;
      await new Promise((resolve) => setTimeout(resolve, 1)); // for those that are too many
      open--;
      return undefined;
    };
    await imageStore(home.path, { parallelDownloads: parallel }).pull(`${registry.host}/a/b:1`);
    clearTimeout(timer);
    assert.equal(most, parallel);
  });
}

Deno.test("ImageStore refuses a number of layers at once that is none", () => {
  for (const parallelDownloads of [0, -1, 1.5, 33, NaN]) {
    assert.throws(() => imageStore("/nowhere", { parallelDownloads }), { code: "invalid_option" });
  }
});

const tools = needs("debugfs", "e2fsck");

Deno.test({
  name: `ImageStore.pull takes 127 layers, empty ones, and the same one again${tools.note}`,
  ignore: tools.ignore,
  async fn() {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    const names = Array.from({ length: 120 }, (_, index) => `file-${index}`);
    const first = writeTar({ path: "first", data: "first\n" });
    const image = memoryImage([
      new Uint8Array(),
      first,
      ...names.map((path, index) => writeTar({ path, data: `${index}\n` })),
      new Uint8Array(),
      writeTar(),
      writeTar({ path: ".wh.first" }, { path: ".wh.file-7" }),
      first,
      writeTar({ path: "last", data: "last\n" }),
    ]);
    assert.equal(image.layers.length, 127);
    registry.addImage("a/b:1", image);
    const store = imageStore(home.path, { build: buildBaseDisk });
    const { digest, layers } = await store.pull(`${registry.host}/a/b:1`);
    assert.equal(layers.length, 127);
    const blobs = registry.paths.filter((path) => path.includes("/blobs/"));
    assert.equal(blobs.length, new Set(blobs).size, "a blob was fetched twice");
    const found = await readExt4(await store.baseDisk(digest));
    const wanted = [...names.filter((name) => name !== "file-7"), "first", "last"];
    const paths = [...found.keys()].filter((path) => path !== "" && path !== "lost+found");
    assert.deepEqual(paths.sort(), wanted.sort());
    assert.equal(found.get("first")?.content, "first\n");
    assert.ok(filesIn(home.path)[`blobs/sha256/${digestHex(digestOf(new Uint8Array()))}`] === 0);
  },
});

Deno.test(`ImageStore.pull of ${ALL_MIB} MiB needs hardly more memory than one of a few`, async () => {
  const small = await peakOf(1);
  const large = await peakOf(ALL_MIB / LAYERS);
  const more = Math.round((large - small) / MIB);
  assert.ok(more <= 128, `${more} MiB more, of ${Math.round(large / MIB)} MiB`);
  assert.ok(large <= 256 * MIB, `${Math.round(large / MIB)} MiB`);
});

/** The memory that a program had at most which pulled layers of this size. */
async function peakOf(mib: number): Promise<number> {
  await using home = new TempFolder();
  await using registry = new FakeRegistry();
  const image = largeImage(mib);
  registry.addImage("a/b:1", image.image);
  registry.misbehave = (_, url) => {
    const seed = image.seeds.get(/\/blobs\/(.*)$/.exec(url.pathname)?.[1] ?? "");
    if (seed === undefined) return undefined;
    return new Response(ReadableStream.from(pieces(seed, mib)), {
      headers: { "content-length": String(mib * MIB) },
    });
  };
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", PROGRAM, home.path, `${registry.host}/a/b:1`],
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return Number(new TextDecoder().decode(stdout));
}

/** An image of {@link LAYERS} layers, whose bytes are made when they are asked for. */
function largeImage(mib: number): { image: MemoryImage; seeds: ReadonlyMap<string, number> } {
  const seeds = new Map<string, number>();
  for (let seed = 1; seed <= LAYERS; seed++) {
    const hash = createHash("sha256");
    for (const piece of pieces(seed, mib)) hash.update(piece);
    seeds.set(`sha256:${hash.digest("hex")}`, seed);
  }
  const layers = [...seeds.keys()].map((digest) => ({ digest, size: mib * MIB }));
  return { image: describedImage(layers), seeds };
}

function* pieces(seed: number, mib: number): Generator<Uint8Array<ArrayBuffer>> {
  const piece = someBytes(MIB, seed);
  for (let count = 0; count < mib; count++) yield piece;
}
