/**
 * The runtime: what a program opens to make and find boxes.
 *
 * @module
 */
import { isAbsolute, join, resolve } from "node:path";
import { buildBaseDisk } from "../images/unpack.ts";
import { Ext4Image, probeKvm as countDown, readKernel } from "../../ffi/helper.ts";
import { asNoSpace } from "../atomic_file.ts";
import { FileLock } from "../file_lock.ts";
import { Box, infoOf } from "../box/box.ts";
import { checkOptions, makeConfig } from "../box/config.ts";
import type { BoxContext } from "../box/context.ts";
import type { BoxInfo, BoxOptions } from "../box/options.ts";
import { reconcile } from "../box/reconcile.ts";
import { sweepFolders } from "../box/sweep.ts";
import { errorText, HutchError } from "../errors.ts";
import { hostPlatform } from "../images/platform.ts";
import type { PullListener } from "../images/pull.ts";
import type { ImageRecord } from "../images/records.ts";
import { ImageStore } from "../images/store.ts";
import type { Plugin } from "../plugin/contract.ts";
import { PluginHost } from "../plugin/host.ts";
import { ACTIVE, type BoxFilter, BoxRecords } from "../state/boxes.ts";
import { openDatabase } from "../state/database.ts";
import { ImageTable } from "../state/images.ts";
import type { KvmReport } from "../vmm/engine.ts";
import { kernelPath } from "../vmm/kernel.ts";
import { bootId, probeKvm, rememberedKvm } from "../vmm/kvm.ts";
import { systemDiskPath } from "../vmm/system_disk.ts";
import { defaultPlugins } from "./defaults.ts";
import { type DoctorReport, examine } from "./doctor.ts";
import { kernelLibrary, readAgent } from "./native.ts";
import { boxPaths, defaultHome, type Paths, pathsOf } from "./paths.ts";

/** Options of {@link Runtime.open}. */
export interface RuntimeOptions {
  /** Folder with everything hutch keeps. @default {`HUTCH_HOME`, else `~/.hutch`} */
  readonly home?: string;
  /** Added to hutch's own. */
  readonly plugins?: readonly Plugin[];
  /** Registries (`host[:port]`) that may be spoken to without TLS. @default {[]} */
  readonly insecureRegistries?: readonly string[];
  /** Gets what happens beside: failing listeners, guests that don't shut down. @default {nobody} */
  readonly log?: (line: string) => void;
}

/** Options of {@link Runtime.list}. */
export interface ListOptions {
  /** Stopped boxes too. @default {false} */
  readonly all?: boolean;
  /** Only boxes that have all these labels. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** Options of {@link Images.pull}. */
export interface ImagePullOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: PullListener;
}

/** The images of a runtime. */
export interface Images {
  /**
   * Asks the image's source, fetches what isn't here, and records the image.
   *
   * @throws HutchError such as `image_not_found`, `registry_unreachable`, `digest_mismatch`.
   */
  pull(reference: string, options?: ImagePullOptions): Promise<ImageRecord>;
  /** All images, by their references. */
  list(): Promise<readonly ImageRecord[]>;
}

/**
 * Makes, finds and lists boxes. Any number of programs may open the same home at once.
 *
 * @example
 * ```ts
 * import { Runtime } from "./mod.ts";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * console.log((await box.exec("uname", ["-sr"])).stdout);
 * ```
 */
export class Runtime implements AsyncDisposable {
  readonly #context: BoxContext;
  readonly #images: ImageStore;
  readonly #closing: AbortController;
  readonly #resources: AsyncDisposableStack;
  readonly #boxes = new Map<string, Box>();
  readonly #insecureRegistries: readonly string[];

  private constructor(
    context: BoxContext,
    images: ImageStore,
    closing: AbortController,
    resources: AsyncDisposableStack,
    options: RuntimeOptions,
  ) {
    this.#context = context;
    this.#images = images;
    this.#closing = closing;
    this.#resources = resources;
    this.#insecureRegistries = options.insecureRegistries ?? [];
  }

  /**
   * Opens a home; makes it if needed.
   *
   * @throws HutchError `home_unusable`, `state_too_new`, `state_corrupt`, `no_space`,
   * `invalid_option` and `plugin_failed` for plugins.
   */
  static async open(options: RuntimeOptions = {}): Promise<Runtime> {
    const paths = pathsOf(absolute(options.home ?? defaultHome()));
    const log = options.log ?? (() => {});
    const closing = new AbortController();
    await using resources = new AsyncDisposableStack();
    await makeHome(paths);
    const database = openDatabase(paths.database);
    resources.defer(() => database.close());
    const plugins = await PluginHost.open([...defaultPlugins(), ...options.plugins ?? []], log);
    resources.use(plugins);
    const images = new ImageStore({
      paths,
      records: new ImageTable(database),
      sources: plugins.sources,
      platform: hostPlatform(),
      build: buildBaseDisk,
    });
    const insecureRegistries = options.insecureRegistries ?? [];
    const boot = await bootId();
    const kvmPath = join(paths.system, "kvm.json");
    const context: BoxContext = {
      paths,
      records: new BoxRecords(database),
      plugins,
      bootId: boot,
      signal: closing.signal,
      log,
      engines: plugins.engines,
      baseDisk: (digest, signal) => images.baseDisk(digest, { signal, insecureRegistries }),
      system: () => system(paths),
      kvm: once(() => rememberedKvm(kvmPath, boot, () => probeKvm(countDown))),
    };
    const runtime = new Runtime(context, images, closing, resources.move(), options);
    try {
      await runtime.#reconcileUncertain();
      return runtime;
    } catch (error) {
      await runtime.close();
      throw error;
    }
  }

  /** The folder with everything this runtime keeps. */
  get home(): string {
    return this.#context.paths.home;
  }

  /** The images of this home. */
  get images(): Images {
    const store = this.#images;
    const insecureRegistries = this.#insecureRegistries;
    return {
      pull: (reference, options = {}) => store.pull(reference, { ...options, insecureRegistries }),
      list: () => store.list(),
    };
  }

  /**
   * Records a box; pulls its image if it isn't here. Boots nothing.
   *
   * @throws HutchError `invalid_option`, `name_taken`, and what pulling throws.
   */
  async create(options: BoxOptions): Promise<Box> {
    this.#closing.signal.throwIfAborted();
    const checked = checkOptions(options);
    this.#checkEngine(options.engine ?? "auto");
    if (options.name !== undefined) this.#context.records.refuseTaken(options.name);
    const { closing, signal } = { closing: this.#closing.signal, signal: options.signal };
    const record = await this.#images.resolve(options.image, {
      signal: signal ? AbortSignal.any([closing, signal]) : closing,
      insecureRegistries: this.#insecureRegistries,
      ...options.onPull ? { onProgress: options.onPull } : {},
    });
    const { reference, digest } = record;
    const config = makeConfig(checked, { reference, digest }, record.config);
    const own = boxPaths(this.#context.paths, config.id);
    let ownerLock: FileLock | undefined;
    if (config.owned) {
      await Deno.mkdir(own.folder, { recursive: true, mode: 0o700 });
      ownerLock = FileLock.try(own.ownerLockPath);
    }
    try {
      this.#context.records.add(config);
    } catch (error) {
      ownerLock?.[Symbol.dispose]();
      await Deno.remove(own.folder, { recursive: true }).catch(() => {});
      throw error;
    }
    const box = new Box(this.#context, config, {
      detached: options.detached ?? false,
      ...(ownerLock ? { ownerLock } : {}),
    });
    this.#boxes.set(config.id, box);
    return box;
  }

  /**
   * Finds a box by its id, its name, or the beginning of its id.
   *
   * @throws HutchError `box_not_found`, `ambiguous_box`.
   */
  async get(idNameOrPrefix: string): Promise<Box> {
    const record = this.#context.records.find(idNameOrPrefix);
    const now = await reconcile(this.#context, record, false);
    if (!now) return await this.get(idNameOrPrefix); // it went: says so
    const known = this.#boxes.get(now.config.id);
    if (known) return known;
    const box = new Box(this.#context, now.config, { detached: false });
    this.#boxes.set(now.config.id, box);
    return box;
  }

  /** Running boxes, or all of them, in the order of their creation. */
  async list(options: ListOptions = {}): Promise<BoxInfo[]> {
    await this.#reconcileUncertain();
    if (options.all) await sweepFolders(this.#context);
    const filter: BoxFilter = {
      ...(options.all ? {} : { statuses: ACTIVE }),
      ...(options.labels ? { labels: options.labels } : {}),
    };
    return this.#context.records.list(filter).map(infoOf);
  }

  /** Looks at what is here, what is missing, and how to mend it. */
  async doctor(): Promise<DoctorReport> {
    return await examine({
      home: this.home,
      engines: this.#context.engines,
      kvm: () => probeKvm(countDown),
      choose: (usable) =>
        this.#context.plugins.ask("engine", { box: "", usable }, this.#closing.signal),
    });
  }

  /** Ends what this runtime holds: boxes first, then plugins and state. Idempotent. */
  async close(): Promise<void> {
    const boxes = [...this.#boxes.values()];
    this.#boxes.clear();
    const results = await Promise.allSettled(boxes.map((box) => box[Symbol.asyncDispose]()));
    this.#closing.abort(new HutchError("cancelled", "Cannot go on: the runtime was closed"));
    await this.#resources.disposeAsync();
    const failures = results.filter((result) => result.status === "rejected")
      .map((result) => result.reason);
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, failures.map(errorText).join("; "));
  }

  /** {@link Runtime.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #reconcileUncertain(): Promise<void> {
    for (const record of this.#context.records.uncertain()) {
      await reconcile(this.#context, record, false);
    }
  }

  #checkEngine(name: string): void {
    const names = ["auto", ...this.#context.engines.map((engine) => engine.name)];
    if (names.includes(name)) return;
    throw new HutchError(
      "invalid_option",
      `Cannot use engine ${JSON.stringify(name)}: there is no such engine`,
      {
        hint: `take one of ${names.join(", ")}`,
      },
    );
  }
}

function absolute(home: string): string {
  return isAbsolute(home) ? home : resolve(home);
}

async function makeHome(paths: Paths): Promise<void> {
  try {
    for (const folder of [paths.home, paths.boxes, paths.system]) {
      await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    }
    await refuseReadOnly(paths.home);
  } catch (error) {
    const full = asNoSpace(error, paths.home);
    if (full instanceof HutchError) throw full;
    throw new HutchError("home_unusable", `Cannot use home ${paths.home}: ${errorText(error)}`, {
      hint: "make it writable, or choose another one with HUTCH_HOME",
      cause: error,
    });
  }
}

/** Folders that are there already don't tell that their mount is read-only. */
async function refuseReadOnly(home: string): Promise<void> {
  const now = new Date();
  try {
    await Deno.utime(home, now, now);
  } catch (error) {
    if (/os error 30\)/.test(errorText(error))) throw error; // EROFS
    // Somebody else's folder may be writable all the same.
  }
}

async function system(paths: Paths): Promise<{ kernelPath: string; diskPath: string }> {
  // Both are waited for, even when one fails: nothing is written behind a start that has failed.
  const [kernel, disk] = await Promise.allSettled([
    kernelLibrary().then((library) => kernelPath(paths.system, library, readKernel)),
    readAgent().then((agent) => systemDiskPath(paths.system, agent, Ext4Image.create)),
  ]);
  if (kernel.status === "rejected") throw kernel.reason;
  if (disk.status === "rejected") throw disk.reason;
  return { kernelPath: kernel.value, diskPath: disk.value };
}

function once(make: () => Promise<KvmReport>): () => Promise<KvmReport> {
  let made: Promise<KvmReport> | undefined;
  return () => made ??= make();
}
