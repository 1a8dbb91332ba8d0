/**
 * Options and results of copies into and out of boxes.
 *
 * @module
 */

/** An entry of the tree that is copied. */
export interface CopyEntry {
  /** Below the tree's top, such as `src/main.c`; what isn't UTF-8 in it is replaced. */
  readonly path: string;
  readonly kind: "file" | "folder" | "symlink" | "other";
  /** In bytes; 0 of what isn't a file. */
  readonly size: number;
}

/** Ids from `outside` (on the host) on are those from `inside` (in the box) on, `count` of them. */
export interface CopyOwnerRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** What of files' properties goes with them. */
export interface CopyPreserve {
  /** Times of last change; of symlinks too. @default {true} */
  readonly times?: boolean;
  /**
   * Permissions. Without them files get those that new ones have, and stay executable. Out of a box
   * never come set-user-ID, set-group-ID and sticky bits. @default {true}
   */
  readonly modes?: boolean;
  /**
   * Whom files belong to on the other side: as they do here, all to one user and group, or by a map
   * in which every owner must be. On the host that takes root. @default {root in the box, whoever runs hutch on the host}
   */
  readonly owner?:
    | "keep"
    | { readonly uid: number; readonly gid: number }
    | readonly CopyOwnerRange[];
}

/** Options of `Box.copyIn` and `Box.copyOut`. */
export interface CopyOptions {
  /**
   * Whether files and links that are in the way are replaced; else they are an error. A folder is
   * never replaced, and nothing else by one: folders that are there stay, with what else is in
   * them, as they are. @default {true}
   */
  readonly overwrite?: boolean;
  /** Whether symlinks are copied as what they lead to. @default {false} */
  readonly followSymlinks?: boolean;
  /**
   * Whether a folder goes into the destination by its own name, rather than its contents. With
   * `"existing"` where the destination is there, as `cp` does. @default {false}
   */
  readonly includeParent?: boolean | "existing";
  /** Whether what is missing of the destination's path is made. @default {true} */
  readonly makeParents?: boolean;
  readonly preserve?: CopyPreserve;
  /**
   * Says what below the top is copied; a folder that isn't, isn't looked into. With a filter, files
   * that have several names come out of a box as several files.
   */
  readonly filter?: (entry: CopyEntry) => boolean | Promise<boolean>;
  /** Gives the copy up; it rejects with `cancelled`, and what was copied before stays. */
  readonly signal?: AbortSignal;
}

/** Options of `Box.copyOut`. */
export interface CopyOutOptions extends CopyOptions {
  /** Most bytes of all files together. @default {64 GiB} */
  readonly maxBytes?: number;
  /** Most entries. @default {1,000,000} */
  readonly maxEntries?: number;
}

/** How far a copy is. */
export interface CopyProgress {
  /** The entry at work, below the tree's top; `.` is the top itself. */
  readonly path: string;
  /** Files, folders and others that came so far. */
  readonly entries: number;
  /** Bytes of files that came so far. */
  readonly bytes: number;
}

/** What a copy did. */
export interface CopyResult {
  /** Files, folders and others; the top included. */
  readonly entries: number;
  /** Bytes of files. */
  readonly bytes: number;
  /** Sockets, which are left out. */
  readonly skipped: number;
}
