/**
 * What every image source must do. A test file calls {@link sourceContract} with a source and a way
 * to put an image where it looks; the suite asks as the image store does.
 *
 * @module
 */
import assert from "node:assert/strict";
import { HutchError, type ImageSource, type SourceImage } from "../../mod.ts";
import { parseConfig, requirePlatform } from "../../src/images/config.ts";
import { digestOf } from "../../src/images/digest.ts";
import { type Descriptor, MANIFEST_LIMIT, parseManifest } from "../../src/images/manifest.ts";
import { hostPlatform, parsePlatform, type Platform } from "../../src/images/platform.ts";
import { fc } from "../deps.ts";
import { until } from "../support/processes.ts";

/** A place with one image, made anew for each test. */
export interface SourceFixture extends AsyncDisposable {
  /** The image for this machine, without the scheme. */
  readonly reference: string;
  /** A good reference that names nothing there. */
  readonly missing: string;
  /** How often the source has asked somebody else so far; left out where it never does. */
  readonly requests?: () => number;
}

/** What the suite is told of a source. */
export interface SourceCase {
  readonly source: ImageSource;
  readonly setup: () => Promise<SourceFixture>;
  /** References that it must refuse, besides {@link HOSTILE}. */
  readonly hostile: readonly string[];
  /** Skips the suite, for want of a program. @default {false} */
  readonly ignore?: boolean;
}

/** No source's reference. */
const HOSTILE = ["", "\0", "a\0b", "x".repeat(70_000)];
/** Anything, and what looks like a reference. */
const TEXT = fc.oneof(
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.array(
    fc.constantFrom(..."aZ09.-_:/@?=&+#%~[] ,\\\n", "..", "sha256:", "0".repeat(64), "docker.io/"),
    { maxLength: 20 },
  ).map((parts) => parts.join("")),
);
/** Longest message of a refusal: it may quote the reference, not all of a long one. */
const MESSAGE_LIMIT = 1000;
const FOREIGN = parsePlatform("linux/s390x");
const UNKNOWN = `sha256:${"0".repeat(64)}`;
const FOREVER = new AbortController().signal;

/** Runs the suite. */
export function sourceContract(name: string, { source, setup, ...rest }: SourceCase): void {
  const { hostile, ignore = false } = rest;
  const test = (title: string, run: (fixture: SourceFixture) => Promise<void>) =>
    Deno.test(`source ${name} ${title}`, { ignore }, async () => {
      await using fixture = await setup();
      await run(fixture);
    });

  Deno.test(`source ${name} spells a reference in one way, asking nobody`, { ignore }, async () => {
    let fixture: SourceFixture;
    let spelled: readonly string[];
    {
      await using kept = fixture = await setup();
      spelled = [kept.reference, kept.missing].map((text) => source.canonical(text));
      assert.deepEqual(spelled.map((text) => source.canonical(text)), spelled);
      assert.equal(kept.requests?.() ?? 0, 0);
    }
    // Nothing is there any more.
    const { reference, missing } = fixture;
    assert.deepEqual([reference, missing].map((text) => source.canonical(text)), spelled);
  });

  Deno.test(`source ${name} spells any text in one way, or refuses it`, () => {
    fc.assert(
      fc.property(TEXT, (text) => {
        let spelled: string;
        try {
          spelled = source.canonical(text);
        } catch (error) {
          assert.ok(error instanceof HutchError, String(error));
          assert.equal(error.code, "invalid_reference");
          assert.ok(error.message.length <= MESSAGE_LIMIT, `${error.message.length} characters`);
          return;
        }
        assert.equal(source.canonical(spelled), spelled);
      }),
      { numRuns: 500 },
    );
  });

  test("refuses hostile references, shortly", async () => {
    for (const reference of [...HOSTILE, ...hostile]) {
      const refused = (error: unknown) => {
        assert.ok(error instanceof HutchError, String(error));
        assert.equal(error.code, "invalid_reference", reference.slice(0, 100));
        assert.ok(error.message.length <= MESSAGE_LIMIT, `${error.message.length} characters`);
        assert.doesNotMatch(error.message, /\p{Cc}/u);
        return true;
      };
      assert.throws(() => source.canonical(reference), refused);
      await assert.rejects(open(source, reference), refused);
    }
  });

  test("gives a manifest with its digest, and blobs with theirs", async ({ reference }) => {
    await using image = await open(source, reference);
    assert.equal(digestOf(image.manifest), image.digest);
    assert.ok(image.manifest.length <= MANIFEST_LIMIT);
    const blobs = blobsOf(image);
    for (const { digest, size } of blobs) {
      const bytes = await read(image, digest);
      assert.deepEqual([bytes.length, digestOf(bytes)], [size, digest]);
    }
    const [config, ...layers] = blobs;
    assert.ok(config);
    parseConfig(await read(image, config.digest), "the configuration", layers.length);
  });

  test("means the same image every time, and by a pinned reference", async (fixture) => {
    const { reference } = fixture;
    await using image = await open(source, reference);
    await using again = await open(source, source.canonical(reference));
    assert.deepEqual(again.manifest, image.manifest);
    const pinned = source.pin?.(reference, image.digest);
    if (pinned === undefined) return;
    assert.equal(source.canonical(pinned), pinned);
    assert.equal(source.pin?.(pinned, image.digest), pinned);
    await using same = await open(source, pinned);
    assert.deepEqual(same.manifest, image.manifest);
    const other = source.pin?.(reference, UNKNOWN) ?? "";
    await assert.rejects(open(source, other), { code: "image_not_found" });
  });

  test("goes on with a blob from any offset", async ({ reference }) => {
    await using image = await open(source, reference);
    for (const { digest, size } of blobsOf(image)) {
      const whole = await read(image, digest);
      const offsets = [1, 511, 512, 513, size >> 1, size - 513, size - 1, (size * 7919) % 100_003];
      for (const offset of offsets.filter((offset) => offset > 0 && offset < size)) {
        const { start, body } = await image.blob(digest, { offset, signal: FOREVER });
        assert.ok(start === 0 || start === offset, `${start} for ${offset}`);
        assert.equal(digestOf(await bytesOf(body)), digestOf(whole.subarray(start)));
      }
    }
  });

  test("knows no blobs but the image's own", async ({ reference }) => {
    await using image = await open(source, reference);
    await assert.rejects(read(image, UNKNOWN), HutchError);
  });

  test("leaves nothing open when streams are cancelled", async ({ reference }) => {
    await (await open(source, reference))[Symbol.asyncDispose]();
    const before = openFiles();
    {
      await using image = await open(source, reference);
      for (const { digest } of blobsOf(image)) {
        const { body } = await image.blob(digest, { offset: 0, signal: FOREVER });
        const reader = body.getReader();
        await reader.read();
        await reader.cancel();
        const untouched = await image.blob(digest, { offset: 0, signal: FOREVER });
        await untouched.body.cancel();
      }
      await image[Symbol.asyncDispose](); // a second time does no harm
    }
    await until(
      () => Promise.resolve(openFiles() <= before),
      () => Promise.resolve(`${openFiles()} files are open, ${before} were`),
    );
  });

  test("says which image isn't there", async ({ missing }) => {
    await assert.rejects(open(source, missing), (error) => {
      assert.ok(error instanceof HutchError, String(error));
      assert.equal(error.code, "image_not_found", error.message);
      assert.ok(error.message.includes(source.canonical(missing)), error.message);
      return true;
    });
  });

  test("opens an image twice at once", async ({ reference }) => {
    await using first = await open(source, reference);
    {
      const opened = await Promise.all([1, 2].map(() => open(source, reference)));
      const reads = opened.flatMap((image) =>
        blobsOf(image).map(async ({ digest }) => {
          assert.equal(digestOf(await read(image, digest)), digest);
        })
      );
      await Promise.all(reads);
      for (const image of opened) await image[Symbol.asyncDispose]();
    }
    for (const { digest } of blobsOf(first)) {
      assert.equal(digestOf(await read(first, digest)), digest);
    }
  });

  test("is no image for another platform", async ({ reference }) => {
    const foreign = async () => {
      await using image = await open(source, reference, { platform: FOREIGN });
      const [config, ...layers] = blobsOf(image);
      const bytes = await read(image, config?.digest ?? "");
      const { platform } = parseConfig(bytes, "the configuration", layers.length);
      requirePlatform(platform, FOREIGN, reference); // as every pull does
    };
    await assert.rejects(foreign, { code: "platform_unsupported" });
  });

  test("stops opening when that is cancelled", async ({ reference }) => {
    await assert.rejects(open(source, reference, { signal: AbortSignal.abort() }), {
      code: "cancelled",
    });
    const before = openFiles();
    const abort = new AbortController();
    const opening = open(source, reference, { signal: abort.signal });
    abort.abort();
    await assert.rejects(opening, { code: "cancelled" });
    await until(
      () => Promise.resolve(openFiles() <= before),
      () => Promise.resolve(`${openFiles()} files are open, ${before} were`),
    );
  });
}

/** Opens as the image store does. */
function open(
  source: ImageSource,
  reference: string,
  { platform = hostPlatform(), signal = FOREVER }: {
    readonly platform?: Platform;
    readonly signal?: AbortSignal;
  } = {},
): Promise<SourceImage> {
  return source.open({
    reference,
    platform,
    credentials: () => Promise.resolve(undefined),
    signal,
  });
}

/** The configuration, then the layers. */
function blobsOf(image: SourceImage): readonly Descriptor[] {
  const manifest = parseManifest(image.manifest, "the manifest");
  assert.ok(manifest.kind === "image");
  return [manifest.config, ...manifest.layers];
}

async function read(image: SourceImage, digest: string): Promise<Uint8Array<ArrayBuffer>> {
  const { start, body } = await image.blob(digest, { offset: 0, signal: FOREVER });
  assert.equal(start, 0);
  return await bytesOf(body);
}

async function bytesOf(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** What the sanitizers don't see: sockets of HTTP clients, files of helpers. */
function openFiles(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}
