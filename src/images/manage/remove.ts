/**
 * Removing images.
 *
 * What records say comes first, files follow: a program that dies in between leaves files that
 * nothing refers to, which the next prune takes away, and never a record without its files.
 *
 * @module
 */
import { join } from "node:path";
import { exists, removeIfThere } from "../../atomic_file.ts";
import { HutchError } from "../../errors.ts";
import { FileLock } from "../../file_lock.ts";
import type { Paths } from "../../runtime/paths.ts";
import type { BlobStore } from "../blobs/blob_store.ts";
import { BlobUse } from "../blobs/blob_use.ts";
import { digestHex } from "../digest.ts";
import { findImage, type FoundImage } from "./find.ts";
import type { ImageEntry, ImageLedger, ImageUser } from "../records.ts";
import { removeReference } from "../reference_files.ts";
import { referredBlobs } from "../blobs/referred_blobs.ts";
import { sleep } from "../wait.ts";

/** What images are managed with. */
export interface ImageHome {
  readonly ledger: ImageLedger;
  readonly blobs: BlobStore;
  readonly paths: Pick<Paths, "blobs" | "partial" | "disks">;
  /** The whole spelling of a reference. */
  readonly canonical: (text: string) => string;
  /** Told of each reference that is here no more. Mustn't throw. */
  readonly removed: (image: { readonly reference: string; readonly digest: string }) => void;
}

/** What became of an image. */
export interface RemovedImage {
  /** Digest of the image's manifest. */
  readonly digest: string;
  /** References that mean nothing any more. */
  readonly references: readonly string[];
  /** Whether the image itself is gone. If not, something still needs it: see `kept`. */
  readonly removed: boolean;
  /** Why the image is still here, in words for people; null when it isn't. */
  readonly kept: string | null;
  /** What came back, in bytes. */
  readonly bytes: number;
}

/** Options of `Images.remove`. */
export interface ImageRemoveOptions {
  /**
   * Takes its names away also when boxes use it or it has several. What boxes need stays until they
   * are removed; `prune` takes it then. @default {false}
   */
  readonly force?: boolean;
  /** Ends the work. */
  readonly signal?: AbortSignal;
}

/** How long to wait for programs that look for their blobs right now, in `ms`. */
const PATIENCE_MS = 1_000;
const PAUSE_MS = 30;

/**
 * Removes the image that a text means: the name, and the image with its last one.
 *
 * @throws {HutchError} `image_not_found`, `image_in_use`, `invalid_reference`, `cancelled`
 */
export async function removeImage(
  home: ImageHome,
  text: string,
  options: ImageRemoveOptions,
): Promise<RemovedImage> {
  const { force = false, signal = new AbortController().signal } = options;
  const found = findImage(home.ledger, text, home);
  const { digest } = found.record;
  using alone = await aloneSoon(home, signal);
  const named = await alone?.namedByOthers();
  // While its manifest is here, and before a damaged record of another one would stop us half way.
  const blobs = await referredBlobs([found.record], home.blobs);
  const others = home.ledger.all().filter((record) => record.digest !== digest);
  const needed = (await referredBlobs(others, home.blobs)).union(named ?? new Set());
  let kept: string | null = null;
  const [removal] = home.ledger.forget(([entry]) => {
    const references = goingReferences(found, entry, force);
    const last = entry !== undefined && references.length === entry.references.length;
    const boxes = entry?.boxes ?? [];
    kept = !last
      ? "it has other names"
      : boxes.length > 0
      ? `${usersText(boxes)} it`
      : named?.has(digest) !== false
      ? "another program is working with images"
      : null;
    return [{ digest, references, image: kept === null }];
  }, digest);
  const { references = [] } = removal ?? {};
  await forgetFiles(home, digest, references);
  const bytes = alone && kept === null
    ? await removeFiles(home, digest, {
      blobs: hasUnknownNeeds(home.ledger) ? new Set() : blobs.difference(needed),
      alone,
    })
    : 0;
  return { digest, references, removed: kept === null, kept, bytes };
}

/** Which references go; throws when it isn't allowed. */
function goingReferences(
  found: FoundImage,
  entry: ImageEntry | undefined,
  force: boolean,
): readonly string[] {
  const { named, record } = found;
  if (!entry || named !== undefined && !entry.references.includes(named)) {
    throw new HutchError("image_not_found", `Cannot find image ${named ?? record.digest}: it went`);
  }
  const { references, boxes } = entry;
  const going = named === undefined ? references : [named];
  const called = named ?? record.digest;
  if (boxes.length > 0 && going.length === references.length && (!force || going.length === 0)) {
    throw new HutchError("image_in_use", `Cannot remove image ${called}: ${usersText(boxes)} it`, {
      hint: `remove ${boxes.length === 1 ? "it" : "them"} first${
        force ? "" : ", or take its name alone away (-f)"
      }`,
    });
  }
  if (going.length > 1 && !force) {
    throw new HutchError(
      "image_in_use",
      `Cannot remove image ${called}: it has the names ${references.join(", ")}`,
      { hint: "remove it by its names, or take all of them away (-f)" },
    );
  }
  return going;
}

/** `box "web" uses`, `boxes "a", "b" use`. */
function usersText(boxes: readonly ImageUser[]): string {
  const shown = boxes.slice(0, 20).map(({ name }) => JSON.stringify(name));
  const more = boxes.length > shown.length ? ` and ${boxes.length - shown.length} more` : "";
  return boxes.length === 1 ? `box ${shown[0]} uses` : `boxes ${shown.join(", ")}${more} use`;
}

/**
 * Whether a box has an image without a record, which only damage brings about: then nobody knows which
 * blobs it needs, and all stay until a repair has found it or the box is gone.
 */
export function hasUnknownNeeds(ledger: ImageLedger): boolean {
  const known = new Set(ledger.all().map(({ digest }) => digest));
  return !ledger.digests().isSubsetOf(known);
}

/** After the records: what a repair would know the references by, and who wants to hear of it. */
export async function forgetFiles(
  { paths, removed }: ImageHome,
  digest: string,
  references: readonly string[],
): Promise<void> {
  for (const reference of references) {
    await removeReference(paths.blobs, reference);
    removed({ reference, digest });
  }
}

/** Holds the blobs alone; undefined while others need them all, since they don't know yet which. */
export async function aloneSoon(
  { paths }: ImageHome,
  signal: AbortSignal,
): Promise<BlobUse | undefined> {
  await Deno.mkdir(paths.blobs, { recursive: true, mode: 0o700 });
  for (const until = performance.now() + PATIENCE_MS;;) {
    const alone = BlobUse.alone(paths.blobs);
    if (alone || performance.now() >= until) return alone;
    await sleep(PAUSE_MS, signal);
  }
}

/** Removes the base disk of an image whose record is gone, and these blobs. */
async function removeFiles(
  { blobs: store, paths }: ImageHome,
  digest: string,
  { blobs, alone }: { readonly blobs: ReadonlySet<string>; readonly alone: BlobUse },
): Promise<number> {
  let bytes = await removeLocked(join(paths.disks, `${digestHex(digest)}.ext4`));
  for (const blob of blobs) {
    bytes += await allocatedBytes(store.path(blob));
    await store.discard(blob, alone);
  }
  return bytes;
}

/** Removes a file unless somebody holds the lock beside it; how many bytes came back. */
async function removeLocked(path: string): Promise<number> {
  if (!await exists(path)) return 0;
  using lock = FileLock.try(`${path}.lock`);
  if (!lock) return 0;
  const bytes = await allocatedBytes(path);
  await removeIfThere(path);
  return bytes;
}

/** What a file takes on its disk, in bytes, holes not counted; 0 when it isn't there. */
export async function allocatedBytes(path: string): Promise<number> {
  try {
    const { size, blocks } = await Deno.lstat(path);
    return blocks === null ? size : blocks * 512;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}
