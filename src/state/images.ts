/**
 * Records of images: one per manifest, and what each reference means now.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { errorText, HutchError } from "../errors.ts";
import type {
  ImageEntry,
  ImageLedger,
  ImageRecord,
  ImageRemoval,
  ImageUser,
} from "../images/records.ts";
import { transaction, translated } from "./database.ts";

/** The tables of images. Nothing is cached: other programs share them. */
export class ImageTable implements ImageLedger {
  readonly #database: DatabaseSync;

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Keeps a record; its reference now means its digest. */
  put(record: ImageRecord): void {
    const text = JSON.stringify(record);
    transaction(this.#database, () => {
      this.#pin(record, text);
      this.#name(record, text);
    });
  }

  /** Makes a reference mean an image; what is recorded of the image already stays. */
  name(record: ImageRecord): void {
    const text = JSON.stringify(record);
    transaction(this.#database, () => {
      this.#database.prepare("INSERT OR IGNORE INTO images VALUES (?, ?)").run(record.digest, text);
      this.#name(record, text);
    });
  }

  /** Keeps a record of an image, whatever its reference means. */
  pin(record: ImageRecord): void {
    translated(this.#database, () => this.#pin(record, JSON.stringify(record)));
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
    return translated(this.#database, () => {
      return this.#database.prepare("SELECT record FROM image_references ORDER BY reference").all();
    }).map(parse);
  }

  /** Every image that is here, also those that no reference means any more; ordered by digest. */
  all(): readonly ImageRecord[] {
    return translated(this.#database, () => {
      return this.#database.prepare("SELECT record FROM images ORDER BY digest").all();
    }).map(parse);
  }

  /** All images, or the one with this digest, with what keeps them here; ordered by digest. */
  entries(digest?: string): readonly ImageEntry[] {
    return translated(this.#database, () => this.#entries(digest));
  }

  /** How many boxes are pinned to an image, by its digest. */
  boxCounts(): ReadonlyMap<string, number> {
    const rows = translated(this.#database, () => {
      return this.#database.prepare(
        "SELECT image_digest AS digest, count(*) AS boxes FROM boxes GROUP BY image_digest",
      ).all();
    });
    return new Map(rows.map(({ digest, boxes }) => [String(digest), Number(boxes)]));
  }

  /** Digests of all images, and of those that boxes are pinned to though they have no record. */
  digests(): ReadonlySet<string> {
    const rows = translated(this.#database, () => {
      return this.#database.prepare(
        "SELECT digest FROM images UNION SELECT image_digest FROM boxes",
      )
        .all();
    });
    return new Set(rows.map((row) => String(row.digest)));
  }

  /** Forgets what `choose` says, in one transaction with what it was shown. */
  forget(
    choose: (entries: readonly ImageEntry[]) => readonly ImageRemoval[],
    digest?: string,
  ): readonly ImageRemoval[] {
    return transaction(this.#database, () => {
      const removals = choose(this.#entries(digest));
      const dropReference = this.#database.prepare(
        "DELETE FROM image_references WHERE reference = ? AND digest = ?",
      );
      const dropImage = this.#database.prepare("DELETE FROM images WHERE digest = ?");
      for (const { digest, references, image } of removals) {
        for (const reference of references) dropReference.run(reference, digest);
        if (image) dropImage.run(digest);
      }
      return removals;
    });
  }

  /** Removes records that can't be read; gives their references. */
  dropDamaged(): string[] {
    return transaction(this.#database, () => {
      const references = this.#database.prepare(
        `SELECT r.reference FROM image_references r JOIN images i ON i.digest = r.digest
         WHERE NOT (json_valid(r.record) AND json_valid(i.record)) ORDER BY r.reference`,
      ).all();
      this.#database.exec(
        `DELETE FROM images WHERE NOT json_valid(record);
         DELETE FROM image_references WHERE NOT json_valid(record);`,
      );
      return references.map((row) => String(row.reference));
    });
  }

  #pin({ digest }: ImageRecord, text: string): void {
    this.#database.prepare(
      "INSERT INTO images VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET record = excluded.record",
    ).run(digest, text);
  }

  #name({ reference, digest }: ImageRecord, text: string): void {
    this.#database.prepare(
      `INSERT INTO image_references VALUES (?, ?, ?) ON CONFLICT (reference)
       DO UPDATE SET digest = excluded.digest, record = excluded.record`,
    ).run(reference, digest, text);
  }

  #entries(digest: string | undefined): ImageEntry[] {
    const only = (column: string) => digest === undefined ? "" : `WHERE ${column} = ?`;
    const keys = digest === undefined ? [] : [digest];
    const references = groups(
      this.#database.prepare(
        `SELECT digest, reference FROM image_references ${only("digest")} ORDER BY reference`,
      ).all(...keys),
      ({ reference }) => String(reference),
    );
    const boxes = groups(
      this.#database.prepare(
        `SELECT image_digest AS digest, id, name FROM boxes ${only("image_digest")} ORDER BY name`,
      ).all(...keys),
      ({ id, name }): ImageUser => ({ id: String(id), name: String(name) }),
    );
    const rows = this.#database.prepare(
      `SELECT digest, record FROM images ${only("digest")} ORDER BY digest`,
    ).all(...keys);
    return rows.map((row) => ({
      record: parse(row),
      references: references.get(String(row.digest)) ?? [],
      boxes: boxes.get(String(row.digest)) ?? [],
    }));
  }

  #one(sql: string, key: string): ImageRecord | undefined {
    const row = translated(this.#database, () => this.#database.prepare(sql).get(key));
    return row && parse(row);
  }
}

/** Rows by their digest. */
function groups<T>(
  rows: readonly Record<string, unknown>[],
  make: (row: Record<string, unknown>) => T,
): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const row of rows) {
    const digest = String(row.digest);
    const group = found.get(digest);
    if (group) group.push(make(row));
    else found.set(digest, [make(row)]);
  }
  return found;
}

function parse(row: Record<string, unknown>): ImageRecord {
  try {
    return JSON.parse(String(row.record));
  } catch (error) {
    throw new HutchError("state_corrupt", `Cannot read an image's record: ${errorText(error)}`, {
      cause: error,
      hint: "pull the image again, or repair the home (hutch doctor --repair)",
    });
  }
}
