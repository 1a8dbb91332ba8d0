/**
 * Reading an archive's first and last file.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { isDigest } from "../../images/digest.ts";
import { LAYER_COUNT_LIMIT, LAYER_LIMIT } from "../../images/manifest.ts";
import {
  type ArchivedBlob,
  type ArchivedDisk,
  type ArchiveEnd,
  type ArchiveHead,
  badArchive,
  CLUSTER,
  DISK_LIMIT,
  FORMAT,
  FORMAT_VERSION,
} from "./format.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Manifest and configuration, beside the layers. */
const OTHER_BLOBS = 2;
const TEXT_LIMIT = 1024;

/**
 * Reads the first file.
 *
 * @throws {HutchError} `invalid_archive`, `archive_too_new`
 */
export function parseHead(text: string): ArchiveHead {
  const head = parse(text);
  if (head.format !== FORMAT) throw badArchive("it isn't a box's archive");
  const { version } = head;
  if (typeof version !== "number" || !Number.isInteger(version) || version < 1) {
    throw badArchive("its version can't be right");
  }
  const writer = typeof head.writer === "string" ? printable(head.writer) : "";
  if (version > FORMAT_VERSION) {
    const by = writer === "" ? "a newer hutch" : writer;
    throw new HutchError(
      "archive_too_new",
      `Cannot import a box: the archive is of version ${version}, from ${by}, and this hutch reads ${FORMAT_VERSION}`,
      { hint: "import it with that hutch, or a newer one" },
    );
  }
  return {
    format: FORMAT,
    version,
    writer,
    box: head.box,
    image: imageOf(fields(head.image, "image")),
    disk: head.disk === null ? null : diskOf(fields(head.disk, "disk")),
    consistency: consistencyOf(head.consistency),
  };
}

/**
 * Reads the last file.
 *
 * @throws {HutchError} `invalid_archive`
 */
export function parseEnd(text: string): ArchiveEnd {
  const { sha256, pieces } = parse(text);
  if (typeof sha256 !== "string" || typeof pieces !== "number") {
    throw badArchive("its last file can't be right");
  }
  return { sha256, pieces };
}

function imageOf({ reference, digest, blobs }: Fields): ArchiveHead["image"] {
  if (typeof reference !== "string" || reference === "" || printable(reference) !== reference) {
    throw badArchive("the name of its image can't be right");
  }
  return { reference, digest: digestIn(digest), blobs: blobs === null ? null : blobsOf(blobs) };
}

function blobsOf(blobs: unknown): readonly ArchivedBlob[] {
  if (!Array.isArray(blobs) || blobs.length < 1 || blobs.length > LAYER_COUNT_LIMIT + OTHER_BLOBS) {
    throw badArchive("its image has an impossible number of parts");
  }
  return blobs.map((each: unknown) => {
    const { digest, size } = fields(each, "image");
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0 || size > LAYER_LIMIT) {
      throw badArchive("the size of a part of its image can't be right");
    }
    return { digest: digestIn(digest), size };
  });
}

function diskOf({ sizeBytes, base }: Fields): ArchivedDisk {
  const sound = typeof sizeBytes === "number" && Number.isSafeInteger(sizeBytes) &&
    sizeBytes > 0 && sizeBytes <= DISK_LIMIT && sizeBytes % CLUSTER === 0;
  if (!sound) throw badArchive("the size of its disk can't be right");
  return { sizeBytes, base: digestIn(base) };
}

function consistencyOf(said: unknown): ArchiveHead["consistency"] {
  if (said === "stopped" || said === "filesystem" || said === "crash") return said;
  throw badArchive("how its disk came to be can't be read");
}

function digestIn(said: unknown): string {
  if (typeof said === "string" && isDigest(said)) return said;
  throw badArchive("a digest in it isn't one");
}

function parse(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badArchive("a document in it isn't JSON", error);
  }
  return fields(value, "document");
}

function fields(value: unknown, what: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw badArchive(`its ${what} isn't an object`);
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, "").slice(0, TEXT_LIMIT);
}
