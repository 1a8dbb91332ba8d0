/**
 * What each reference meant when it was pulled, as small files beside the blobs: what the records of
 * images are rebuilt from, together with the manifests and configurations among the blobs.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { removeIfThere, writeAtomically } from "../atomic_file.ts";
import { errorText } from "../errors.ts";
import type { BlobStore } from "./blobs/blob_store.ts";
import { parseConfig } from "./config.ts";
import { digestHex, digestOf, isDigest } from "./digest.ts";
import { parseManifest } from "./manifest.ts";
import { describeImage } from "./pull/pull.ts";
import type { ImageRecord } from "./records.ts";

/** What a reference meant. */
export type Meaning = Pick<
  ImageRecord,
  "reference" | "digest" | "pulledAt" | "origin" | "resolvedDigest"
>;

/** Largest file that is read, in bytes. */
const LIMIT = 64 * 1024;

/** Where the files are, beside the folder of blobs. */
export function referencesFolder(blobs: string): string {
  return join(dirname(blobs), "references");
}

/** Keeps what a reference means now. */
export async function writeReference(blobs: string, meaning: Meaning): Promise<void> {
  const { reference, digest, pulledAt, origin, resolvedDigest } = meaning;
  const path = referencePath(blobs, reference);
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const text = JSON.stringify({ reference, digest, pulledAt, origin, resolvedDigest });
  await writeAtomically(path, text, { durable: true });
}

/** Forgets what a reference meant; that it isn't known is fine. */
export async function removeReference(blobs: string, reference: string): Promise<void> {
  await removeIfThere(referencePath(blobs, reference));
}

function referencePath(blobs: string, reference: string): string {
  const name = digestHex(digestOf(new TextEncoder().encode(reference)));
  return join(referencesFolder(blobs), `${name}.json`);
}

/**
 * Reads all of them, by reference.
 *
 * @param onUnreadable Gets a file that can't be read, and why.
 */
export async function readReferences(
  blobs: string,
  onUnreadable: (path: string, problem: string) => void,
): Promise<Meaning[]> {
  const found: Meaning[] = [];
  for (const name of await namesIn(referencesFolder(blobs))) {
    if (!name.endsWith(".json")) continue;
    const path = join(referencesFolder(blobs), name);
    try {
      found.push(await readMeaning(path));
    } catch (error) {
      onUnreadable(path, errorText(error));
    }
  }
  return found.sort((a, b) => a.reference < b.reference ? -1 : 1);
}

/**
 * An image's record, from its manifest and configuration; its layers may be missing, and are fetched
 * again when they are needed.
 *
 * @throws HutchError `digest_mismatch`, `invalid_image`; `Deno.errors.NotFound` without them.
 */
export async function rebuildImage(blobs: BlobStore, meaning: Meaning): Promise<ImageRecord> {
  const { reference, digest, ...rest } = meaning;
  const manifest = parseManifest(await blobs.read(digest), `the manifest of ${reference}`);
  if (manifest.kind !== "image") throw new Error(`${digest} is an index`);
  const config = parseConfig(
    await blobs.read(manifest.config.digest),
    `the configuration of ${reference}`,
    manifest.layers.length,
  );
  return { ...describeImage({ reference, digest }, manifest, config), ...rest };
}

async function readMeaning(path: string): Promise<Meaning> {
  const { isFile, size } = await Deno.lstat(path);
  if (!isFile || size > LIMIT) throw new Error("it is not a small file");
  const { reference, digest, pulledAt, origin, resolvedDigest } =
    JSON.parse(await Deno.readTextFile(path)) ?? {};
  const whole = typeof reference === "string" && typeof digest === "string" && isDigest(digest) &&
    typeof pulledAt === "string";
  if (!whole) throw new Error("it says of no reference what it means");
  const known = typeof origin === "string" || origin === null;
  const resolved = typeof resolvedDigest === "string" && isDigest(resolvedDigest);
  return {
    reference,
    digest,
    pulledAt,
    ...known ? { origin } : {},
    ...resolved ? { resolvedDigest } : {},
  };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
