import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { digestOf } from "../../src/images/digest.ts";
import { referredBlobs } from "../../src/images/blobs/referred_blobs.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { openDatabase } from "../../src/state/database.ts";
import { ImageTable } from "../../src/state/images.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { filesIn, imageManager, imageStore } from "../support/image_store.ts";
import "../support/native.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

const RACER = fileURLToPath(new URL("./image_racer.ts", import.meta.url));
/** More, and other, rounds than a gate has time for: `RACE_ROUNDS=100 RACE_SEED=7 deno test …`. */
const ROUNDS = Number(Deno.env.get("RACE_ROUNDS") ?? 2);
const SEED = Number(Deno.env.get("RACE_SEED") ?? 1);
const STEPS = 25;
/** What may stay: downloads that can be gone on with, and for an hour halves of small files. */
const LEFT = /^(state\.db.*|blobs\/partial\/[0-9a-f]{64}|blobs\/references\/.*\.new)$/;
/** What takes longer hangs. */
const LIMIT_MS = 120_000;

const SHARED = writeTar({ path: "shared", data: someBytes(1_500_000) });
const IMAGES = [1, 2].map((seed) =>
  memoryImage([SHARED, writeTar({ path: "own", data: someBytes(50_000, seed) })])
);

for (let round = SEED; round < SEED + ROUNDS; round++) {
  Deno.test(`Images stay whole while processes pull, remove and die, seed ${round}`, async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    const references = IMAGES.map((image, index) => {
      registry.addImage(`image-${index}:1`, image);
      return `${registry.host}/image-${index}:1`;
    });
    const racer = (seed: number, killAfterMs?: number) =>
      race([home.path, ...references, String(seed), String(STEPS)], killAfterMs);
    await Promise.all([
      racer(round * 10),
      racer(round * 10 + 1),
      // Its life is short, again and again.
      (async () => {
        for (const ms of [400, 700, 1000]) await racer(round * 10 + 2, ms + round * 7 % 100);
      })(),
    ]);
    await checkHome(home.path);
  });
}

async function race(args: readonly string[], killAfterMs = LIMIT_MS): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", RACER, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  try {
    const { code, signal, stderr } = await child.output();
    const killed = signal === "SIGKILL" && killAfterMs < LIMIT_MS;
    assert.ok(code === 0 || killed, new TextDecoder().decode(stderr));
  } finally {
    clearTimeout(timer);
  }
}

/** What is recorded is here and whole; and when nothing is wanted any more, nothing stays. */
async function checkHome(home: string): Promise<void> {
  const database = openDatabase(join(home, "state.db"));
  try {
    const ledger = new ImageTable(database);
    const store = imageStore(home, { records: ledger, build: buildBaseDisk });
    const manager = imageManager(home, store, ledger);
    for (const path of Object.keys(filesIn(home))) {
      const hex = /^blobs\/sha256\/(.*)$/.exec(path)?.[1];
      if (hex !== undefined) {
        assert.equal(digestOf(await Deno.readFile(join(home, path))), `sha256:${hex}`);
      }
    }
    for (const record of ledger.all()) {
      const digests = await referredBlobs([record], store.blobs);
      assert.equal(digests.size, record.layers.length + 2, `${record.reference} is in parts`);
      for (const digest of digests) {
        await Deno.stat(store.blobs.path(digest)).catch(() => {
          throw new Error(`${digest} of ${record.reference} isn't here`);
        });
      }
      const disk = await Deno.readFile(await store.baseDisk(record.digest));
      assert.equal(digestOf(disk), await freshDisk(record.digest));
    }
    await manager.prune({ all: true });
    assert.deepEqual(manager.list({ all: true }), []);
    await store.sweep();
    const left = Object.keys(filesIn(home)).filter((path) => !LEFT.test(path));
    assert.deepEqual(left, []);
  } finally {
    database.close();
  }
}

const fresh = new Map<string, string>();

/** Digest of the base disk that a program makes which nobody disturbs. */
async function freshDisk(digest: string): Promise<string> {
  const known = fresh.get(digest);
  if (known !== undefined) return known;
  await using home = new TempFolder();
  await using registry = new FakeRegistry();
  for (const image of IMAGES) if (image.digest === digest) registry.addImage("fresh:1", image);
  const store = imageStore(home.path, { build: buildBaseDisk });
  await store.pull(`${registry.host}/fresh:1`);
  const found = digestOf(await Deno.readFile(await store.baseDisk(digest)));
  fresh.set(digest, found);
  return found;
}
