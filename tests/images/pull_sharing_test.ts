import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import type { PullEvent } from "../../src/images/pull/pull.ts";
import {
  FakeRegistry,
  type MemoryImage,
  memoryImage,
  someBytes,
} from "../support/fake_registry.ts";
import { filesIn } from "../support/image_store.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

const PROGRAM = fileURLToPath(new URL("./pull_process.ts", import.meta.url));

const LARGE = writeTar({ path: "large", data: someBytes(3_000_000) });
const SMALL = writeTar({ path: "small", data: "small\n" });
const IMAGE = memoryImage([LARGE, SMALL]);
const OTHER = memoryImage([LARGE, writeTar({ path: "other", data: "other\n" })]);
/** As much of the large layer as is sent before it is held up. */
const HALF = 2 << 20;

type Event = PullEvent | { readonly type: "failed"; readonly code: string };

/** A program that pulls. */
class Puller implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #ended: Promise<void>;
  readonly #waiting = new Set<() => void>();
  readonly events: Event[] = [];

  constructor(home: string, reference: string, ...options: readonly "hang"[]) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", PROGRAM, home, reference, ...options],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#ended = this.#read();
  }

  /** Waits for an event. */
  async until(found: (event: Event) => boolean): Promise<void> {
    while (!this.events.some(found)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await Promise.race([
        promise,
        this.#ended.then(() => Promise.reject(new Error(JSON.stringify(this.events)))),
      ]);
    }
  }

  /** Waits for its end; gives its last event's type. */
  async last(): Promise<string | undefined> {
    await this.#ended;
    await this.#child.status;
    return this.events.at(-1)?.type;
  }

  /** Whether it found the layer here, or got it by another. */
  cached(digest: string): boolean | undefined {
    for (const event of this.events) {
      if (event.type === "layer.done" && event.digest === digest) return event.cached;
    }
    return undefined;
  }

  /** Whether another one had made the base disk. */
  get diskCached(): boolean | undefined {
    return this.events.find((event) => event.type === "disk.done")?.cached;
  }

  /** As by `kill -9`. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.last();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.last();
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.events.push(JSON.parse(line));
      for (const resolve of this.#waiting) resolve();
      this.#waiting.clear();
    }
  }
}

/** A registry whose answer with the large layer stops after a half until it is let go. */
class HeldRegistry extends FakeRegistry {
  readonly #release = Promise.withResolvers<void>();

  constructor(images: Readonly<Record<string, MemoryImage>>) {
    super();
    for (const [path, image] of Object.entries(images)) this.addImage(path, image);
    this.misbehave = (request, url) => {
      if (!url.pathname.endsWith(digestOf(LARGE))) return undefined;
      const range = /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "");
      return range ? undefined : new Response(halves(this.#release.promise), {
        headers: { "content-length": String(LARGE.length) },
      });
    };
  }

  /** Lets all answers go on. */
  release(): void {
    this.#release.resolve();
  }

  /** How often each blob was asked for. */
  blobRequests(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const path of this.paths) {
      const digest = /\/blobs\/(.*)$/.exec(path)?.[1];
      if (digest !== undefined) counts[digest] = (counts[digest] ?? 0) + 1;
    }
    return counts;
  }
}

function halves(release: Promise<void>): ReadableStream<Uint8Array<ArrayBuffer>> {
  let half = 0;
  return new ReadableStream({
    async pull(controller) {
      if (half++ === 0) return controller.enqueue(LARGE.slice(0, HALF));
      await release;
      controller.enqueue(LARGE.slice(HALF));
      controller.close();
    },
  });
}

function once(...images: readonly MemoryImage[]): Record<string, number> {
  return Object.fromEntries(
    images.flatMap(({ blobs }) => [...blobs.keys()]).map((key) => [key, 1]),
  );
}

function assertHas(home: string, ...images: readonly MemoryImage[]): void {
  const files = Object.keys(filesIn(home)).filter((path) => /^(blobs|disks)\//.test(path));
  const blobs = new Set(images.flatMap((image) => [...image.blobs.keys(), image.digest]));
  const wanted = [
    ...[...blobs].map((digest) => `blobs/sha256/${digestHex(digest)}`),
    ...images.map(({ digest }) => `disks/${digestHex(digest)}.ext4`),
  ];
  const found = files.filter((path) => !path.startsWith("blobs/references/"));
  assert.deepEqual(found.sort(), wanted.sort());
}

const half = (event: Event) => event.type === "layer" && event.done >= HALF;
const waits = (event: Event) => event.type === "layer.waiting";

Deno.test("ImageStore.pull of two programs at once fetches each blob and makes the disk once", async () => {
  await using home = new TempFolder();
  await using registry = new HeldRegistry({ "a/b:1": IMAGE });
  await using first = new Puller(home.path, `${registry.host}/a/b:1`);
  await first.until(half);
  await using second = new Puller(home.path, `${registry.host}/a/b:1`);
  await second.until(waits);
  registry.release();
  assert.deepEqual([await first.last(), await second.last()], ["done", "done"]);
  assert.deepEqual(registry.blobRequests(), once(IMAGE));
  assert.deepEqual([first.cached(digestOf(LARGE)), second.cached(digestOf(LARGE))], [false, true]);
  assert.deepEqual([first.diskCached, second.diskCached].sort(), [false, true]);
  // While it waited it saw how far the other one was.
  const seen = second.events.filter((event) => event.type === "layer.waiting");
  assert.ok(seen.some(({ done }) => done > 0 && done <= LARGE.length), JSON.stringify(seen));
  assertHas(home.path, IMAGE);
});

Deno.test("ImageStore.pull goes on where another program was killed that it waited for", async () => {
  await using home = new TempFolder();
  await using registry = new HeldRegistry({ "a/b:1": IMAGE });
  await using first = new Puller(home.path, `${registry.host}/a/b:1`);
  await first.until(half);
  await using second = new Puller(home.path, `${registry.host}/a/b:1`);
  await second.until(waits);
  const partial = join(home.path, "blobs/partial", digestHex(digestOf(LARGE)));
  await first.kill();
  const { size } = await Deno.stat(partial);
  assert.equal(await second.last(), "done");
  registry.release();
  assert.equal(second.cached(digestOf(LARGE)), false);
  const ranges = registry.requests.filter(({ path }) => path.endsWith(digestOf(LARGE)))
    .map(({ headers }) => headers.get("range"));
  assert.deepEqual(ranges, [null, `bytes=${size}-`]);
  assert.ok(size >= HALF - (1 << 20), `${size} bytes were left`);
  // The next one clears away what the dead one has left besides.
  await using third = new Puller(home.path, `${registry.host}/a/b:1`);
  assert.equal(await third.last(), "done");
  assert.deepEqual([third.cached(digestOf(LARGE)), third.diskCached], [true, true]);
  assertHas(home.path, IMAGE);
});

Deno.test("ImageStore.pull makes the disk when another program is killed that was making it", async () => {
  await using home = new TempFolder();
  await using registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  await using first = new Puller(home.path, `${registry.host}/a/b:1`, "hang");
  await first.until(({ type }) => type === "disk");
  await using second = new Puller(home.path, `${registry.host}/a/b:1`);
  await second.until(({ type }) => type === "disk.waiting");
  await first.kill();
  assert.equal(await second.last(), "done");
  assert.equal(second.diskCached, false);
  await using third = new Puller(home.path, `${registry.host}/a/b:1`);
  assert.equal(await third.last(), "done");
  assertHas(home.path, IMAGE);
  const disk = join(home.path, "disks", `${digestHex(IMAGE.digest)}.ext4`);
  assert.ok((await Deno.stat(disk)).size > LARGE.length, "it is the half");
});

Deno.test("ImageStore.pull tries itself when another program fails that it waited for", async () => {
  await using home = new TempFolder();
  await using registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  const release = Promise.withResolvers<void>();
  let asked = 0;
  registry.misbehave = async (_, url) => {
    if (!url.pathname.endsWith(digestOf(LARGE)) || asked++ > 0) return undefined;
    await release.promise;
    return new Response(LARGE.toReversed());
  };
  await using first = new Puller(home.path, `${registry.host}/a/b:1`);
  await first.until((event) => event.type === "layer.done"); // the small one
  await using second = new Puller(home.path, `${registry.host}/a/b:1`);
  await second.until(waits);
  release.resolve();
  assert.equal(await first.last(), "failed");
  assert.deepEqual(first.events.at(-1), { type: "failed", code: "digest_mismatch" });
  assert.equal(await second.last(), "done");
  assert.equal(second.cached(digestOf(LARGE)), false);
  assertHas(home.path, IMAGE);
});

Deno.test("ImageStore.pull of two images at once fetches the layer once that both have", async () => {
  await using home = new TempFolder();
  await using registry = new HeldRegistry({ "a/b:1": IMAGE, "c:1": OTHER });
  await using first = new Puller(home.path, `${registry.host}/a/b:1`);
  await first.until(half);
  await using second = new Puller(home.path, `${registry.host}/c:1`);
  await second.until(waits);
  registry.release();
  assert.deepEqual([await first.last(), await second.last()], ["done", "done"]);
  assert.deepEqual(registry.blobRequests(), once(IMAGE, OTHER));
  assert.deepEqual([first.diskCached, second.diskCached], [false, false]);
  assertHas(home.path, IMAGE, OTHER);
});

Deno.test("ImageStore.pull of six programs at once fetches each blob and makes the disk once", async () => {
  await using home = new TempFolder();
  await using registry = new HeldRegistry({ "a/b:1": IMAGE });
  await using programs = new AsyncDisposableStack();
  const pullers = Array.from({ length: 6 }, () => {
    return programs.use(new Puller(home.path, `${registry.host}/a/b:1`));
  });
  // All are there before the first one can be done.
  await Promise.all(pullers.map((each) => each.until((event) => waits(event) || half(event))));
  registry.release();
  for (const each of pullers) assert.equal(await each.last(), "done");
  assert.deepEqual(registry.blobRequests(), once(IMAGE));
  assert.equal(pullers.filter((each) => !each.cached(digestOf(LARGE))).length, 1);
  assert.equal(pullers.filter((each) => !each.diskCached).length, 1);
  assertHas(home.path, IMAGE);
});
