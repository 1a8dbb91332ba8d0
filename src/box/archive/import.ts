/**
 * Making a box from an archive. Nothing of it counts until all of it was checked: the disk is written
 * under another name, in a folder that no record knows, and goes when anything is wrong.
 *
 * @module
 */
import { linkSync } from "node:fs";
import { join, relative } from "node:path";
import { asNoSpace, EarlySync, removeIfThere, removeIfThereSync } from "../../atomic_file.ts";
import { diskSize } from "../../disk/qcow2.ts";
import { OverlayWriter } from "../../disk/overlay_writer.ts";
import { HutchError } from "../../errors.ts";
import { FileLock } from "../../file_lock.ts";
import { cancelled } from "../../images/wait.ts";
import { boxPaths } from "../../runtime/paths.ts";
import { UNFINISHED } from "../box_file.ts";
import type { Box } from "../box.ts";
import { checkName } from "../config.ts";
import type { BoxContext } from "../context.ts";
import type { BoxConfig } from "../options.ts";
import { stepOf } from "../transitions.ts";
import { decompressed } from "./compress.ts";
import { changedConfig, importedConfig, type LeftOut, optionsOf } from "./config.ts";
import { PIECE_LIMIT, PieceReader } from "./disk_pieces.ts";
import { type ArchiveProgress, baseDigest } from "./export.ts";
import {
  type ArchivedDisk,
  badArchive,
  DOCUMENT_LIMIT,
  END_NAME,
  HEAD_NAME,
  pieceName,
} from "./format.ts";
import { parseEnd, parseHead } from "./head.ts";
import { type ImageImport, takeImage } from "./import_image.ts";
import { openSource } from "./source.ts";
import { TarReader } from "./tar_reader.ts";

/** Options of `Runtime.import`. */
export interface ImportOptions {
  /** Name of the box. @default {the one that it had} */
  readonly name?: string;
  /**
   * Whether the box keeps what reaches this machine: volumes other than memory, published ports,
   * name servers, secrets, the network `open` and rules for more than names and public addresses.
   * Only for archives whose maker you trust with that. @default {false}
   */
  readonly trust?: boolean;
  /**
   * Whether the box stays who it was: its machine id, SSH host keys and random seed. For one that moves,
   * and is gone where it came from; any other gets new ones when it first starts, as clones do.
   * @default {false}
   */
  readonly keepIdentity?: boolean;
  /** Whether the image may be pulled when it is neither here nor in the archive. @default {true} */
  readonly pull?: boolean;
  /** Most data of the box's disk, in bytes. @default {64 GiB} */
  readonly maxBytes?: number;
  /** Ends the work. */
  readonly signal?: AbortSignal;
  /** Told as it goes on. */
  readonly onProgress?: (progress: ArchiveProgress) => void;
}

/** What came out of an archive. */
export interface Imported {
  /** The box, which doesn't run. */
  readonly box: Box;
  /** What of its settings reaches this machine, and stayed behind. */
  readonly leftOut: readonly LeftOut[];
}

const MAX_BYTES = 64 * 2 ** 30;
/** One import. */
interface Import extends ImageImport {
  readonly config: BoxConfig;
  readonly maxBytes: number;
  readonly keepIdentity: boolean;
}

/** Imports a box, and records it; see `Runtime.import`. */
export async function importBox(
  context: BoxContext,
  from: string | ReadableStream<Uint8Array<ArrayBuffer>>,
  options: ImportOptions & {
    readonly signal: AbortSignal;
    /** The handle of a box that was recorded. */
    readonly handleOf: (config: BoxConfig) => Box;
  },
): Promise<Imported> {
  const { name, trust = false, pull = true, signal, onProgress, handleOf } = options;
  const { keepIdentity = false, maxBytes = MAX_BYTES } = options;
  if (name !== undefined) {
    checkName(name);
    refuseTaken(context, name);
  }
  await using source = await openSource(from, { signal, onProgress });
  await using tar = new TarReader(decompressed(source.bytes));
  await tar.expect(HEAD_NAME, DOCUMENT_LIMIT);
  const head = parseHead(await tar.text());
  const engines = context.engines.map((engine) => engine.name);
  const { config, leftOut } = importedConfig(head.box, { name, trust, engines });
  if (config.image.digest !== head.image.digest) throw badArchive("it names two images");
  if (head.disk && head.disk.sizeBytes !== config.diskMiB * 2 ** 20) {
    throw badArchive("its disk hasn't the size that the box has");
  }
  refuseTaken(context, config.name);
  const asked = optionsOf(config);
  // What plugins have to say of each box that is made counts for these, too.
  const box = await context.plugins.run(
    "create",
    asked,
    { signal, name: config.name },
    async (input) => {
      const wanted = input === asked ? config : changedConfig(config, input);
      const work = { context, tar, head, config: wanted, maxBytes, keepIdentity, signal };
      await withFolder(work, async (folder) => {
        using _held = await takeImage(work, { pull }, () => readDisk(work, folder));
        register(work, folder);
      });
      return handleOf(wanted);
    },
  );
  return { box, leftOut };
}

/** Makes the box's folder, held while it is filled; of what fails nothing stays. */
async function withFolder(
  { context, config }: Import,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  const own = boxPaths(context.paths, config.id);
  try {
    await Deno.mkdir(own.folder, { recursive: true, mode: 0o700 });
    using lock = FileLock.try(own.operationLockPath);
    if (!lock) throw new HutchError("box_state", "Cannot import a box: its folder is in use");
    await fill(own.folder);
  } catch (error) {
    if (!context.records.byId(config.id)) await removeIfThere(own.folder);
    throw asNoSpace(error, own.folder);
  }
}

/** Reads the rest of the archive: the disk, which is written, and whether all was there. */
async function readDisk(work: Import, folder: string): Promise<void> {
  const { tar, head } = work;
  const pieces = head.disk ? await writeDisk(work, head.disk, folder) : await eachPiece(tar);
  const { sha256, pieces: wanted } = parseEnd(await tar.text());
  if (wanted !== pieces) throw badArchive("parts of its disk are missing");
  if (sha256 !== tar.sha256Before()) throw badArchive("its checksum is another one");
  await tar.end();
}

/** Goes through the pieces, up to the last file; says how many there were. */
async function eachPiece(
  tar: TarReader,
  take: (size: number) => Promise<void> = () => {
    throw badArchive("it has a disk that it says nothing of");
  },
): Promise<number> {
  for (let number = 0;; number++) {
    const file = await tar.next();
    if (file?.name === END_NAME && file.size <= DOCUMENT_LIMIT) return number;
    if (file?.name !== pieceName(number) || file.size > PIECE_LIMIT) {
      throw badArchive(`it has something else where ${pieceName(number)} should be`);
    }
    await take(file.size);
  }
}

async function writeDisk(
  { context, tar, head, maxBytes, signal }: Import,
  { sizeBytes, base: expected }: ArchivedDisk,
  folder: string,
): Promise<number> {
  const base = await context.baseDisk(head.image.digest, signal);
  if (await baseDigest(base, signal) !== expected) {
    throw new HutchError(
      "digest_mismatch",
      `Cannot import a box: the disk of image ${head.image.reference} isn't here what it was there`,
      { hint: `use the hutch that the archive is from (${head.writer})` },
    );
  }
  const below = await diskSize(base);
  if (below > sizeBytes) throw badArchive("its disk is smaller than its image's");
  const reader = new PieceReader({ sizeBytes, below, maxBytes });
  const path = join(folder, UNFINISHED);
  using overlay = await OverlayWriter.create({
    path,
    backingPath: relative(await Deno.realPath(folder), await Deno.realPath(base.path)),
    backingFormat: base.format,
    sizeBytes,
  });
  await using early = new EarlySync(path);
  const count = await eachPiece(tar, async (size) => {
    if (signal.aborted) throw cancelled("import a box", signal);
    await reader.read(tar, size, overlay);
    early.wrote(size);
  });
  await overlay.finish();
  return count;
}

/**
 * Gives the disk its name and records the box. The disk has its first name too until that is done: a program
 * that dies in between leaves nothing that could be taken for a box's.
 */
function register({ context, head, config, keepIdentity }: Import, folder: string): void {
  const own = boxPaths(context.paths, config.id);
  const unfinished = join(folder, UNFINISHED);
  if (head.disk) linkSync(unfinished, own.diskPath);
  {
    using opened = Deno.openSync(folder);
    opened.syncSync();
  }
  const holder = context.records.add(config, { renew: head.disk !== null && !keepIdentity });
  if (holder) stepOf("create", holder); // throws: its name was taken meanwhile
  removeIfThereSync(unfinished);
}

function refuseTaken({ records }: BoxContext, name: string): void {
  const holder = records.byName(name);
  if (!holder) return;
  throw new HutchError("name_taken", `Cannot import box "${name}": the name is taken`, {
    hint: "give it another name (--name), or remove that box (hutch rm)",
  });
}
