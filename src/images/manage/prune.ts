/**
 * Removing what nothing refers to.
 *
 * The order is that of a removal: records first, then what a repair would know references by, then
 * files. Whoever dies in between leaves work for the next prune, and nothing that refers to what is
 * gone.
 *
 * @module
 */
import { join } from "node:path";
import { removeIfThere } from "../../atomic_file.ts";
import { FileLock } from "../../file_lock.ts";
import type { ImageEntry, ImageRemoval } from "../records.ts";
import { readReferences } from "../reference_files.ts";
import { referredBlobs } from "../blobs/referred_blobs.ts";
import {
  allocatedBytes,
  aloneSoon,
  forgetFiles,
  hasUnknownNeeds,
  type ImageHome,
} from "./remove.ts";
import { cancelled } from "../wait.ts";

/** Options of `Images.prune`. */
export interface ImagePruneOptions {
  /** Also images that have names but no boxes. @default {false} */
  readonly all?: boolean;
  /** Tells what would go, and removes nothing. @default {false} */
  readonly dryRun?: boolean;
  /** Ends the work. */
  readonly signal?: AbortSignal;
}

/** What a prune removed, or would remove. */
export interface ImagePruneReport {
  /** What was removed, with its names. */
  readonly images: readonly { readonly digest: string; readonly references: readonly string[] }[];
  /** Files, by what they were. */
  readonly blobs: number;
  /** How many base disks were removed. */
  readonly disks: number;
  /** Downloads that nobody went on with for an hour, and what commits and loads that died left. */
  readonly downloads: number;
  /** What came back, in bytes. */
  readonly bytes: number;
  /** Whether nothing was done, since another program was about to choose its blobs all the while. */
  readonly busy: boolean;
}

/** Downloads that nobody went on with for so long are given up, in `ms`. */
const DOWNLOAD_LIFE_MS = 3_600_000;
const HEX = /^[0-9a-f]{64}$/;

/** A file that is to go. */
interface Doomed {
  readonly kind: "blobs" | "disks" | "downloads";
  readonly path: string;
  /** Held while it is removed; whoever has it works with the file. */
  readonly lock: string;
}

/**
 * Removes images without names and boxes, and files that no image needs.
 *
 * @throws {HutchError} `cancelled`, `state_corrupt` for a damaged record: what it needs isn't known.
 */
export async function pruneImages(
  home: ImageHome,
  options: ImagePruneOptions,
): Promise<ImagePruneReport> {
  const { all = false, dryRun = false, signal = new AbortController().signal } = options;
  const { ledger, blobs } = home;
  using alone = await aloneSoon(home, signal);
  if (!alone) return { images: [], blobs: 0, disks: 0, downloads: 0, bytes: 0, busy: true };
  const named = await alone.namedByOthers();
  const choose = (entries: readonly ImageEntry[]) => unused(entries, all, named);
  const removals = dryRun ? choose(ledger.entries()) : ledger.forget(choose);
  if (!dryRun) {
    await tell(home, removals);
    await forgetStrays(home, named);
  }
  const gone = new Set(removals.map(({ digest }) => digest));
  const left = ledger.all().filter(({ digest }) => !gone.has(digest));
  const needed = (await referredBlobs(left, blobs)).union(named);
  const disks = ledger.digests().difference(gone).union(named);
  const doomed = [
    ...await unknownDisks(home, disks),
    ...hasUnknownNeeds(ledger) ? [] : await unneededBlobs(home, needed),
    ...await givenUp(home, named),
  ];
  const count = { blobs: 0, disks: 0, downloads: 0 };
  let bytes = 0;
  for (const file of doomed) {
    if (signal.aborted) throw cancelled("prune images", signal);
    const size = await allocatedBytes(file.path);
    if (!dryRun && !await removed(file)) continue;
    count[file.kind] += 1;
    bytes += size;
  }
  const images = removals.map(({ digest, references }) => ({ digest, references }));
  return { images, ...count, bytes, busy: false };
}

/** Images that no box uses, no program works with, and that no name means, unless names don't count. */
function unused(
  entries: readonly ImageEntry[],
  all: boolean,
  named: ReadonlySet<string>,
): readonly ImageRemoval[] {
  return entries
    .filter(({ record, references, boxes }) =>
      boxes.length === 0 && !named.has(record.digest) && (all || references.length === 0)
    )
    .map(({ record, references }) => ({ digest: record.digest, references, image: true }));
}

async function tell(home: ImageHome, removals: readonly ImageRemoval[]): Promise<void> {
  for (const { digest, references } of removals) {
    await forgetFiles(home, digest, references);
    // Its last name went before, or means another image now.
    if (references.length === 0) home.removed({ reference: digest, digest });
  }
}

/** Files of references that mean nothing here: of pulls and removals that were killed. */
async function forgetStrays(home: ImageHome, named: ReadonlySet<string>): Promise<void> {
  const meanings = await readReferences(home.paths.blobs, () => {}); // a repair tells of damaged ones
  for (const { reference, digest } of meanings) {
    if (home.ledger.get(reference) || named.has(digest)) continue;
    await forgetFiles({ ...home, removed: () => {} }, digest, [reference]);
  }
}

async function unknownDisks(
  { paths }: ImageHome,
  known: ReadonlySet<string>,
): Promise<Doomed[]> {
  const doomed: Doomed[] = [];
  for (const name of await namesIn(paths.disks)) {
    const [, hex = "", unfinished] = /^([0-9a-f]{64})\.ext4(\.new)?$/.exec(name) ?? [];
    if (hex === "" || unfinished === undefined && known.has(`sha256:${hex}`)) continue;
    const lock = join(paths.disks, `${hex}.ext4.lock`);
    if (FileLock.isHeld(lock)) continue; // it is being made
    doomed.push({ kind: "disks", path: join(paths.disks, name), lock });
  }
  return doomed;
}

async function unneededBlobs(
  { paths }: ImageHome,
  needed: ReadonlySet<string>,
): Promise<Doomed[]> {
  const names = await namesIn(paths.blobs);
  return names.filter((name) => HEX.test(name) && !needed.has(`sha256:${name}`)).map((name) => ({
    kind: "blobs",
    path: join(paths.blobs, name),
    lock: join(paths.partial, `${name}.lock`),
  }));
}

/** Downloads of old; those that somebody works on, or will, stay. */
async function givenUp({ paths }: ImageHome, named: ReadonlySet<string>): Promise<Doomed[]> {
  const doomed: Doomed[] = [];
  for (const name of await namesIn(paths.partial)) {
    if (name.endsWith(".lock") || named.has(`sha256:${name}`)) continue;
    const path = join(paths.partial, name);
    const lock = `${path}.lock`;
    // What is no download, nobody goes on with.
    if (FileLock.isHeld(lock) || HEX.test(name) && !await isOld(path)) continue;
    doomed.push({ kind: "downloads", path, lock });
  }
  return doomed;
}

async function isOld(path: string): Promise<boolean> {
  try {
    const { mtime } = await Deno.lstat(path);
    return mtime !== null && Date.now() - mtime.getTime() >= DOWNLOAD_LIFE_MS;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Removes a file; false when somebody works with it. */
async function removed({ path, lock: lockPath }: Doomed): Promise<boolean> {
  await Deno.mkdir(join(lockPath, ".."), { recursive: true, mode: 0o700 });
  using lock = FileLock.try(lockPath);
  if (!lock) return false;
  await removeIfThere(path);
  return true;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
