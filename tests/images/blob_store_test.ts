import assert from "node:assert/strict";
import { join } from "node:path";
import { BlobStore } from "../../src/images/blobs/blob_store.ts";
import type { BlobOpener } from "../../src/images/pull/download.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { rejects } from "../support/rejects.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const BYTES = Uint8Array.from({ length: 3_000_000 }, (_, index) => (index * 7919) >> 3);
const DIGEST = digestOf(BYTES);
const HEX = digestHex(DIGEST);
const FOREVER = new AbortController().signal;

/** A store in a folder of its own. */
class TempStore implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly path: string;
  readonly store: BlobStore;

  constructor(path?: string) {
    this.path = path ?? this.#folder.path;
    this.store = new BlobStore({
      blobs: join(this.path, "blobs"),
      partial: join(this.path, "partial"),
      retryDelayMs: 0,
    });
  }

  /** Every file, such as `blobs/HEX`. */
  files(): readonly string[] {
    return ["blobs", "partial"].flatMap((folder) => {
      try {
        return [...Deno.readDirSync(join(this.path, folder))].map((f) => `${folder}/${f.name}`);
      } catch {
        return [];
      }
    }).sort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#folder[Symbol.asyncDispose]();
  }
}

/** A stream of `bytes` in pieces, which then ends, or breaks with `error`. */
function streamOf(bytes: Uint8Array<ArrayBuffer>, error?: Error, piece = 100_000) {
  let at = 0;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (at < bytes.length) {
        controller.enqueue(bytes.slice(at, at + piece));
        at += piece;
      } else if (error) controller.error(error);
      else controller.close();
    },
  });
}

/** Gives `bytes` from the wanted place on, and remembers which that was. */
function serving(bytes: Uint8Array<ArrayBuffer>): { open: BlobOpener; offsets: number[] } {
  const offsets: number[] = [];
  return {
    offsets,
    open: ({ offset }) => {
      offsets.push(offset);
      return Promise.resolve({ start: offset, body: streamOf(bytes.subarray(offset)) });
    },
  };
}

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

Deno.test("BlobStore.ingest lets one of many work", async () => {
  await using temp = new TempStore();
  const { open, offsets } = serving(BYTES);
  const results = await Promise.all(
    Array.from({ length: 5 }, () => {
      return temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
    }),
  );
  assert.deepEqual(results.toSorted(), [false, false, false, false, true]);
  assert.deepEqual(offsets, [0]);
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
});

/** Serves BYTES in two halves; the second only when `release` resolves. */
function serveSlowly(release: Promise<void>) {
  let requests = 0;
  let begun = () => {};
  const first = new Promise<void>((resolve) => begun = resolve);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    requests++;
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1]);
    const halves = [BYTES.slice(start, 1_500_000), BYTES.slice(Math.max(start, 1_500_000))];
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const half = halves.shift();
        if (!half) return controller.close();
        if (halves.length === 0) await release;
        if (half.length > 0) controller.enqueue(half);
        begun();
      },
    });
    return new Response(body, { headers: { "x-start": String(start) } });
  });
  return { url: `http://127.0.0.1:${server.addr.port}/`, server, first, requests: () => requests };
}

function ingestProcess(folder: string, url: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    // deno-fmt-ignore
    args: [
      "run", "-A", "--no-lock", join(import.meta.dirname ?? "", "ingest_process.ts"),
      folder, DIGEST, String(BYTES.length), url,
    ],
    stdout: "piped",
  }).spawn();
}

Deno.test("BlobStore.ingest shares the work among processes", async () => {
  await using temp = new TempStore();
  let release = () => {};
  const released = new Promise<void>((resolve) => release = resolve);
  const { url, server, first, requests } = serveSlowly(released);
  const processes = [ingestProcess(temp.path, url), ingestProcess(temp.path, url)];
  await first;
  release();
  const outputs = await Promise.all(processes.map((process) => process.output()));
  const said = outputs.map(({ stdout }) => new TextDecoder().decode(stdout).trim());
  assert.deepEqual(said.toSorted(), ["false", "true"]);
  assert.equal(requests(), 1);
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
  await server.shutdown();
});

Deno.test("BlobStore.ingest takes over from a process that was killed", async () => {
  await using temp = new TempStore();
  let release = () => {};
  const released = new Promise<void>((resolve) => release = resolve);
  const { url, server, first } = serveSlowly(released);
  const process = ingestProcess(temp.path, url);
  await first;
  process.kill("SIGKILL");
  await process.output();
  release();
  const { open, offsets } = serving(BYTES);
  assert.equal(await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER }), true);
  assert.equal(offsets.length, 1);
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
  await server.shutdown();
});

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

Deno.test("BlobStore.ingest tells how far another program is that fetches the blob", async () => {
  await using temp = new TempStore();
  const halted = Promise.withResolvers<void>();
  const halting: BlobOpener = () => {
    const first = streamOf(BYTES.subarray(0, 2_000_000)).getReader();
    const rest = streamOf(BYTES.subarray(2_000_000)).getReader();
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        let next = await first.read();
        if (next.done) {
          await halted.promise;
          next = await rest.read();
        }
        if (next.value) controller.enqueue(next.value);
        else controller.close();
      },
    });
    return Promise.resolve({ start: 0, body });
  };
  const begun = Promise.withResolvers<void>();
  const one = temp.store.ingest(DIGEST, BYTES.length, halting, {
    signal: FOREVER,
    onProgress: () => begun.resolve(),
  });
  await begun.promise;
  const other = new TempStore(temp.path).store;
  const seen: (readonly [string, number])[] = [];
  const two = other.ingest(DIGEST, BYTES.length, () => assert.fail("it fetches too"), {
    signal: FOREVER,
    onProgress(bytes, doing) {
      seen.push([doing, bytes]);
      if (bytes >= 2 ** 20) halted.resolve();
    },
  });
  assert.deepEqual(await Promise.all([one, two]), [true, false]);
  assert.ok(seen.length > 0 && seen.every(([doing]) => doing === "wait"), JSON.stringify(seen));
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
