/**
 * Records of images from their blobs.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { errorText } from "../errors.ts";
import { BlobStore } from "../images/blobs/blob_store.ts";
import { type Meaning, readReferences, rebuildImage } from "../images/reference_files.ts";
import { ImageTable } from "../state/images.ts";
import { readBoxes } from "../state/restore.ts";
import type { Paths } from "./paths.ts";

/** An image whose record couldn't be rebuilt: it is pulled again when it is needed. */
export interface LostImage {
  /** The image's name. */
  readonly reference: string;
  /** Why it is lost. */
  readonly problem: string;
}

/** What became of the images. */
export interface RepairedImages {
  readonly kept: number;
  readonly restored: readonly string[];
  readonly lost: readonly LostImage[];
}

/** Makes the tables of images whole: those that references mean, and those that boxes use. */
export async function repairImages(
  { blobs, partial }: Paths,
  database: DatabaseSync,
): Promise<RepairedImages> {
  const table = new ImageTable(database);
  const damaged = table.dropDamaged();
  const store = new BlobStore({ blobs, partial });
  const kept = table.list().length;
  const restored: string[] = [];
  const lost: LostImage[] = [];
  const rebuild = async (meaning: Meaning, named: boolean) => {
    try {
      const record = await rebuildImage(store, meaning);
      if (named) table.put(record);
      else table.pin(record);
      restored.push(named ? meaning.reference : meaning.digest);
    } catch (error) {
      const problem = error instanceof Deno.errors.NotFound
        ? `the blobs of ${meaning.digest} that describe it aren't here`
        : errorText(error);
      lost.push({ reference: meaning.reference, problem });
    }
  };
  const meanings = await readReferences(blobs, (path, problem) => {
    lost.push({ reference: path, problem });
  });
  for (const meaning of meanings) {
    if (!table.get(meaning.reference)) await rebuild(meaning, true);
  }
  for (const reference of damaged) {
    if (table.get(reference) || lost.some((each) => each.reference === reference)) continue;
    lost.push({ reference, problem: "its record was damaged" });
  }
  for (const { config } of readBoxes(database).records) {
    const { reference, digest } = config.image;
    if (table.getByDigest(digest) || lost.some((each) => each.reference === reference)) continue;
    await rebuild({ reference, digest, pulledAt: config.createdAt }, false);
  }
  return { kept, restored, lost };
}
