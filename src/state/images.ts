/**
 * Records of images: one per manifest, and what each reference means now.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { errorText, HutchError } from "../errors.ts";
import type { ImageRecord, ImageRecords } from "../images/records.ts";
import { transaction } from "./database.ts";

/** The tables of images. Nothing is cached: other programs share them. */
export class ImageTable implements ImageRecords {
  readonly #database: DatabaseSync;

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Keeps a record; its reference now means its digest. */
  put(record: ImageRecord): void {
    const text = JSON.stringify(record);
    transaction(this.#database, () => {
      this.#database.prepare(
        "INSERT INTO images VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET record = excluded.record",
      ).run(record.digest, text);
      this.#database.prepare(
        `INSERT INTO image_references VALUES (?, ?, ?) ON CONFLICT (reference)
         DO UPDATE SET digest = excluded.digest, record = excluded.record`,
      ).run(record.reference, record.digest, text);
    });
  }

  /** The image that a canonical reference means now. */
  get(reference: string): ImageRecord | undefined {
    return this.#one("SELECT record FROM image_references WHERE reference = ?", reference);
  }

  /** An image by its manifest's digest. */
  getByDigest(digest: string): ImageRecord | undefined {
    return this.#one("SELECT record FROM images WHERE digest = ?", digest);
  }

  /** What every reference means now, ordered by reference. */
  list(): readonly ImageRecord[] {
    return this.#database.prepare("SELECT record FROM image_references ORDER BY reference")
      .all().map(parse);
  }

  #one(sql: string, key: string): ImageRecord | undefined {
    const row = this.#database.prepare(sql).get(key);
    return row && parse(row);
  }
}

function parse(row: Record<string, unknown>): ImageRecord {
  try {
    return JSON.parse(String(row.record));
  } catch (error) {
    throw new HutchError("state_corrupt", `Cannot read an image's record: ${errorText(error)}`, {
      cause: error,
      hint: "pull the image again",
    });
  }
}
