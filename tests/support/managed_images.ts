/**
 * A home's images with the records of a real database, and boxes that are records alone.
 *
 * @module
 */
import { join } from "node:path";
import { diskSource } from "../../plugins/sources/disk.ts";
import { dockerArchiveSource } from "../../plugins/sources/docker_archive.ts";
import { ociSource } from "../../plugins/sources/oci.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import { HutchError } from "../../src/errors.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { ImageManager } from "../../src/images/manage/manage.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { ImageRecord } from "../../src/images/records.ts";
import type { ImageSource } from "../../src/images/source.ts";
import type { BaseDiskRequest } from "../../src/images/base_disk/base_disks.ts";
import { ImageStore } from "../../src/images/store.ts";
import type { AskOfImages } from "../../src/images/store_options.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { BoxRecords } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { ImageTable } from "../../src/state/images.ts";
import { config } from "../state/config.ts";
import { TempFolder } from "./temp.ts";

/** One program that has a home open. */
export class ManagedImages implements AsyncDisposable {
  readonly #folder: TempFolder | undefined;
  readonly #database;
  readonly home: string;
  readonly ledger: ImageTable;
  readonly boxes: BoxRecords;
  readonly store: ImageStore;
  readonly manager: ImageManager;
  /** Names that came and went, such as `- registry:…`. */
  readonly events: string[] = [];
  /** What plugins say of images. */
  verify: AskOfImages["verify"] = () => Promise.resolve(undefined);
  build: (request: BaseDiskRequest) => Promise<void> = concatenate;

  /** @param home One that other programs have open too. @default {a new one} */
  constructor(home?: string) {
    this.#folder = home === undefined ? new TempFolder() : undefined;
    this.home = home ?? this.#folder?.path ?? "";
    const paths = pathsOf(this.home);
    this.#database = openDatabase(paths.database);
    this.ledger = new ImageTable(this.#database);
    this.boxes = new BoxRecords(this.#database);
    const sources = new Map<string, ImageSource>();
    const registry = registrySource({ retryDelayMs: 1 });
    for (const plugin of [registry, ociSource(), dockerArchiveSource(), diskSource()]) {
      for (const [scheme, source] of Object.entries(plugin.sources ?? {})) {
        sources.set(scheme, source);
      }
    }
    const verify: AskOfImages["verify"] = (image, signal) => this.verify(image, signal);
    this.store = new ImageStore({
      paths,
      records: this.ledger,
      sources,
      platform: parsePlatform("linux/amd64"),
      build: (request) => this.build(request),
      ask: { credentials: () => Promise.resolve(undefined), verify },
      retryDelayMs: 1,
    });
    this.manager = new ImageManager({
      paths,
      ledger: this.ledger,
      store: this.store,
      sources,
      verify,
      tagged: ({ reference }) => void this.events.push(`+ ${reference}`),
      removed: ({ reference }) => void this.events.push(`- ${reference}`),
    });
  }

  /** Records a box of an image. */
  addBox(name: string, { reference, digest }: Pick<ImageRecord, "reference" | "digest">): string {
    const id = digestHex(digestOf(new TextEncoder().encode(name))).slice(0, 12);
    this.boxes.add(config(id, name, { image: { reference, digest } }));
    return id;
  }

  /** Spoils an image's record. */
  damage(digest: string): void {
    this.#database.prepare("UPDATE images SET record = '{' WHERE digest = ?").run(digest);
  }

  /** Every file of images in the home, such as `blobs/sha256/HEX`. */
  files(): readonly string[] {
    const folders = ["blobs/sha256", "blobs/partial", "blobs/references", "blobs/uses", "disks"];
    return folders.flatMap((folder) => {
      try {
        return [...Deno.readDirSync(join(this.home, folder))].map((f) => `${folder}/${f.name}`);
      } catch {
        return [];
      }
    }).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#database.close();
    await this.#folder?.[Symbol.asyncDispose]();
  }
}

/** Puts the layers behind each other: enough to see which files a disk is made from. */
async function concatenate(request: BaseDiskRequest): Promise<void> {
  for (const { path, diffId } of request.layers) {
    const bytes = await Deno.readFile(path);
    if (digestOf(bytes) !== diffId) throw new HutchError("digest_mismatch", "wrong diff ID");
    await Deno.writeFile(request.output, bytes, { append: true });
  }
}
