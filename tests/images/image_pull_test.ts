import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { ImagePull } from "../../src/images/pull/image_pull.ts";
import type { PullEvent, PullListener } from "../../src/images/pull/pull.ts";
import type { ImageRecord } from "../../src/images/records.ts";
import { parsePlatform } from "../../src/images/platform.ts";

const REFERENCE = "registry:a.test/b:1";
const DIGEST = `sha256:${"a".repeat(64)}`;
const RECORD: ImageRecord = {
  reference: REFERENCE,
  digest: DIGEST,
  platform: parsePlatform("linux/amd64"),
  config: {
    env: {},
    entrypoint: [],
    cmd: [],
    workingDir: "/",
    user: "",
    labels: {},
    exposedPorts: [],
    volumes: [],
    stopSignal: "",
  },
  layers: [],
  size: 0,
  pulledAt: "2026-01-01T00:00:00.000Z",
};
const RESOLVING: PullEvent = { type: "resolving", reference: REFERENCE };
const DONE: PullEvent = { type: "done", reference: REFERENCE, digest: DIGEST };

/** A pull that does what the test says, when it says it. */
class Scripted {
  readonly #started = Promise.withResolvers<PullListener>();
  readonly #ended = Promise.withResolvers<ImageRecord>();
  readonly pull: ImagePull;
  signal: AbortSignal | undefined;

  constructor(signal?: AbortSignal) {
    this.pull = new ImagePull(REFERENCE, (own, onProgress) => {
      this.signal = own;
      own.addEventListener("abort", () => this.#ended.reject(own.reason));
      this.#started.resolve(onProgress);
      return this.#ended.promise;
    }, signal);
  }

  async tell(...events: readonly PullEvent[]): Promise<void> {
    const listener = await this.#started.promise;
    for (const event of events) listener(event);
  }

  end(): void {
    this.#ended.resolve(RECORD);
  }

  fail(error: Error): void {
    this.#ended.reject(error);
  }
}

function layer(digest: string, done: number): PullEvent {
  return { type: "layer", digest, done, total: 1000 };
}

Deno.test("ImagePull gives its image to whoever awaits it, and its events to whoever iterates", async () => {
  const script = new Scripted();
  const { pull } = script;
  const reader = pull[Symbol.asyncIterator]();
  const events: (PullEvent | void)[] = [];
  for (const event of [RESOLVING, layer("x", 0), layer("x", 1000), DONE]) {
    await script.tell(event);
    events.push((await reader.next()).value);
  }
  script.end();
  assert.deepEqual(events, [RESOLVING, layer("x", 0), layer("x", 1000), DONE]);
  assert.equal((await reader.next()).done, true);
  assert.equal(await pull, RECORD);
  assert.equal(await pull.then(({ digest }) => digest), DIGEST);
});

Deno.test("ImagePull keeps the latest of each kind for a reader that is slow or late", async () => {
  const script = new Scripted();
  const reader = script.pull[Symbol.asyncIterator]();
  await script.tell(RESOLVING);
  assert.deepEqual((await reader.next()).value, RESOLVING);
  for (let done = 0; done < 1000; done++) await script.tell(layer("x", done), layer("y", done));
  await script.tell(layer("x", 1000), DONE);
  script.end();
  const rest = [layer("y", 999), layer("x", 1000), DONE];
  assert.deepEqual(await Array.fromAsync(reader), rest);
  assert.deepEqual(await Array.fromAsync(script.pull), [RESOLVING, ...rest]);
});

Deno.test("ImagePull serves several readers, each at its own pace", async () => {
  const script = new Scripted();
  const quick: PullEvent[] = [];
  const told = Promise.withResolvers<void>();
  const reading = (async () => {
    for await (const event of script.pull) {
      quick.push(event);
      told.resolve();
    }
  })();
  await script.tell(layer("x", 1));
  await told.promise;
  await script.tell(layer("x", 2));
  await script.tell(DONE);
  const slow = Array.fromAsync(script.pull);
  script.end();
  await reading;
  assert.deepEqual(quick, [layer("x", 1), layer("x", 2), DONE]);
  assert.deepEqual(await slow, [layer("x", 2), DONE]);
});

Deno.test("ImagePull throws what the pull failed with after its last event, and nowhere else", async () => {
  const script = new Scripted();
  await script.tell(RESOLVING);
  const failure = new HutchError("image_not_found", "Cannot find it: it isn't there");
  script.fail(failure);
  await new Promise((resolve) => setTimeout(resolve)); // an unhandled rejection would show now
  const seen: PullEvent[] = [];
  await assert.rejects(async () => {
    for await (const event of script.pull) seen.push(event);
  }, failure);
  assert.deepEqual(seen, [RESOLVING]);
  await assert.rejects(async () => await script.pull, failure);
});

Deno.test("ImagePull goes on when its reader leaves, and ends when it is disposed of", async () => {
  const script = new Scripted();
  await script.tell(RESOLVING);
  for await (const _event of script.pull) break;
  assert.equal(script.signal?.aborted, false);
  await script.pull[Symbol.asyncDispose]();
  assert.equal(script.signal?.aborted, true);
  await assert.rejects(async () => await script.pull);
  await script.pull[Symbol.asyncDispose]();
});

Deno.test("ImagePull can be disposed of after its end", async () => {
  const script = new Scripted();
  {
    await using pull = script.pull;
    script.end();
    await pull;
  }
  assert.equal(await script.pull, RECORD);
});

Deno.test("ImagePull ends by its signal, and doesn't begin when that is aborted", async () => {
  const cancel = new AbortController();
  const script = new Scripted(cancel.signal);
  const reason = new Error("enough");
  cancel.abort(reason);
  await assert.rejects(async () => await script.pull, reason);
  const never = new ImagePull(REFERENCE, () => assert.fail("it began"), cancel.signal);
  await assert.rejects(async () => await never, { code: "cancelled", cause: reason });
});

Deno.test("ImagePull wakes a reader that waits when the pull ends without a word", async () => {
  const script = new Scripted();
  const reading = Array.fromAsync(script.pull);
  await Promise.resolve();
  script.end();
  assert.deepEqual(await reading, []);
});
