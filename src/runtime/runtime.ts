/**
 * The runtime: what a program opens to make and find boxes.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import { checkName } from "../box/config.ts";
import { probeKvm as countDown } from "../../ffi/helper.ts";
import { prepareParts } from "../../ffi/library.ts";
import { importBox, type Imported, type ImportOptions } from "../box/archive/import.ts";
import type { BoxContext } from "../box/context.ts";
import type { FromOptions } from "../box/from_options.ts";
import { listedOf } from "../box/info.ts";
import type { BoxInfo, BoxOptions } from "../box/options.ts";
import { reconcile } from "../box/reconcile.ts";
import { sweepFolders } from "../box/sweep.ts";
import { errorText, HutchError } from "../errors.ts";
import { requireToOpen } from "../permission_sets.ts";
import { asPermissionError } from "../permissions.ts";
import type { FileLock } from "../file_lock.ts";
import { damagedError } from "../state/box_rows.ts";
import type { RecordedEvent } from "../state/events.ts";
import { NO_KEEPING } from "../state/keepings.ts";
import { bootId, probeKvm } from "../vmm/kvm.ts";
import type { BoxDefaults } from "./config_file.ts";
import { type DoctorReport, examine } from "./doctor.ts";
import type { EventGap, EventsOptions } from "./events.ts";
import type { Journal } from "./journal.ts";
import { filterOf, isEverything, type ListOptions } from "./list.ts";
import { type RuntimeMetrics, runtimeMetrics } from "./metrics.ts";
import { BoxMaker } from "./box_maker.ts";
import { type Images, imagesOf } from "./images.ts";
import type { RuntimeOptions } from "./options.ts";
import { defaultHome, pathsOf } from "./paths.ts";
import { openParts, type RuntimeParts } from "./parts.ts";
import type { Volumes } from "./volumes.ts";

/**
 * Makes, finds and lists boxes. Any number of programs may open the same home at once.
 *
 * @example
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * console.log((await box.exec("uname", ["-sr"])).stdout);
 * ```
 */
export class Runtime implements AsyncDisposable {
  readonly #context: BoxContext;
  readonly #images: Images;
  readonly #volumes: Volumes;
  readonly #journal: Journal;
  readonly #closing: AbortController;
  /** Aborted before: nothing new begins. */
  readonly #refusing = new AbortController();
  readonly #maker: BoxMaker;
  readonly #making = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;
  readonly #resources: AsyncDisposableStack;
  readonly #boxes: Map<string, Box>;
  readonly #options: RuntimeOptions;

  private constructor(parts: RuntimeParts, options: RuntimeOptions) {
    const { context, boxes, images, journal, closing, resources } = parts;
    this.#context = context;
    this.#boxes = boxes;
    this.#images = imagesOf(parts, { closing: this.#refusing.signal, pending: this.#making });
    this.#volumes = parts.volumes;
    this.#journal = journal;
    this.#closing = closing;
    this.#resources = resources;
    this.#options = options;
    this.#maker = new BoxMaker({
      context,
      images,
      boxes,
    });
  }

  /**
   * Opens a home; makes it if needed. Where hutch came from a URL, the first program also gets its
   * native parts into hutch's cache, which takes a compiler and some seconds.
   *
   * @throws HutchError `part_missing`, `home_unusable`, `state_too_new`, `state_corrupt`, `no_space`,
   * `invalid_option` and `plugin_failed` for plugins, `permission_missing`.
   */
  static async open(options: RuntimeOptions = {}): Promise<Runtime> {
    requireToOpen(options.home, () => pathsOf(options.home ?? defaultHome()));
    const runtime = await Runtime.#open(options, await bootId());
    try {
      await runtime.#reconcileUncertain();
      await runtime.#context.plugins.setUp();
      runtime.#context.keepers.restore(runtime.#context);
      return runtime;
    } catch (error) {
      await runtime.close().catch((later) => options.log?.(errorText(later)));
      throw error;
    }
  }

  /** Opens a home for one box's keeper process, and keeps the box: for that process alone. */
  static async keep(
    options: RuntimeOptions,
    { id, bootId, lock, ready }: {
      readonly id: string;
      /** The host's, which only a process with all permissions can read. */
      readonly bootId: string;
      readonly lock: FileLock;
      readonly ready: () => void;
    },
  ): Promise<void> {
    await using runtime = await Runtime.#open(options, bootId);
    const context = runtime.#context;
    await context.plugins.setUp();
    await runtime.get(id); // held from now on
    ready();
    await context.keepers.keepDetached(context, id, lock);
  }

  static async #open(options: RuntimeOptions, boot: string): Promise<Runtime> {
    await prepareParts();
    const made: { runtime?: Runtime } = {};
    const parts = await openParts(options, boot, () => made.runtime ?? notYet());
    return made.runtime = new Runtime(parts, options);
  }

  /** The folder with everything this runtime keeps. */
  get home(): string {
    return this.#context.paths.home;
  }

  /**
   * Absolute URLs of the modules that the plugins came from: another process that loads them has
   * the same plugins. Plugins that a program gave as objects have none.
   */
  get pluginSpecifiers(): readonly string[] {
    return this.#options.pluginSpecifiers ?? [];
  }

  /** The images of this home. */
  get images(): Images {
    return this.#images;
  }

  /** The named volumes of this home. */
  get volumes(): Volumes {
    return this.#volumes;
  }

  /**
   * Records a box; pulls its image and makes its base disk, if they aren't here. Boots nothing.
   *
   * With `from` the box goes on where another one was when a snapshot of it was taken with its memory:
   * its first start doesn't boot, and what ran there runs here. Any number of boxes can go on from one
   * snapshot, and share its memory until they write to it. Each is somebody else: id, name, host name,
   * machine id, SSH host keys, random numbers; its clock is right, its network works, and connections
   * that were open are broken. Commands that a program waited for end; those that were detached go on,
   * and `executions` has them. Each later start boots from the box's disk.
   *
   * @throws HutchError `invalid_option`, `name_taken`, what pulling throws, `cancelled` once the
   * runtime is closing; for `from` also `box_not_found`, `snapshot_not_found`, `snapshot_unusable`.
   * @example Ten boxes of a warm one
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using first = await runtime.create({ image: "builtin:busybox", name: "first", engine: "qemu" });
   * await first.exec("httpd", ["-f", "-p", "8000"], { detached: true }).started;
   * await first.snapshots.create("ready", { memory: true });
   * await Promise.all(Array.from({ length: 10 }, async () => {
   *   await using box = await runtime.create({ from: "first/ready" });
   *   console.log((await box.fetch(8000, "/")).status);
   * }));
   * ```
   */
  async create(options: BoxOptions | FromOptions): Promise<Box> {
    const closing = this.#refusing.signal;
    closing.throwIfAborted();
    const signal = options.signal ? AbortSignal.any([closing, options.signal]) : closing;
    const made = isFrom(options) ? this.#maker.fork(options, signal) : this.#context.plugins.run(
      "create",
      withDefaults(options, this.#options.defaults ?? {}),
      { signal, name: options.name },
      (input) => this.#maker.make(input, signal),
    );
    this.#making.add(made);
    try {
      return await made;
    } catch (error) {
      throw asPermissionError(error, "make a box");
    } finally {
      this.#making.delete(made);
    }
  }

  /**
   * The box with a name, made if there is none. Programs that ask at the same time get the same
   * box. A box that is there is given as it is, whatever the other options say.
   *
   * @throws HutchError what {@link Runtime.create} throws, `name_taken` aside.
   */
  async getOrCreate(
    options: Omit<BoxOptions, "replace"> & { readonly name: string },
  ): Promise<Box> {
    checkName(options.name);
    for (;;) {
      this.#refusing.signal.throwIfAborted();
      const known = await this.#maker.named(options.name);
      if (known) return known;
      try {
        return await this.create({ ...options, replace: false });
      } catch (error) {
        if (!(error instanceof HutchError) || error.code !== "name_taken") throw error;
      }
    }
  }

  /**
   * Makes a box of what `Box.export` wrote. An archive may come from anybody: all of it is checked
   * before a box is recorded, and settings that reach this machine stay behind unless it is trusted.
   * The box gets an id of its own, and doesn't run.
   *
   * @param from Path of a file, or a stream.
   * @throws HutchError `invalid_archive`, `archive_too_new`, `name_taken`, `limit_exceeded`,
   * `digest_mismatch`, `image_not_found`, `no_space`, `cancelled`, and what pulling throws.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * const path = `${await Deno.makeTempDir()}/web.hutch`;
   * await using web = await runtime.create({ image: "builtin:busybox" });
   * await web.export(path);
   * const { box, leftOut } = await runtime.import(path, { name: "copy" });
   * console.log(box.id, leftOut);
   * ```
   */
  async import(
    from: string | ReadableStream<Uint8Array<ArrayBuffer>>,
    options: ImportOptions = {},
  ): Promise<Imported> {
    const closing = this.#refusing.signal;
    closing.throwIfAborted();
    const signal = options.signal ? AbortSignal.any([closing, options.signal]) : closing;
    const made = importBox(this.#context, from, {
      ...options,
      signal,
      handleOf: (config) => this.#maker.recorded(config),
    });
    this.#making.add(made);
    try {
      return await made;
    } finally {
      this.#making.delete(made);
    }
  }

  /**
   * Finds a box by its id, its name, or the beginning of its id.
   *
   * @throws HutchError `box_not_found`, `ambiguous_box`.
   */
  async get(idNameOrPrefix: string): Promise<Box> {
    this.#refusing.signal.throwIfAborted();
    const record = this.#context.records.find(idNameOrPrefix);
    const now = await reconcile(this.#context, record, false);
    if (!now) return await this.get(idNameOrPrefix); // it went: says so
    return this.#maker.handleOf(now);
  }

  /**
   * Boxes that run or are on the way, or those that the options name.
   *
   * @throws HutchError `invalid_option`, `state_corrupt`.
   * @example The newest ten boxes of a team that don't run
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * const boxes = await runtime.list({
   *   status: ["stopped", "failed", "crashed"],
   *   labels: { team: "web" },
   *   reverse: true,
   *   limit: 10,
   * });
   * console.log(boxes.map(({ name }) => name));
   * ```
   */
  async list(options: ListOptions = {}): Promise<BoxInfo[]> {
    const filter = filterOf(options);
    await this.#reconcileUncertain();
    if (isEverything(options)) await sweepFolders(this.#context); // which reads a folder of as many
    const { onDamaged } = options;
    const keepings = this.#context.keepings.all();
    const records = this.#context.records.list(filter, {
      later: onDamaged === undefined,
      onDamaged: onDamaged ?? ((box) => this.#context.log(damagedError(box).message)),
    });
    return records
      .map((record) => listedOf(record, keepings.get(record.id) ?? NO_KEEPING));
  }

  /**
   * What happens in this home, in whatever program, in the order in which it was recorded; what has
   * happened already, where `since` asks for it. Ends by `signal`, and when the runtime closes.
   *
   * An event is here about 20 ms after it happened. A program that is killed takes its last such
   * moment with it. Arguments of commands that are very long are cut short.
   *
   * @throws HutchError `invalid_option`, `ambiguous_box`.
   *
   * @example Watching commands
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * const signal = AbortSignal.timeout(100);
   * for await (const event of runtime.events({ signal, types: ["exec.exited"] })) {
   *   if (event.type === "exec.exited") console.log(event.name, event.command, event.code);
   * }
   * ```
   */
  events(options: EventsOptions = {}): AsyncGenerator<RecordedEvent | EventGap, void> {
    return this.#journal.events(options);
  }

  /** What this home's boxes have done since it was made. */
  async metrics(): Promise<RuntimeMetrics> {
    await this.#reconcileUncertain();
    return runtimeMetrics(this.#journal, this.#journal.statuses());
  }

  /** Looks at what is here, what is missing, and how to mend it. */
  async doctor(): Promise<DoctorReport> {
    return await examine({
      home: this.home,
      ...this.#options.configPath === undefined ? {} : { config: this.#options.configPath },
      plugins: (this.#options.plugins ?? []).map(({ name }) => name),
      engines: this.#context.engines,
      kvm: () => probeKvm(countDown),
      choose: (usable) => this.#context.plugins.ask("engine", { box: "", usable }, this.#closing),
    });
  }

  /** Ends what this runtime holds: boxes first, then plugins and state. Idempotent. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#refusing.abort(new HutchError("cancelled", "Cannot go on: the runtime was closed"));
    await Promise.allSettled(this.#making); // what is made all the same goes with the others
    await this.#context.keepers.close(); // before the boxes: what ends from here on is meant to
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
    // The damaged ones are told of by whoever lists or wants them.
    for (const record of this.#context.records.uncertain(() => {})) {
      await reconcile(this.#context, record, false);
    }
  }
}

function isFrom(options: BoxOptions | FromOptions): options is FromOptions {
  return "from" in options && options.from !== undefined;
}

function withDefaults(options: BoxOptions, defaults: BoxDefaults): BoxOptions {
  return {
    ...defaults,
    ...options,
    env: { ...defaults.env, ...options.env },
    labels: { ...defaults.labels, ...options.labels },
  };
}

function notYet(): never {
  throw new HutchError("plugin_failed", "Cannot use the runtime yet: it is being opened");
}
