/**
 * The schema, as steps that only ever go forward. A step that has been released is never changed.
 *
 * @module
 */

/** Step N brings a database from version N to N + 1; without foreign keys, so that tables can be made anew. */
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
  // Events, and what they add up to. Sequence numbers are never used again: whoever reads on from
  // one would miss what came after. Counters of a box go with it.
  `
  CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    type TEXT NOT NULL,
    box_id TEXT,
    box_name TEXT,
    document TEXT NOT NULL
  ) STRICT;

  CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    sum REAL NOT NULL,
    least REAL,
    most REAL,
    last REAL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE box_counters (
    box_id TEXT NOT NULL REFERENCES boxes (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    count INTEGER NOT NULL,
    sum REAL NOT NULL,
    least REAL,
    most REAL,
    last REAL,
    PRIMARY KEY (box_id, name)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE running_execs (
    box_id TEXT NOT NULL REFERENCES boxes (id) ON DELETE CASCADE,
    program TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (box_id, program)
  ) STRICT, WITHOUT ROWID;
  `,
  // What keepers go by. A row begins with the first start of a box that wants a keeper.
  `
  CREATE TABLE keepings (
    box_id TEXT PRIMARY KEY REFERENCES boxes (id) ON DELETE CASCADE,
    kept INTEGER NOT NULL,
    detached INTEGER NOT NULL,
    health TEXT NOT NULL,
    restarts INTEGER NOT NULL,
    restart_row INTEGER NOT NULL,
    restarted_at TEXT,
    plugins TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX keepings_kept ON keepings (box_id) WHERE kept = 1 AND detached = 1;
  `,
  // For lists: labels by value, and boxes by when they were started. Triggers, so that no way of
  // writing a configuration forgets the labels. Damaged JSON has none of either.
  `
  CREATE TABLE box_labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    box_id TEXT NOT NULL REFERENCES boxes (id) ON DELETE CASCADE,
    PRIMARY KEY (key, value, box_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX boxes_by_name ON boxes (name, id); -- covers what a search by name reads
  CREATE INDEX box_labels_by_box ON box_labels (box_id);
  CREATE TRIGGER boxes_added AFTER INSERT ON boxes BEGIN
    INSERT OR IGNORE INTO box_labels
    SELECT key, CAST(value AS TEXT), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.labels');
  END;
  CREATE TRIGGER boxes_reconfigured AFTER UPDATE OF config ON boxes BEGIN
    DELETE FROM box_labels WHERE box_id = OLD.id;
    INSERT OR IGNORE INTO box_labels
    SELECT key, CAST(value AS TEXT), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.labels');
  END;
  INSERT OR IGNORE INTO box_labels
  SELECT label.key, CAST(label.value AS TEXT), boxes.id
  FROM boxes, json_each(CASE WHEN json_valid(config) THEN config ELSE '{}' END, '$.labels') label;

  ALTER TABLE box_states ADD COLUMN started_at TEXT GENERATED ALWAYS AS (
    CASE WHEN json_valid(document)
    THEN coalesce(CAST(json_extract(document, '$.startedAt') AS TEXT), '') ELSE '' END
  ) VIRTUAL;
  CREATE INDEX box_states_by_start ON box_states (started_at);
  `,
  // Main commands and their exit codes. Programs that don't know them mustn't start such boxes.
  `
  UPDATE box_states SET document = json_set(document, '$.exitCode', NULL)
  WHERE json_valid(document) AND json_extract(document, '$.exitCode') IS NULL;
  `,
  // Named volumes, and which boxes have them: by triggers, as labels.
  `
  CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    record TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE box_volumes (
    volume TEXT NOT NULL,
    box_id TEXT NOT NULL REFERENCES boxes (id) ON DELETE CASCADE,
    PRIMARY KEY (volume, box_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX box_volumes_by_box ON box_volumes (box_id);
  CREATE TRIGGER boxes_added_volumes AFTER INSERT ON boxes BEGIN
    INSERT OR IGNORE INTO box_volumes
    SELECT json_extract(value, '$.volume'), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.volumes')
    WHERE CASE type WHEN 'object' THEN json_type(value, '$.volume') = 'text' ELSE 0 END;
  END;
  CREATE TRIGGER boxes_reconfigured_volumes AFTER UPDATE OF config ON boxes BEGIN
    DELETE FROM box_volumes WHERE box_id = OLD.id;
    INSERT OR IGNORE INTO box_volumes
    SELECT json_extract(value, '$.volume'), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.volumes')
    WHERE CASE type WHEN 'object' THEN json_type(value, '$.volume') = 'text' ELSE 0 END;
  END;
  `,
  // What disks are over, and snapshots. A row of box_disks says what a box's disk is, or may be, over;
  // no row: its image's disk. Nothing that has a row is removed while another row names it. (A parent
  // isn't declared as one, so that rows can be copied in any order.)
  `
  CREATE TABLE backing_disks (
    id TEXT PRIMARY KEY,
    parent TEXT,
    created_at TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX backing_disks_by_parent ON backing_disks (parent);
  CREATE TABLE box_disks (
    box_id TEXT NOT NULL REFERENCES boxes (id) ON DELETE CASCADE,
    backing TEXT NOT NULL REFERENCES backing_disks (id),
    PRIMARY KEY (box_id, backing)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX box_disks_by_backing ON box_disks (backing);
  CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    box_id TEXT NOT NULL REFERENCES boxes (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    backing TEXT REFERENCES backing_disks (id),
    created_at TEXT NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (box_id, name)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX snapshots_by_backing ON snapshots (backing);
  -- Boxes that have another one's disk, and aren't somebody else yet.
  CREATE TABLE renewals (
    box_id TEXT PRIMARY KEY REFERENCES boxes (id) ON DELETE CASCADE
  ) STRICT, WITHOUT ROWID;
  `,
  // Detached commands whose end nobody has told of.
  `
  CREATE TABLE detached_commands (
    execution TEXT PRIMARY KEY,
    box_id TEXT NOT NULL REFERENCES boxes (id) ON DELETE CASCADE,
    command TEXT NOT NULL,
    started_at TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX detached_commands_by_box ON detached_commands (box_id);
  `,
  // Boxes anew: rows in the order of their making, and in a table that keeps long ones on one page, which
  // a list of all reads in a fifth of the time.
  `
  CREATE TABLE boxes_anew (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    image_digest TEXT NOT NULL,
    owned INTEGER NOT NULL,
    config TEXT NOT NULL,
    seal INTEGER
  ) STRICT;
  INSERT INTO boxes_anew
  SELECT id, name, created_at, image_digest, owned, config, NULL FROM boxes ORDER BY created_at, id;
  DROP TABLE boxes;
  ALTER TABLE boxes_anew RENAME TO boxes;
  CREATE INDEX boxes_owned ON boxes (id) WHERE owned = 1;
  CREATE INDEX boxes_by_creation ON boxes (created_at, id);
  CREATE INDEX boxes_by_image ON boxes (image_digest);
  CREATE INDEX boxes_by_name ON boxes (name, id); -- covers what a search by name reads
  CREATE TRIGGER boxes_added AFTER INSERT ON boxes BEGIN
    INSERT OR IGNORE INTO box_labels
    SELECT key, CAST(value AS TEXT), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.labels');
  END;
  CREATE TRIGGER boxes_reconfigured AFTER UPDATE OF config ON boxes BEGIN
    DELETE FROM box_labels WHERE box_id = OLD.id;
    INSERT OR IGNORE INTO box_labels
    SELECT key, CAST(value AS TEXT), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.labels');
  END;
  CREATE TRIGGER boxes_added_volumes AFTER INSERT ON boxes BEGIN
    INSERT OR IGNORE INTO box_volumes
    SELECT json_extract(value, '$.volume'), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.volumes')
    WHERE CASE type WHEN 'object' THEN json_type(value, '$.volume') = 'text' ELSE 0 END;
  END;
  CREATE TRIGGER boxes_reconfigured_volumes AFTER UPDATE OF config ON boxes BEGIN
    DELETE FROM box_volumes WHERE box_id = OLD.id;
    INSERT OR IGNORE INTO box_volumes
    SELECT json_extract(value, '$.volume'), NEW.id
    FROM json_each(CASE WHEN json_valid(NEW.config) THEN NEW.config ELSE '{}' END, '$.volumes')
    WHERE CASE type WHEN 'object' THEN json_type(value, '$.volume') = 'text' ELSE 0 END;
  END;
  `,
  // Configurations are checked when they are first read.
  "ALTER TABLE boxes DROP COLUMN seal;",
];
