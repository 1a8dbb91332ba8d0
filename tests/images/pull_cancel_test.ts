import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { MemoryImageRecords } from "../../src/images/records.ts";
import type { BaseDiskRequest } from "../../src/images/base_disk/base_disks.ts";
import type { ImageStore } from "../../src/images/store.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { filesIn, imageStore } from "../support/image_store.ts";
import "../support/native.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

const IMAGE = memoryImage([
  writeTar({ path: "large", data: someBytes(1_500_000) }),
  writeTar({ path: "small", data: "small\n" }),
  writeTar({ path: "third", data: someBytes(5000, 3) }),
]);

/** Counts what happens, and aborts at one of those events. */
class Countdown {
  readonly #cancel = new AbortController();
  #left: number;

  /** @param at The event to abort at, from 0. */
  constructor(at: number) {
    this.#left = at;
  }

  get signal(): AbortSignal {
    return this.#cancel.signal;
  }

  /** Something happens. */
  readonly tick = (): void => {
    if (this.#left-- === 0) this.#cancel.abort();
  };
}

/** Records whose use counts as something that happens. */
class CountedRecords extends MemoryImageRecords {
  readonly #tick: () => void;

  constructor(tick: () => void) {
    super();
    this.#tick = tick;
  }

  override get(reference: string) {
    this.#tick();
    return super.get(reference);
  }

  override put(record: Parameters<MemoryImageRecords["put"]>[0]) {
    this.#tick();
    super.put(record);
  }
}

/** Every request counts, and so does every piece of an answer; from the abort on it answers nothing. */
function countedRegistry(countdown: Countdown, ended: Promise<void>): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  registry.misbehave = async (_, url) => {
    countdown.tick();
    if (countdown.signal.aborted) await ended;
    const blob = IMAGE.blobs.get(/\/blobs\/(.*)$/.exec(url.pathname)?.[1] ?? "");
    if (!blob || countdown.signal.aborted) return undefined;
    let at = 0;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        if (at > 0) countdown.tick();
        if (countdown.signal.aborted) await ended;
        controller.enqueue(blob.slice(at, at + 500_000));
        at += 500_000;
        if (at >= blob.length) controller.close();
      },
    }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-length": String(blob.length) } });
  };
  return registry;
}

/** Made of the layers as they are: it takes no time. */
function countedBuild(tick: () => void): (request: BaseDiskRequest) => Promise<void> {
  return async ({ layers, output }) => {
    tick();
    for (const { path } of layers) {
      await Deno.writeFile(output, await Deno.readFile(path), { append: true });
      tick();
    }
  };
}

/** Pulls and aborts at an event; says whether it was over before. */
async function pullUntil(at: number): Promise<boolean> {
  await using home = new TempFolder();
  const countdown = new Countdown(at);
  const ended = Promise.withResolvers<void>();
  const records = new CountedRecords(countdown.tick);
  const registry = countedRegistry(countdown, ended.promise);
  const store = imageStore(home.path, { records, build: countedBuild(countdown.tick) });
  let error: unknown;
  try {
    await store.pull(`${registry.host}/a/b:1`, {
      signal: countdown.signal,
      disk: true,
      onProgress: countdown.tick,
    });
  } catch (thrown) {
    error = thrown;
  }
  ended.resolve();
  await registry[Symbol.asyncDispose]();
  if (error !== undefined) {
    assert.ok(error instanceof HutchError && error.code === "cancelled", String(error));
    assert.deepEqual(records.list(), []);
  }
  assertResumable(home.path);
  await checkNextPull(home.path, store);
  return error === undefined && !countdown.signal.aborted;
}

/** Finished blobs, partial ones that are no longer than their blobs, and finished disks. */
function assertResumable(home: string): void {
  for (const [path, size] of Object.entries(filesIn(home))) {
    const [, kind, name = ""] = /^(blobs\/\w+|disks)\/(.*)$/.exec(path) ?? [];
    if (kind === "blobs/sha256") {
      assert.equal(digestHex(digestOf(Deno.readFileSync(join(home, path)))), name);
    } else if (kind === "blobs/partial") {
      const blob = IMAGE.blobs.get(`sha256:${name}`);
      assert.ok(blob && size > 0 && size <= blob.length, `${path} has ${size} bytes`);
    } else {
      assert.match(path, /^(blobs\/references\/[0-9a-f]{64}\.json|disks\/[0-9a-f]{64}\.ext4)$/);
    }
  }
}

async function checkNextPull(home: string, store: ImageStore): Promise<void> {
  await using registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  const kept = Object.keys(filesIn(home)).filter((path) => path.startsWith("blobs/sha256/"));
  await store.pull(`${registry.host}/a/b:1`, { disk: true });
  const asked = registry.paths.join();
  for (const path of kept) assert.ok(!asked.includes(path.slice(-64)), `${path} came again`);
  const partial = Object.keys(filesIn(home)).filter((path) => path.startsWith("blobs/partial/"));
  assert.deepEqual(partial, []);
}

Deno.test("ImageStore.baseDisk that is cancelled at any moment leaves a disk or nothing", async () => {
  await using home = new TempFolder();
  await using registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  const store = imageStore(home.path, { build: buildBaseDisk });
  const { digest } = await store.pull(`${registry.host}/a/b:1`);
  const before = Object.keys(filesIn(home.path)).sort();
  for (const ms of [0, 1, 3, 10, 30, 60, 100]) {
    const error = await store.baseDisk(digest, { signal: AbortSignal.timeout(ms) }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (error === undefined) break; // it was faster
    assert.ok(error instanceof HutchError && error.code === "cancelled", String(error));
    assert.deepEqual(Object.keys(filesIn(home.path)).sort(), before);
  }
  await store.baseDisk(digest);
});

Deno.test("ImageStore.pull that is cancelled at any event ends at once and leaves what can be gone on with", async () => {
  const AT_ONCE = 4;
  for (let at = 0;; at += AT_ONCE) {
    const over = await Promise.all(
      Array.from({ length: AT_ONCE }, (_, more) => pullUntil(at + more)),
    );
    if (!over.includes(true)) continue;
    assert.ok(at > 20, `only ${at} events`);
    return;
  }
});

for (const what of ["open", "verify"] as const) {
  Deno.test(`ImageStore.pull that is cancelled doesn't wait for a plugin in ${what}`, async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    registry.addImage("a/b:1", IMAGE);
    const cancel = new AbortController();
    const asked = Promise.withResolvers<void>();
    const forever = () => {
      asked.resolve();
      return new Promise<undefined>(() => {});
    };
    if (what === "open") {
      registry.misbehave = () =>
        new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
    }
    const store = imageStore(home.path, {
      ask: {
        credentials: forever,
        verify: what === "verify" ? forever : () => Promise.resolve(undefined),
      },
    });
    const pulling = store.pull(`${registry.host}/a/b:1`, { signal: cancel.signal });
    pulling.catch(() => {});
    await asked.promise;
    cancel.abort();
    await assert.rejects(pulling, { code: "cancelled" });
    assert.deepEqual(filesIn(home.path), {});
  });
}
