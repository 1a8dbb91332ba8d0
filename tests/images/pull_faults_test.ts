import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { filesIn, imageStore } from "../support/image_store.ts";
import {
  bare,
  changed,
  type Fault,
  firstTimes,
  LyingProxy,
  onBlob,
  withHeader,
} from "../support/lying_proxy.ts";
import { pushImage, startRegistry } from "../support/registry.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";

const SIZE = 300_000;
const LAYER = someBytes(SIZE);
const IMAGE = memoryImage([LAYER]);
const [CONFIG = ""] = IMAGE.blobs.keys();
const CONFIG_SIZE = IMAGE.blobs.get(CONFIG)?.length ?? 0;
const CONFIG_FILE = `blobs/sha256/${digestHex(CONFIG)}`;
const PARTIAL_FILE = `blobs/partial/${digestHex(digestOf(LAYER))}`;
const BLOB_FILES = [...IMAGE.blobs.keys(), IMAGE.digest]
  .map((digest) => `blobs/sha256/${digestHex(digest)}`).sort();
/** Shorter than anybody waits, longer than an honest answer takes. */
const TIMEOUT_MS = 1500;

const cut = (bytes: number): Fault => changed(() => ({ cutAfter: bytes }));
const flipped = (at: number): Fault =>
  changed(({ body }) => ({ body: body.map((byte, index) => index === at ? byte ^ 1 : byte) }));
const lengthOff = (by: number): Fault =>
  changed((reply) => ({
    ...withHeader(reply, "content-length", String(reply.body.length + by)),
    body: by < 0 ? reply.body.slice(0, by) : reply.body,
  }));
const ignoringRange: Fault = ({ forward }) => forward(new Headers());
const unavailable = (status: number, after?: string): Fault => () =>
  bare(status, after === undefined ? {} : { "retry-after": after });
const hangingUp: Fault = () => {
  throw new Error("hung up");
};
/** Cuts the first answer, so that a second one goes on; that one is spoiled. */
const thenSpoiled = (spoil: Fault): Fault => (asked) =>
  asked.times === 0 ? cut(100_000)(asked) : asked.times === 1 ? spoil(asked) : undefined;

/** Each fault, and how many bytes of blobs go over the wire until the image is here all the same. */
const HEALED: readonly (readonly [what: string, fault: Fault, bytes: number])[] = [
  ["is cut once", firstTimes(1, cut(100_000)), SIZE],
  ["is cut twice", firstTimes(2, cut(100_000)), SIZE],
  ["is cut before the first byte", firstTimes(2, cut(0)), SIZE],
  ["is cut after the last byte", firstTimes(1, lengthOff(10)), SIZE],
  [
    "ends too early without a length",
    firstTimes(1, changed(() => ({ untilClose: true, cutAfter: 100_000 }))),
    SIZE,
  ],
  ["comes with a length that is too small", firstTimes(1, lengthOff(-1000)), SIZE],
  ["comes without a length", changed(() => ({ untilClose: true })), SIZE],
  ["stalls once", firstTimes(1, changed(() => ({ stallAfter: 100_000 }))), SIZE],
  ["is refused by 503 at first", firstTimes(2, unavailable(503)), SIZE],
  ["is refused by 429 at first", firstTimes(3, unavailable(429, "0")), SIZE],
  ["is hung up on at first", firstTimes(2, hangingUp), SIZE],
  [
    "has a wrong byte and is cut",
    firstTimes(
      1,
      changed(({ body }) => ({
        body: body.map((byte) => byte ^ 1),
        cutAfter: 100_000,
      })),
    ),
    SIZE + SIZE,
  ],
  ["goes on with a wrong byte", thenSpoiled(flipped(0)), SIZE + SIZE],
  ["goes on from the beginning", thenSpoiled(ignoringRange), 100_000 + SIZE],
  ["can't be gone on with", thenSpoiled(unavailable(416)), 100_000 + SIZE],
  [
    "goes on elsewhere, and says so",
    thenSpoiled(changed((reply) => withHeader(reply, "content-range", `bytes 7-9/${SIZE}`))),
    100_000 + SIZE + (SIZE - 100_000),
  ],
  [
    "goes on elsewhere, and doesn't say so",
    thenSpoiled(changed(({ body }) => ({ body: Uint8Array.from([...body.slice(1), 0]) }))),
    SIZE + SIZE,
  ],
];

for (const [what, fault, bytes] of HEALED) {
  Deno.test(`ImageStore.pull gets an image of which a layer ${what}`, async () => {
    await using setup = new Setup();
    setup.proxy.fault = onBlob(fault, digestOf(LAYER));
    await setup.pull();
    assert.deepEqual(setup.files(), BLOB_FILES);
    assert.equal(setup.layerBytes, bytes);
  });
}

/** Each fault that stays, what the user is told, and what is kept of the layer. */
const TOLD: readonly (readonly [
  what: string,
  fault: Fault,
  told: {
    readonly code: string;
    readonly message: RegExp;
    readonly kept?: number;
    readonly timeoutMs?: number;
  },
])[] = [
  ["is always cut at the same place", (asked) => cut(100_000 - asked.from)(asked), {
    code: "registry_failed",
    message: /its download broke after 100000 of 300000 bytes: /,
    kept: 100_000,
  }],
  [
    "always stalls at the same place",
    (asked) => changed(() => ({ stallAfter: 100_000 - asked.from }))(asked),
    {
      code: "registry_failed",
      message: /its download broke after 100000 of 300000 bytes: .*it sent nothing for 1000 ms/,
      kept: 100_000,
      timeoutMs: 1000,
    },
  ],
  ["has nothing but headers", cut(0), {
    code: "registry_failed",
    message: /its download broke after 0 of 300000 bytes: /,
  }],
  ["is always hung up on", hangingUp, {
    code: "registry_unreachable",
    message: /cannot reach 127\.0\.0\.1:\d+: /,
  }],
  ["is refused by 503", unavailable(503), {
    code: "registry_failed",
    message: /127\.0\.0\.1:\d+ answers 503/,
  }],
  ["is refused by 429", unavailable(429, "0"), {
    code: "registry_failed",
    message: /127\.0\.0\.1:\d+ answers 429/,
  }],
  ["is refused by 429 for an hour", unavailable(429, "3600"), {
    code: "registry_failed",
    message: /127\.0\.0\.1:\d+ answers 429/,
  }],
  ["goes in circles", ({ path }) => bare(307, { location: path }), {
    code: "registry_failed",
    message: /it redirects more than \d+ times/,
  }],
  ["is a part that nobody asked for", changed(() => ({ status: 206 })), {
    code: "registry_failed",
    message: /answers 206/,
  }],
  ["has a wrong byte", flipped(1234), {
    code: "digest_mismatch",
    message: /its bytes have sha256:[0-9a-f]{64}/,
  }],
  ["is another blob", changed(() => ({ body: someBytes(SIZE, 7) })), {
    code: "digest_mismatch",
    message: /its bytes have sha256:[0-9a-f]{64}/,
  }],
  ["is too short", (asked) => changed(() => ({ body: LAYER.slice(asked.from, -1) }))(asked), {
    code: "digest_mismatch",
    message: /it ended after 299999 of 300000 bytes/,
  }],
  ["is too long", changed(({ body }) => ({ body: Uint8Array.from([...body, 0]) })), {
    code: "digest_mismatch",
    message: /larger than the 300000 bytes/,
  }],
];

for (const [what, fault, { code, message, kept, timeoutMs }] of TOLD) {
  Deno.test(`ImageStore.pull says what is wrong when a layer ${what}, and the next one goes on`, async () => {
    await using setup = new Setup();
    setup.proxy.fault = onBlob(fault, digestOf(LAYER));
    await assert.rejects(setup.pull(timeoutMs), (error) => {
      assert.ok(error instanceof HutchError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, /^Cannot pull registry:127\.0\.0\.1:\d+\/a\/b:1: /);
      assert.match(error.message, message);
      assert.ok(error.hint, "it doesn't say what to do");
      return true;
    });
    // Of an image that is wrong nothing stays; of one that came in part, what came.
    const left: Record<string, number> = code === "digest_mismatch"
      ? {}
      : { [CONFIG_FILE]: CONFIG_SIZE };
    if (kept !== undefined) left[PARTIAL_FILE] = kept;
    assert.deepEqual(filesIn(setup.home), left);
    setup.proxy.fault = () => undefined;
    const before = setup.proxy.blobBytes;
    await setup.pull();
    assert.deepEqual(setup.files(), BLOB_FILES);
    const again = SIZE - (kept ?? 0) + (CONFIG_FILE in left ? 0 : CONFIG_SIZE);
    assert.equal(setup.proxy.blobBytes - before, again);
  });
}

Deno.test("ImageStore.pull asks a registry that wants an hour's pause once", async () => {
  await using setup = new Setup();
  setup.proxy.fault = onBlob(unavailable(503, "3600"), digestOf(LAYER));
  await assert.rejects(setup.pull(), { code: "registry_failed" });
  assert.equal(setup.layerRequests, 1);
});

const MANIFEST_FAULTS: readonly (readonly [what: string, fault: Fault])[] = [
  ["is cut", cut(100)],
  ["has nothing but headers", cut(0)],
  ["is told too long", lengthOff(10)],
  ["is refused by 503", unavailable(503)],
  ["is hung up on", hangingUp],
];

for (const [what, fault] of MANIFEST_FAULTS) {
  Deno.test(`ImageStore.pull gets an image whose manifest ${what} at first`, async () => {
    await using setup = new Setup();
    setup.proxy.fault = (asked) =>
      asked.path.includes("/manifests/") && asked.times < 2 ? fault(asked) : undefined;
    await setup.pull();
    assert.deepEqual(setup.files(), BLOB_FILES);
  });
}

Deno.test("ImageStore.pull keeps nothing of a manifest with a wrong byte", async () => {
  await using setup = new Setup();
  setup.proxy.fault = (asked) =>
    asked.path.includes("/manifests/") ? flipped(50)(asked) : undefined;
  await assert.rejects(setup.pull(), { code: /digest_mismatch|invalid_image/ });
  assert.deepEqual(filesIn(setup.home), {});
});

const registryTool = needs("docker-registry");

Deno.test({
  name: `ImageStore.pull goes on with what docker-registry gives in parts${registryTool.note}`,
  ignore: registryTool.ignore,
  async fn() {
    await using home = new TempFolder();
    await using registry = await startRegistry();
    await pushImage(registry, "a/b:1", IMAGE);
    await using proxy = new LyingProxy(registry.host);
    const layer = () => proxy.passed.filter(({ path }) => path.endsWith(digestOf(LAYER)));
    proxy.fault = onBlob(cut(100_000), digestOf(LAYER));
    await imageStore(home.path).pull(`${proxy.host}/a/b:1`);
    const ranges = [null, "bytes=100000-", "bytes=200000-"];
    assert.deepEqual(layer().map(({ range }) => range), ranges);
    assert.deepEqual(layer().map(({ status }) => status), [200, 206, 206]);
    assert.deepEqual(layer().map(({ bytes }) => bytes), [100_000, 100_000, 100_000]);
  },
});

/** A home, and a proxy before a registry. */
class Setup implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly #registry = new FakeRegistry();
  readonly proxy = new LyingProxy(this.#registry.host);

  constructor() {
    this.#registry.addImage("a/b:1", IMAGE);
  }

  get home(): string {
    return this.#folder.path;
  }

  get layerRequests(): number {
    return this.proxy.passed.filter(({ path }) => path.endsWith(digestOf(LAYER))).length;
  }

  /** Bytes of the layer that were sent so far. */
  get layerBytes(): number {
    return this.proxy.passed.filter(({ path }) => path.endsWith(digestOf(LAYER)))
      .reduce((sum, { bytes }) => sum + bytes, 0);
  }

  async pull(timeoutMs = TIMEOUT_MS): Promise<void> {
    await imageStore(this.home, { timeoutMs }).pull(`${this.proxy.host}/a/b:1`);
  }

  /** Every blob, and everything that isn't finished. */
  files(): string[] {
    return Object.keys(filesIn(this.home)).filter((path) => !path.startsWith("blobs/references/"))
      .sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy[Symbol.asyncDispose]();
    await this.#registry[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}
