/**
 * A box's files, as `Deno.*` has those of the host.
 *
 * @module
 */
import { BoxFile } from "./files/box_file.ts";
import { readWhole, writeWhole } from "./files/content.ts";
import { FileHandle } from "./files/handle.ts";
import { type BoxDirEntry, type BoxFileInfo, readInfo } from "./files/info.ts";
import { expandFrom } from "./files/glob.ts";
import type {
  BoxPaths,
  ExistsOptions,
  ExpandGlobOptions,
  FileOpenOptions,
  FileReadOptions,
  FileWriteOptions,
  MakeTempOptions,
  MkdirOptions,
  WalkOptions,
  WatchOptions,
} from "./files/options.ts";
import { checkLength, checkMode, checkOwner } from "./files/numbers.ts";
import { openFlags } from "./files/open_flags.ts";
import { type BoxPath, decodePath, pathBytes, pathText } from "./files/paths.ts";
import { type FilesHost, FilesPort } from "./files/port.ts";
import { named } from "./files/temp_names.ts";
import { utimeFields } from "./files/times.ts";
import { BoxWatcher } from "./files/watch.ts";
import { type BoxWalkEntry, isMissing, listFolder, walkFrom, type WalkPort } from "./files/walk.ts";
import { Flag, type GuestFrame, type HeadValue } from "./files/wire.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The files of a box: what `Deno.readFile` and its kin do, in the box. Names, options, results and
 * errors (`Deno.errors.NotFound`, …) are Deno's; what Deno has no error class for is a `HutchError`.
 *
 * Paths are those that programs in the box see, volumes and `/tmp` included; relative ones begin at
 * the box's working folder. A call boots the box if it doesn't run. Nothing of the image is needed:
 * there may be neither a shell nor any other program in it.
 *
 * A request under way and an open file count as activity of the box; a watch doesn't.
 *
 * @example Writing, reading, listing
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * await box.fs.mkdir("/srv/data", { recursive: true });
 * await box.fs.writeTextFile("/srv/data/note", "hello\n");
 * for await (const { name, isFile } of box.fs.readDir("/srv/data")) console.log(name, isFile);
 * console.log(await box.fs.readTextFile("/srv/data/note"));
 * ```
 */
export class BoxFiles {
  readonly #port: FilesPort;
  readonly #walker: WalkPort;

  /** For boxes; `user` as of `Box.exec`. */
  constructor(host: FilesHost, user: string) {
    this.#port = new FilesPort(host, user);
    this.#walker = {
      port: this.#port,
      stat: (path) => this.stat(path),
      realPath: async (path) => (await this.#ask("resolve", path, { op: "realPath" })).data,
    };
  }

  /** All bytes of a file. */
  readFile(path: BoxPath, options: FileReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return readWhole(this.#port, path, options);
  }

  /** All of a file as UTF-8. */
  async readTextFile(path: BoxPath, options: FileReadOptions = {}): Promise<string> {
    return decoder.decode(await this.readFile(path, options));
  }

  /** Writes a file, in place of what it holds unless `append` is set; it is made if it is missing. */
  writeFile(
    path: BoxPath,
    data: Uint8Array | ReadableStream<Uint8Array>,
    options: FileWriteOptions = {},
  ): Promise<void> {
    return writeWhole(this.#port, path, { data, options });
  }

  /** {@link BoxFiles.writeFile} of text, as UTF-8. */
  writeTextFile(
    path: BoxPath,
    data: string | ReadableStream<string>,
    options: FileWriteOptions = {},
  ): Promise<void> {
    const bytes = typeof data === "string"
      ? new TextEncoder().encode(data)
      : data.pipeThrough(new TextEncoderStream());
    return this.writeFile(path, bytes, options);
  }

  /** Opens a file, for reading unless something else is asked for. */
  async open(path: BoxPath, options: FileOpenOptions = {}): Promise<BoxFile> {
    const { append = false, mode = 0o666, signal } = options;
    const flags = openFlags(path, options);
    return new BoxFile(
      await FileHandle.open(this.#port, {
        ...{ path, verb: "open", flags, signal },
        mode: checkMode(mode),
      }),
      append,
    );
  }

  /** A folder's entries, in no order. */
  readDir(path: BoxPath): AsyncIterable<BoxDirEntry> {
    return listFolder(this.#port, path);
  }

  /** What a path is; of a link, what it leads to. */
  async stat(path: BoxPath): Promise<BoxFileInfo> {
    return readInfo(await this.#ask("stat", path, { op: "stat", flags: 0 }));
  }

  /** What a path is, a link itself included. */
  async lstat(path: BoxPath): Promise<BoxFileInfo> {
    return readInfo(await this.#ask("stat", path, { op: "stat", flags: Flag.NOT_FOLLOWED }));
  }

  /** Whether a path leads to something. */
  async exists(path: BoxPath, options: ExistsOptions = {}): Promise<boolean> {
    try {
      const { isDirectory, isFile } = await this.stat(path);
      return (!options.isDirectory || isDirectory) && (!options.isFile || isFile);
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  /** Makes a folder. */
  async mkdir(path: BoxPath, options: MkdirOptions = {}): Promise<void> {
    const { recursive = false, mode = 0o777 } = options;
    await this.#ask("make folder", path, {
      op: "mkdir",
      flags: recursive ? Flag.RECURSIVE : 0,
      mode: checkMode(mode),
    });
  }

  /** Makes a folder with a name that nothing else has; gives its path. */
  async makeTempDir(options: MakeTempOptions = {}): Promise<string> {
    return await named(options, (path) => this.mkdir(path, { mode: 0o700 }));
  }

  /** Makes an empty file with a name that nothing else has; gives its path. */
  async makeTempFile(options: MakeTempOptions = {}): Promise<string> {
    return await named(
      options,
      (path) => this.writeFile(path, new Uint8Array(0), { createNew: true, mode: 0o600 }),
    );
  }

  /** Removes a file or an empty folder; with `recursive` all that is in it. */
  async remove(path: BoxPath, options: { readonly recursive?: boolean } = {}): Promise<void> {
    await this.#ask("remove", path, {
      op: "remove",
      flags: options.recursive ? Flag.RECURSIVE : 0,
    });
  }

  /** Gives a file or folder another path; a file there is replaced. */
  async rename(oldpath: BoxPath, newpath: BoxPath): Promise<void> {
    await this.#ask("rename", oldpath, { op: "rename", to: this.#port.path(newpath) }, newpath);
  }

  /** Copies a file's bytes and permissions within the box; a file there is replaced. */
  async copyFile(fromPath: BoxPath, toPath: BoxPath): Promise<void> {
    await this.#ask("copy", fromPath, { op: "copy", to: this.#port.path(toPath) }, toPath);
  }

  /** Gives a file a second path. */
  async link(oldpath: BoxPath, newpath: BoxPath): Promise<void> {
    await this.#ask("link", oldpath, { op: "link", to: this.#port.path(newpath) }, newpath);
  }

  /** Makes a link at `newpath` that leads to `oldpath`, which is kept as it is given. */
  async symlink(oldpath: BoxPath, newpath: BoxPath): Promise<void> {
    await this.#port.ask({
      what: this.#port.what("link", oldpath, ` to ${pathText(newpath)}`),
      head: { op: "symlink", path: pathBytes(oldpath), to: this.#port.path(newpath) },
    });
  }

  /** Where a link leads; bytes that aren't UTF-8 become U+FFFD. */
  async readLink(path: BoxPath): Promise<string> {
    return decodePath(await this.readLinkBytes(path));
  }

  /** Where a link leads, byte by byte. */
  async readLinkBytes(path: BoxPath): Promise<Uint8Array<ArrayBuffer>> {
    return (await this.#ask("read link", path, { op: "readLink" })).data;
  }

  /** The absolute path that a path leads to, without links; bytes that aren't UTF-8 become U+FFFD. */
  async realPath(path: BoxPath): Promise<string> {
    return decodePath(await this.#walker.realPath(path));
  }

  /** Sets permissions. */
  async chmod(path: BoxPath, mode: number): Promise<void> {
    await this.#ask("change the mode of", path, { op: "chmod", mode: checkMode(mode) });
  }

  /** Sets owner and group; null leaves one as it is. */
  async chown(path: BoxPath, uid: number | null, gid: number | null): Promise<void> {
    const ids = { uid: checkOwner("user", uid), gid: checkOwner("group", gid) };
    await this.#ask("change the owner of", path, { op: "chown", ...ids, flags: 0 });
  }

  /** Sets times; numbers are seconds since 1970. */
  async utime(path: BoxPath, atime: number | Date, mtime: number | Date): Promise<void> {
    const head = { op: "utime", flags: 0, ...utimeFields(atime, mtime) };
    await this.#ask("change the times of", path, head);
  }

  /** {@link BoxFiles.utime} of a link itself. */
  async lutime(path: BoxPath, atime: number | Date, mtime: number | Date): Promise<void> {
    const head = { op: "utime", flags: Flag.NOT_FOLLOWED, ...utimeFields(atime, mtime) };
    await this.#ask("change the times of", path, head);
  }

  /** Makes a file so long, with zeros where it grows. @param length In bytes. @default {0} */
  async truncate(path: BoxPath, length = 0): Promise<void> {
    await this.#ask("truncate", path, { op: "truncate", length: checkLength(length) });
  }

  /**
   * A path and all below it, a folder before what is in it: `walk` of `@std/fs`.
   *
   * @param root It begins the paths that are given. A link is followed here, whatever the options.
   */
  walk(root: BoxPath, options: WalkOptions = {}): AsyncIterable<BoxWalkEntry> {
    return walkFrom(this.#walker, root, options);
  }

  /**
   * Paths that match a glob, which `node:path`'s `matchesGlob` reads: `*`, `?`, `[ab]`, `{a,b}` within
   * a name, `**` across folders. Names that begin with a dot match only a dot.
   */
  expandGlob(glob: string, options: ExpandGlobOptions = {}): AsyncIterable<BoxWalkEntry> {
    return expandFrom(this.#walker, glob, options);
  }

  /**
   * Watches files and folders, and all below them unless `recursive` is false.
   *
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using box = await runtime.create({ image: "builtin:busybox" });
   * await using watcher = box.fs.watch("/etc");
   * await watcher.ready;
   * await box.fs.writeTextFile("/etc/motd", "hello\n");
   * for await (const { kind, paths } of watcher) {
   *   console.log(kind, paths); // "create" ["/etc/motd"]
   *   break;
   * }
   * ```
   */
  watch(paths: BoxPaths, options: WatchOptions = {}): BoxWatcher {
    const { recursive = true, signal } = options;
    const list = (Array.isArray(paths) ? paths : [paths]).map((path) => this.#port.path(path));
    const [first = ""] = list;
    const argv = [recursive ? "all" : "top", ...list];
    return new BoxWatcher(() => this.#port.run("watch", argv, { background: true }), {
      what: this.#port.what("watch", first),
      signal,
    });
  }

  #ask(
    verb: string,
    path: BoxPath,
    head: Readonly<Record<string, HeadValue>>,
    to?: BoxPath,
  ): Promise<GuestFrame> {
    return this.#port.ask({
      what: this.#port.what(verb, path, to === undefined ? "" : ` to ${pathText(to)}`),
      head: { path: this.#port.path(path), ...head },
    });
  }
}
