/**
 * The schema, as steps that only ever go forward. A step that has been released is never changed.
 *
 * @module
 */

/** Step N brings a database from version N to N + 1. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE boxes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    image_digest TEXT NOT NULL,
    owned INTEGER NOT NULL,
    config TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX boxes_owned ON boxes (id) WHERE owned = 1;
  CREATE INDEX boxes_by_creation ON boxes (created_at, id);
  CREATE INDEX boxes_by_image ON boxes (image_digest);

  CREATE TABLE box_states (
    box_id TEXT PRIMARY KEY REFERENCES boxes (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    pid INTEGER,
    boot_id TEXT,
    document TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX box_states_by_status ON box_states (status);

  CREATE TABLE images (
    digest TEXT PRIMARY KEY,
    record TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE image_references (
    reference TEXT PRIMARY KEY,
    digest TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
    record TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX image_references_by_digest ON image_references (digest);
  `,
];
