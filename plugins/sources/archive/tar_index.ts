/**
 * Where things are in a tar archive, found in one pass over its headers.
 *
 * @module
 */
import { posix } from "node:path";
import { errorText, HutchError } from "../../../mod.ts";
import { type ArchiveFile, OtherKind } from "./file.ts";
import { BLOCK, Overrides, readTarHeader, type TarHeader } from "./tar_header.ts";

/** Where a file's content is. */
export interface TarFile {
  /** In bytes from the archive's beginning. */
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
}

type Entry =
  | { readonly kind: "file"; readonly file: TarFile }
  | { readonly kind: "link"; readonly target: string }
  /** A link out of the archive: fine in those of other kinds, and never followed. */
  | { readonly kind: "out" }
  | { readonly kind: "other" };

/** Most headers of all kinds: an entry has one to four. */
const HEADER_LIMIT = 100_000;
const PATH_LIMIT = 4096;
/** Most characters of all names together. */
const NAMES_LIMIT = 16 * 2 ** 20;
/** Most bytes of a pax header. */
const RECORDS_LIMIT = 64 * 1024;
const LINK_LIMIT = 8;
const WINDOW = 64 * 1024;

/** The files of an archive by name. Nothing is unpacked: a name is only ever looked up. */
export class TarIndex {
  readonly #archive: ArchiveFile;
  readonly #entries = new Map<string, Entry>();
  #nameLength = 0;

  private constructor(archive: ArchiveFile) {
    this.#archive = archive;
  }

  /**
   * Reads the headers.
   *
   * @throws {HutchError} `invalid_image`, `limit_exceeded`, `cancelled`
   */
  static async read(archive: ArchiveFile, signal: AbortSignal): Promise<TarIndex> {
    const index = new TarIndex(archive);
    for await (const { header, offset } of headersOf(archive)) {
      if (signal.aborted) {
        throw new HutchError("cancelled", `Cannot read ${archive.name}: it was cancelled`, {
          cause: signal.reason,
        });
      }
      index.#add(header, offset);
    }
    return index;
  }

  /** Whether something has this name. */
  has(path: string): boolean {
    return this.#entries.has(path);
  }

  /**
   * A file by its name, through links; undefined when there is none.
   *
   * @throws {HutchError} `invalid_image` when it is something else, or a link that leads nowhere.
   */
  find(path: string): TarFile | undefined {
    let at = path;
    for (let links = 0; links <= LINK_LIMIT; links++) {
      const entry = this.#entries.get(at);
      if (entry?.kind === "file") return entry.file;
      if (entry?.kind === "out") throw this.#leadsOut(at);
      if (entry?.kind === "other") throw this.#invalid(`its ${shown(path)} isn't a file`);
      if (entry === undefined) {
        if (links === 0) return undefined;
        throw this.#invalid(`its ${shown(path)} is a link to ${shown(at)}, which isn't there`);
      }
      at = entry.target;
    }
    throw this.#invalid(`its ${shown(path)} is a link through too many others`);
  }

  #add(header: TarHeader, offset: number): void {
    const path = this.#name(header.path);
    if (path === "." || header.type === "5") return;
    if (this.#entries.has(path)) {
      // Two readers could take different ones for the image.
      throw this.#invalid(`it has ${shown(path)} twice`);
    }
    this.#nameLength += path.length + header.link.length;
    if (this.#nameLength > NAMES_LIMIT) {
      throw tooMuch(this.#archive, `its names have more than ${NAMES_LIMIT} characters`);
    }
    this.#entries.set(path, this.#entry(header, path, offset));
  }

  #entry({ type, size, link }: TarHeader, path: string, offset: number): Entry {
    if (type === "0") return { kind: "file", file: { offset, size } };
    if (type !== "1" && type !== "2") return { kind: "other" };
    const from = type === "1" || link.startsWith("/") ? link : `${posix.dirname(path)}/${link}`;
    const target = normal(from);
    return target === undefined ? { kind: "out" } : { kind: "link", target };
  }

  /** The one spelling of a name. */
  #name(path: string): string {
    if (path.length > PATH_LIMIT) throw this.#invalid(`it has a name of more than ${PATH_LIMIT}`);
    if (path === "" || path.includes("\0")) throw this.#invalid("it has an impossible name");
    const name = normal(path);
    if (name === undefined) throw this.#leadsOut(path);
    return name;
  }

  #leadsOut(path: string): HutchError {
    return this.#invalid(`its ${shown(path)} leads out of it`);
  }

  #invalid(problem: string): HutchError {
    return this.#archive.invalid(problem);
  }
}

/** A path in its one spelling; undefined when it leads out. */
function normal(path: string): string | undefined {
  const spelled = posix.normalize(path).replace(/\/$/, "");
  const out = spelled.startsWith("/") || spelled === ".." || spelled.startsWith("../");
  return out ? undefined : spelled;
}

/** Each entry's header and where its content begins. */
async function* headersOf(
  archive: ArchiveFile,
): AsyncGenerator<{ header: TarHeader; offset: number }> {
  const overrides = new Overrides();
  let window = { offset: 0, bytes: new Uint8Array() };
  for (let at = 0, headers = 0; at < archive.size; headers++) {
    if (headers >= HEADER_LIMIT) {
      throw tooMuch(archive, `it has more than ${HEADER_LIMIT} headers`);
    }
    if (at + BLOCK > window.offset + window.bytes.length) {
      window = { offset: at, bytes: await archive.read(at, Math.min(WINDOW, archive.size - at)) };
    }
    const block = window.bytes.subarray(at - window.offset, at - window.offset + BLOCK);
    const offset = at + BLOCK;
    try {
      if (block.length < BLOCK) throw new Error("an end in the middle of a header");
      const raw = readTarHeader(block);
      if (raw === undefined) return;
      const before = Overrides.isType(raw.type);
      const header = before ? raw : overrides.apply(raw);
      if (offset + header.size > archive.size) throw new Error("an entry that its end cuts off");
      if (before && header.size > RECORDS_LIMIT) throw new Error("an oversized header");
      if (before) overrides.take(header.type, await archive.read(offset, header.size));
      else if (header.type === "M") throw new Error("a part of another archive's file");
      // Global headers and volume labels are about no file.
      else if (header.type !== "g" && header.type !== "V") yield { header, offset };
      at = offset + Math.ceil(header.size / BLOCK) * BLOCK;
    } catch (error) {
      if (error instanceof HutchError) throw error;
      if (at > 0) throw archive.invalid(`it has ${errorText(error)}`);
      throw new OtherKind("invalid_image", `Cannot read ${archive.name}: it isn't a tar archive`);
    }
  }
}

function tooMuch(archive: ArchiveFile, problem: string): HutchError {
  return new HutchError("limit_exceeded", `Cannot read ${archive.name}: ${problem}`);
}

/** A name in an error: of an archive that may be hostile. */
function shown(path: string): string {
  return JSON.stringify(path.length > 128 ? `${path.slice(0, 128)}…` : path);
}
