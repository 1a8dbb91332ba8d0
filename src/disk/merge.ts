/**
 * Makes one overlay of several, each over the next: shorter chains, with the same content.
 *
 * @module
 */
import { ABSENT, CLUSTER, type ClusterMap, isZero, Overlay, PER_TABLE, ZEROS } from "./overlay.ts";
import { createOverlay } from "./qcow2.ts";

/** Options of {@link mergeOverlays}. */
export interface MergeOptions {
  /** Where the new overlay is made; must not exist. */
  readonly path: string;
  /** The overlays, the topmost first. */
  readonly links: readonly string[];
  /** What the last of them is over. */
  readonly backing: { readonly path: string; readonly format: "raw" | "qcow2" };
  /** Ends the work. */
  readonly signal: AbortSignal;
}

const COPIED = 1n << 63n;
const ZERO = 1n;
/** Clusters between two looks at the signal, and turns for others. */
const AT_ONCE = 16;
const COUNTS_PER_BLOCK = CLUSTER / 2;

/**
 * Writes the overlay and brings it to the disk. What fails leaves a file that is to be removed.
 *
 * @throws HutchError `state_corrupt` when a link isn't an overlay of hutch's; the signal's reason.
 */
export async function mergeOverlays(options: MergeOptions): Promise<void> {
  using open = new DisposableStack();
  const links = options.links.map((path) => open.use(new Overlay(path)));
  const sizeBytes = Math.max(...links.map(({ header }) => header.sizeBytes));
  await createOverlay({
    path: options.path,
    backingPath: options.backing.path,
    backingFormat: options.backing.format,
    sizeBytes,
  });
  const made = open.use(new Overlay(options.path));
  using file = Deno.openSync(options.path, { read: true, write: true });
  const writer = new Writer(file, made.header.tables);
  const maps = links.map((link) => ({ link, map: link.map() }));
  const indexes = new Set(maps.flatMap(({ map }) => [...map.keys()]));
  for (const index of [...indexes].sort((a, b) => a - b)) {
    const table = new BigUint64Array(PER_TABLE);
    for (let n = 0; n < PER_TABLE; n++) {
      const found = maps.find(({ map }) => placeOf(map, index, n) !== ABSENT);
      if (!found) continue;
      table[n] = writer.add(found.link, placeOf(found.map, index, n));
      if (n % AT_ONCE === 0) await breathe(options.signal);
    }
    writer.table(index, table);
    await breathe(options.signal);
  }
  writer.finish();
  file.syncSync();
}

function placeOf(map: ClusterMap, index: number, n: number): number {
  return map.get(index)?.[n] ?? ABSENT;
}

/** Appends clusters to a fresh overlay, whose tables are all there. */
class Writer {
  readonly #file: Deno.FsFile;
  readonly #tables: readonly number[];
  readonly #bytes = new Uint8Array(CLUSTER);
  readonly #first: number;
  #next: number;

  constructor(file: Deno.FsFile, tables: readonly number[]) {
    this.#file = file;
    this.#tables = tables;
    this.#first = this.#next = file.statSync().size / CLUSTER;
  }

  /** Copies a cluster; gives its entry. */
  add(link: Overlay, place: number): bigint {
    if (place === ZEROS) return ZERO;
    link.read(place, this.#bytes);
    if (isZero(this.#bytes)) return ZERO;
    const at = this.#next++ * CLUSTER;
    writeAt(this.#file, at, this.#bytes);
    return BigInt(at) | COPIED;
  }

  /** Writes an L2 table. */
  table(index: number, entries: BigUint64Array): void {
    const view = new DataView(this.#bytes.buffer);
    entries.forEach((entry, n) => view.setBigUint64(n * 8, entry));
    writeAt(this.#file, this.#tables[index] ?? 0, this.#bytes);
  }

  /** Counts what was added, in the blocks that the overlay was made with. */
  finish(): void {
    const view = new DataView(this.#bytes.buffer);
    for (let cluster = this.#first; cluster < this.#next;) {
      const block = Math.floor(cluster / COUNTS_PER_BLOCK);
      readAt(this.#file, CLUSTER + block * 8, this.#bytes.subarray(0, 8));
      const at = Number(view.getBigUint64(0));
      readAt(this.#file, at, this.#bytes);
      const end = Math.min(this.#next, (block + 1) * COUNTS_PER_BLOCK);
      for (; cluster < end; cluster++) view.setUint16((cluster % COUNTS_PER_BLOCK) * 2, 1);
      writeAt(this.#file, at, this.#bytes);
    }
  }
}

function readAt(file: Deno.FsFile, at: number, into: Uint8Array): void {
  file.seekSync(at, Deno.SeekMode.Start);
  for (let done = 0; done < into.length;) {
    const got = file.readSync(into.subarray(done));
    if (got === null) throw new Error("a fresh overlay ends too soon");
    done += got;
  }
}

function writeAt(file: Deno.FsFile, at: number, bytes: Uint8Array): void {
  file.seekSync(at, Deno.SeekMode.Start);
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}

async function breathe(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  signal.throwIfAborted();
}
