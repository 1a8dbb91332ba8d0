/**
 * The image of a box that comes out of an archive.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { DEFAULT_SCHEME, parseReference } from "../../images/reference.ts";
import type { SourceImage } from "../../images/source.ts";
import type { BoxContext } from "../context.ts";
import {
  type ArchivedBlob,
  type ArchiveHead,
  badArchive,
  blobName,
  DOCUMENT_LIMIT,
} from "./format.ts";
import type { TarReader } from "./tar_reader.ts";

/** What taking an image works with. */
export interface ImageImport {
  readonly context: BoxContext;
  readonly tar: TarReader;
  readonly head: ArchiveHead;
  readonly signal: AbortSignal;
}

/**
 * Has the image here, out of the archive if it is in there; `use` reads what follows it, and what it
 * finds wrong keeps the image from being recorded.
 *
 * @returns What keeps the image here until the box is recorded.
 */
export async function takeImage(
  { context, tar, head, signal }: ImageImport,
  { pull }: { readonly pull: boolean },
  use: () => Promise<void>,
): Promise<Disposable> {
  const { imageManager } = context;
  const { digest, reference, blobs } = head.image;
  const here = await imageManager.hold(digest, signal);
  if (here) {
    using kept = new DisposableStack();
    kept.use(here);
    for (const blob of blobs ?? []) await expectBlob(tar, blob); // passed over
    await use();
    return kept.move();
  }
  if (blobs) {
    const { image, skipRest } = await imageIn(tar, digest, blobs);
    await imageManager.adopt(image, {
      reference: `archive:${digest}`,
      use: async () => {
        await skipRest(); // those that were here
        await use();
      },
      signal,
    });
  } else {
    await pullImage(context, { reference, digest, pull, signal });
    await use();
  }
  const held = await imageManager.hold(digest, signal);
  if (held) return held;
  throw new HutchError("image_not_found", `Cannot import a box: image ${digest} went meanwhile`);
}

/** Gets the very image that the archive names, from the registry that it had come from. */
async function pullImage(
  { images }: BoxContext,
  { reference, digest, pull, signal }: {
    readonly reference: string;
    readonly digest: string;
    readonly pull: boolean;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const missing = (why: string) =>
    new HutchError("image_not_found", `Cannot import a box: its image ${reference} ${why}`, {
      hint: "export the box with its image, or pull the image first",
    });
  if (!pull) throw missing("isn't here");
  const scheme = `${DEFAULT_SCHEME}:`;
  let named = reference;
  if (reference.startsWith(scheme)) {
    const { registry, repository } = parseReference(reference.slice(scheme.length));
    named = `${scheme}${registry}/${repository}@${digest}`;
  } else if (!reference.startsWith("builtin:")) {
    throw missing("isn't here, and comes from a file");
  }
  const record = await images.pull(named, { signal, disk: true });
  if (record.digest !== digest) throw missing(`has digest ${record.digest} now, not ${digest}`);
}

/** The archive's image, whose blobs are read in their order. */
async function imageIn(
  tar: TarReader,
  digest: string,
  blobs: readonly ArchivedBlob[],
): Promise<{ readonly image: SourceImage; readonly skipRest: () => Promise<void> }> {
  const [first, ...rest] = blobs;
  if (first?.digest !== digest || first.size > DOCUMENT_LIMIT) {
    throw badArchive("it doesn't begin with its image's manifest");
  }
  await expectBlob(tar, first);
  const manifest = await tar.read(first.size);
  let failure: unknown;
  const remembered = async function* () {
    try {
      yield* tar.rest();
    } catch (error) {
      failure = error; // asked for again, it could only be told that it is over
      throw error;
    }
  };
  let next = 0;
  const goTo = async (end: number) => {
    for (const blob of rest.slice(next, end)) await expectBlob(tar, blob);
    next = Math.max(next, end);
  };
  const image: SourceImage = {
    digest,
    manifest,
    async blob(wanted) {
      if (failure !== undefined) throw failure;
      // Those that are here already aren't asked for.
      const at = rest.findIndex((blob, index) => index >= next && blob.digest === wanted);
      if (at < 0) throw badArchive(`its image's part ${wanted} isn't in its place`);
      await goTo(at + 1);
      return { start: 0, body: ReadableStream.from(remembered()) };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return { image, skipRest: () => goTo(rest.length) };
}

async function expectBlob(tar: TarReader, { digest, size }: ArchivedBlob): Promise<void> {
  const file = await tar.expect(blobName(digest), size);
  if (file.size !== size) throw badArchive(`its image's part ${digest} isn't as long as it says`);
}
