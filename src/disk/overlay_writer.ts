/**
 * Writes overlays that hold something: from the disk's beginning to its end, whole clusters.
 *
 * @module
 */
import { CLUSTER, overlayContent, overlayLayout, type OverlayOptions } from "./qcow2.ts";

const ENTRIES = CLUSTER / 8;
const COPIED = 1n << 63n;
const READS_ZERO = 1n;

/** An overlay that is being written; the file stays when it is disposed of before its end. */
export class OverlayWriter implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #options: OverlayOptions;
  readonly #layout: ReturnType<typeof overlayLayout>;
  /** Data clusters so far. */
  #count = 0;
  /** The next cluster that may be given, and the table that is being filled. */
  #next = 0;
  #table = -1;
  #entries = new DataView(new ArrayBuffer(CLUSTER));

  private constructor(file: Deno.FsFile, options: OverlayOptions) {
    this.#file = file;
    this.#options = options;
    this.#layout = overlayLayout(options.sizeBytes);
  }

  /**
   * Begins an overlay.
   *
   * @throws HutchError as `createOverlay` does.
   */
  static async create(options: OverlayOptions): Promise<OverlayWriter> {
    const { head } = overlayContent(options); // checks what is asked for
    const file = await Deno.open(options.path, { write: true, createNew: true, mode: 0o600 });
    const writer = new OverlayWriter(file, options);
    try {
      await writer.#write(0, head);
      return writer;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Data from `offset` on: whole clusters, behind all that came before. */
  async data(offset: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const place = (this.#layout.clusters + this.#count) * CLUSTER;
    const clusters = this.#clusters(offset, bytes.length);
    await this.#write(place, bytes);
    for (let index = 0; index < clusters.count; index++) {
      await this.#set(clusters.first + index, BigInt(place + index * CLUSTER) | COPIED);
    }
    this.#count += clusters.count;
  }

  /** Makes a part read as zeros, whatever is below. */
  async zeros(offset: number, length: number): Promise<void> {
    const { first, count } = this.#clusters(offset, length);
    for (let index = 0; index < count; index++) await this.#set(first + index, READS_ZERO);
  }

  /** Writes what leads to the data, and brings everything to the disk. */
  async finish(): Promise<void> {
    await this.#flush();
    const { clusters, blocksAt } = this.#layout;
    const counts = new DataView(new ArrayBuffer(this.#count * 2));
    for (let index = 0; index < this.#count; index++) counts.setUint16(index * 2, 1);
    await this.#write(blocksAt * CLUSTER + clusters * 2, new Uint8Array(counts.buffer));
    await this.#file.truncate((clusters + this.#count) * CLUSTER);
    await this.#file.sync();
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #clusters(offset: number, length: number): { readonly first: number; readonly count: number } {
    const first = offset / CLUSTER;
    const end = (offset + length) / CLUSTER;
    const sound = Number.isInteger(first) && Number.isInteger(end) && first >= this.#next &&
      offset + length <= this.#options.sizeBytes;
    if (!sound) throw new TypeError("what an overlay holds comes in whole clusters, in order");
    this.#next = end;
    return { first, count: end - first };
  }

  async #set(cluster: number, entry: bigint): Promise<void> {
    const table = Math.floor(cluster / ENTRIES);
    if (table !== this.#table) {
      await this.#flush();
      this.#table = table;
    }
    this.#entries.setBigUint64((cluster % ENTRIES) * 8, entry);
  }

  async #flush(): Promise<void> {
    if (this.#table < 0) return;
    await this.#write(
      (this.#layout.l2At + this.#table) * CLUSTER,
      new Uint8Array(this.#entries.buffer),
    );
    this.#entries = new DataView(new ArrayBuffer(CLUSTER));
    this.#table = -1;
  }

  async #write(place: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#file.seek(place, Deno.SeekMode.Start);
    for (let at = 0; at < bytes.length;) at += await this.#file.write(bytes.subarray(at));
  }
}
