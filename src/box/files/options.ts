/**
 * Options of the operations on a box's files.
 *
 * @module
 */
import type { BoxPath } from "./paths.ts";

/** Options of `BoxFiles.readFile` and `readTextFile`. */
export interface FileReadOptions {
  /** Gives it up; it rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** More than this is refused with `limit_exceeded`: a guest may claim anything. @default {1 GiB} */
  readonly maxBytes?: number;
}

/** Options of `BoxFiles.writeFile` and `writeTextFile`. */
export interface FileWriteOptions {
  /** Adds to what is there. @default {false} */
  readonly append?: boolean;
  /** Makes the file if it is missing. @default {true} */
  readonly create?: boolean;
  /** Fails with `AlreadyExists` if it is there. @default {false} */
  readonly createNew?: boolean;
  /** Its permissions from then on. @default {0o644 for a new one; else they stay} */
  readonly mode?: number;
  /** Gives it up; it rejects with the signal's reason, and what was written stays. */
  readonly signal?: AbortSignal;
}

/** Options of `BoxFiles.open`, as `Deno.open` has them. */
export interface FileOpenOptions {
  /** Opens for reading. @default {true unless another access is asked for} */
  readonly read?: boolean;
  /** Opens for writing. @default {false} */
  readonly write?: boolean;
  /** Every write goes to its end. @default {false} */
  readonly append?: boolean;
  /** Empties it; needs `write`. @default {false} */
  readonly truncate?: boolean;
  /** Makes it if it is missing; needs `write` or `append`. @default {false} */
  readonly create?: boolean;
  /** Makes it, and fails with `AlreadyExists` if it is there. @default {false} */
  readonly createNew?: boolean;
  /** Permissions of a file that is made, less the guest's umask of 0o022. @default {0o666} */
  readonly mode?: number;
  /** Gives the opening up, as of a FIFO that nobody writes to. */
  readonly signal?: AbortSignal;
}

/** Options of `BoxFiles.mkdir`. */
export interface MkdirOptions {
  /** Makes those above it, too, and is content with one that is there. @default {false} */
  readonly recursive?: boolean;
  /** Permissions, less the guest's umask of 0o022. @default {0o777} */
  readonly mode?: number;
}

/** Options of `BoxFiles.makeTempDir` and `makeTempFile`. */
export interface MakeTempOptions {
  /** Folder that it is made in. @default {"/tmp"} */
  readonly dir?: string;
  /** What the name begins with. */
  readonly prefix?: string;
  /** What the name ends with. */
  readonly suffix?: string;
}

/** Options of `BoxFiles.exists`. */
export interface ExistsOptions {
  /** Whether only a folder counts. @default {false} */
  readonly isDirectory?: boolean;
  /** Whether only a file counts. @default {false} */
  readonly isFile?: boolean;
}

/** Options of `BoxFiles.walk`. */
export interface WalkOptions {
  /** Folders below the root that are entered: 0 gives the root alone. @default {Infinity} */
  readonly maxDepth?: number;
  /** Gives files. @default {true} */
  readonly includeFiles?: boolean;
  /** Gives folders. @default {true} */
  readonly includeDirs?: boolean;
  /** Gives symbolic links. @default {true} */
  readonly includeSymlinks?: boolean;
  /**
   * Whether links below the root are what they lead to, whose path they get. A folder is entered once.
   *
   * @default {false}
   */
  readonly followSymlinks?: boolean;
  /** Endings of what is given, such as `".ts"`. */
  readonly exts?: readonly string[];
  /** What is given matches one of these. */
  readonly match?: readonly RegExp[];
  /** What matches one of these is neither given nor entered. */
  readonly skip?: readonly RegExp[];
  /** Ends the walk. */
  readonly signal?: AbortSignal;
}

/** Options of `BoxFiles.expandGlob`. */
export interface ExpandGlobOptions {
  /** What the glob begins at, unless it is absolute. @default {the box's working folder} */
  readonly root?: string;
  /** Globs of what is neither given nor entered. */
  readonly exclude?: readonly string[];
  /** Gives folders. @default {true} */
  readonly includeDirs?: boolean;
  /**
   * Whether links that the glob's `*` and `**` come to are what they lead to; their paths stay. No
   * folder is entered again below itself by `**`.
   *
   * @default {false}
   */
  readonly followSymlinks?: boolean;
  /** Ends the search. */
  readonly signal?: AbortSignal;
}

/** Options of `BoxFiles.watch`. */
export interface WatchOptions {
  /** Whether what is below folders counts. @default {true} */
  readonly recursive?: boolean;
  /** Ends it as `close` does. */
  readonly signal?: AbortSignal;
}

/** One path, or several. */
export type BoxPaths = BoxPath | readonly BoxPath[];
