/**
 * What is known of a file, in the shapes that Deno has.
 *
 * @module
 */
import { decodePath, joinPath } from "./paths.ts";
import { broken, type GuestFrame } from "./wire.ts";

/** What a file is, as `Deno.stat` tells. */
export type BoxFileInfo = Deno.FileInfo;

/** An entry of a folder, as `Deno.readDir` gives it, with its bytes. */
export interface BoxDirEntry extends Deno.DirEntry {
  /** Its name; bytes that aren't UTF-8 show as U+FFFD. */
  readonly name: string;
  /** Its name as it is. */
  readonly nameBytes: Uint8Array<ArrayBuffer>;
  /** Folder and name: reaches it whatever its name is. */
  readonly pathBytes: Uint8Array<ArrayBuffer>;
  readonly isFile: boolean;
  readonly isDirectory: boolean;
  readonly isSymlink: boolean;
}

const KIND = 0o170000;
const [FIFO, CHAR, FOLDER, BLOCK, FILE, LINK, SOCKET] = [1, 2, 4, 6, 8, 10, 12]
  .map((kind) => kind << 12);
const MOST_NAME = 1024;
const SLASH = 0x2f;

/** The reply to `stat`. */
export function readInfo(reply: GuestFrame): BoxFileInfo {
  const mode = reply.number("mode", 0, 0xffffffff);
  const kind = mode & KIND;
  return {
    isFile: kind === FILE,
    isDirectory: kind === FOLDER,
    isSymlink: kind === LINK,
    size: reply.number("size"),
    mtime: reply.time("mtime"),
    atime: reply.time("atime"),
    birthtime: reply.time("birthtime"),
    ctime: reply.time("ctime"),
    dev: reply.number("dev"),
    ino: reply.number("ino"),
    mode,
    nlink: reply.number("nlink"),
    uid: reply.number("uid"),
    gid: reply.number("gid"),
    rdev: reply.number("rdev"),
    blksize: reply.number("blksize"),
    blocks: reply.number("blocks"),
    isBlockDevice: kind === BLOCK,
    isCharDevice: kind === CHAR,
    isFifo: kind === FIFO,
    isSocket: kind === SOCKET,
  };
}

/** The entries in the reply to `list`: for each u8 kind, u16 length (BE), name. */
export function* readEntries(data: Uint8Array, folder: Uint8Array): Generator<BoxDirEntry> {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  for (let at = 0; at < data.length;) {
    if (data.length - at < 3) throw broken("an entry of a folder is cut");
    const [kind, length] = [view.getUint8(at), view.getUint16(at + 1)];
    const nameBytes = data.slice(at + 3, at + 3 + length);
    if (nameBytes.length < length) throw broken("an entry of a folder is cut");
    at += 3 + length;
    checkName(nameBytes);
    const name = decodePath(nameBytes);
    yield {
      name,
      nameBytes,
      pathBytes: joinPath(folder, nameBytes),
      isFile: kind === 0x66,
      isDirectory: kind === 0x64,
      isSymlink: kind === 0x6c,
    };
  }
}

/** A name that leads elsewhere would take whoever joins it to a path there. */
function checkName(name: Uint8Array): void {
  if (name.length === 0 || name.length > MOST_NAME) throw broken("a name's length is impossible");
  if (name.includes(SLASH) || name.includes(0)) throw broken("a name has / or NUL in it");
  if (name.length <= 2 && name.every((byte) => byte === 0x2e)) throw broken("a name is . or ..");
}
