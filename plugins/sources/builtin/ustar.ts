/**
 * A tar writer whose output depends on nothing but its input.
 *
 * @module
 */

/** One entry of an archive; owner is root, the time 0. */
export interface TarEntry {
  /** Relative, at most 100 bytes of ASCII, without a slash at the end. */
  readonly path: string;
  /** Permissions, with set-id and sticky bits. */
  readonly mode: number;
  readonly content:
    | { readonly type: "folder" }
    | { readonly type: "file"; readonly bytes: Uint8Array }
    /** A second name of the entry `target`, which comes before. */
    | { readonly type: "hardlink"; readonly target: string };
}

const BLOCK = 512;
const FLAGS = { file: "0", hardlink: "1", folder: "5" } as const;

/** The archive, in the ustar format. */
export function writeUstar(entries: readonly TarEntry[]): Uint8Array<ArrayBuffer> {
  const size = entries.reduce((sum, { content }) => sum + BLOCK + padded(lengthOf(content)), 0);
  const archive = new Uint8Array(size + 2 * BLOCK);
  let at = 0;
  for (const entry of entries) {
    writeHeader(archive.subarray(at, at + BLOCK), entry);
    at += BLOCK;
    if (entry.content.type !== "file") continue;
    archive.set(entry.content.bytes, at);
    at += padded(entry.content.bytes.length);
  }
  return archive;
}

function lengthOf(content: TarEntry["content"]): number {
  return content.type === "file" ? content.bytes.length : 0;
}

function padded(length: number): number {
  return Math.ceil(length / BLOCK) * BLOCK;
}

function writeHeader(header: Uint8Array, { path, mode, content }: TarEntry): void {
  const text = (offset: number, limit: number, value: string) => {
    const bytes = new TextEncoder().encode(value);
    if (bytes.length > limit) throw new RangeError(`Cannot archive ${path}: a name is too long`);
    header.set(bytes, offset);
  };
  const octal = (offset: number, width: number, value: number) =>
    text(offset, width, value.toString(8).padStart(width - 1, "0"));
  text(0, 100, content.type === "folder" ? `${path}/` : path);
  octal(100, 8, mode);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, lengthOf(content));
  octal(136, 12, 0);
  text(156, 1, FLAGS[content.type]);
  if (content.type === "hardlink") text(157, 100, content.target);
  text(257, 8, "ustar\x0000");
  text(265, 32, "root");
  text(297, 32, "root");
  header.fill(0x20, 148, 156); // the sum counts its own field as spaces
  octal(148, 7, header.reduce((sum, byte) => sum + byte, 0));
  header[154] = 0;
}
