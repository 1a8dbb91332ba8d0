/**
 * Makes boxes, and the handles by which this program holds them.
 *
 * @module
 */
import { Box } from "../box/box.ts";
import { checkOptions, makeConfig } from "../box/config.ts";
import type { BoxContext } from "../box/context.ts";
import { forkBox } from "../box/fork.ts";
import type { FromOptions } from "../box/from_options.ts";
import type { BoxConfig, BoxOptions } from "../box/options.ts";
import { reconcile } from "../box/reconcile.ts";
import { checkMs, LONGEST_GRACE_MS } from "../box/times.ts";
import { stepOf } from "../box/transitions.ts";
import { HutchError } from "../errors.ts";
import { FileLock } from "../file_lock.ts";
import type { ImageRecord } from "../images/records.ts";
import { NO_HOOKS } from "../network/hooks.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { PULL_POLICIES } from "../images/pull/policy.ts";
import type { ImageStore } from "../images/store.ts";
import type { BoxRecord } from "../state/boxes.ts";
import { noSuchEngine } from "../vmm/select.ts";
import { checkVolumes } from "../volumes/resolve.ts";
import { boxPaths } from "./paths.ts";

/** How long a box that is replaced gets to shut down, in `ms`. */
const REPLACE_GRACE_MS = 10_000;

/** What a {@link BoxMaker} is made with. */
export interface BoxMakerOptions {
  readonly context: BoxContext;
  readonly images: ImageStore;
  /** The boxes that this program holds, by their ids. */
  readonly boxes: Map<string, Box>;
}

/** Makes a runtime's boxes. */
export class BoxMaker {
  readonly #options: BoxMakerOptions;

  /** Makes nothing yet. */
  constructor(options: BoxMakerOptions) {
    this.#options = options;
  }

  /** The handle of a recorded box, the same one for all who ask while it is held. */
  handleOf(record: BoxRecord): Box {
    const { boxes, context } = this.#options;
    const { id } = record.config;
    const known = boxes.get(id);
    if (known) return known;
    const box = new Box(context, record.config, { detached: false });
    boxes.set(id, box);
    return box;
  }

  /** The handle of a box that was just recorded, which others hear of. */
  recorded(config: BoxConfig): Box {
    const { boxes, context } = this.#options;
    const box = new Box(context, config, { detached: false });
    boxes.set(config.id, box);
    const about = { box: config.id, name: config.name };
    context.plugins.emit("box.created", { ...about, image: config.image.reference });
    return box;
  }

  /** The box that has this very name, if there is one. */
  async named(name: string): Promise<Box | undefined> {
    const { context } = this.#options;
    const record = context.records.byName(name);
    const now = record && await reconcile(context, record, false);
    return now && this.handleOf(now);
  }

  /** Records a box; its image is pulled if it isn't here. */
  async make(options: BoxOptions, signal: AbortSignal): Promise<Box> {
    const { context, images } = this.#options;
    const checked = checkOptions(options);
    checkEngine(context, options.engine ?? "auto");
    const graceMs = replaceGrace(options);
    if (graceMs === undefined && options.name !== undefined) {
      const holder = context.records.byName(options.name);
      if (holder) stepOf("create", holder); // before a long pull
    }
    const volumes = await checkVolumes(
      options.volumes ?? [],
      (question) => context.plugins.ask("volume", question, { signal, name: options.name }),
    );
    const { image, held } = await this.#imageOf(options, signal);
    using _held = held; // until the box is recorded, which needs it from then on
    const { reference, digest } = image;
    // A disk that is larger than usual has room of its own.
    const least = options.disk === undefined ? await images.diskBytes(image) : 0;
    const diskMiB = Math.max(checked.diskMiB, Math.ceil(least / 2 ** 20));
    const hooks = checked.network.mode === "none" ? NO_HOOKS : context.plugins.network.config;
    const network = { ...checked.network, hooks };
    const whole = { ...checked, diskMiB, network, options: { ...options, volumes } };
    const config = makeConfig(whole, { reference, digest }, image.config);
    const detached = options.detached ?? false;
    for (;;) {
      signal.throwIfAborted();
      const made = await this.#add(config, detached);
      if (made instanceof Box) {
        keepValues(context, config.id, options);
        const about = { box: config.id, name: config.name };
        context.plugins.emit("box.created", { ...about, image: reference });
        return made;
      }
      if (graceMs === undefined) stepOf("create", made); // throws: its name is taken
      else await this.#replace(made, graceMs);
    }
  }

  /** Records a box that goes on from a snapshot's memory. */
  async fork(options: FromOptions, signal: AbortSignal): Promise<Box> {
    const { context } = this.#options;
    const box = await forkBox(context, { ...options, signal }, async ({ config, record }) => {
      signal.throwIfAborted();
      const made = await this.#add(config, options.detached ?? false, record);
      if (made instanceof Box) return made;
      stepOf("create", made); // throws: its name is taken
      throw new Error("a box was neither made nor refused");
    });
    const about = { box: box.id, name: box.name };
    context.plugins.emit("box.created", { ...about, image: box.config.image.reference });
    return box;
  }

  /** The image, pulled as the options say, and what keeps it here. */
  async #imageOf(
    { image: reference, pull: policy = "missing", onPull }: BoxOptions,
    signal: AbortSignal,
  ): Promise<{ readonly image: ImageRecord; readonly held: Disposable }> {
    const { images } = this.#options;
    if (!PULL_POLICIES.includes(policy)) {
      throw new HutchError(
        "invalid_option",
        `Cannot pull ${JSON.stringify(policy)}: there is no such policy`,
        { hint: `take one of ${PULL_POLICIES.join(", ")}` },
      );
    }
    const options = { signal, ...onPull ? { onProgress: onPull } : {} };
    for (;;) {
      const image = await images.resolve(reference, { ...options, policy, disk: true });
      const held = await images.hold(image, signal);
      if (!held) continue;
      try {
        // One that is here may have no disk: it was loaded, say. Nobody would hear of it at the start.
        await images.disk(image.digest, options);
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
      return { image, held };
    }
  }

  /** Writes the record; or gives the box that has the name. */
  async #add(
    config: BoxConfig,
    detached: boolean,
    record: () => BoxRecord | undefined = () => this.#options.context.records.add(config),
  ): Promise<Box | BoxRecord> {
    const { boxes, context } = this.#options;
    const own = boxPaths(context.paths, config.id);
    let ownerLock: FileLock | undefined;
    let holder: BoxRecord | undefined;
    try {
      if (config.owned) ownerLock = await lockAsOwner(own);
      holder = record();
      if (!holder) {
        const box = new Box(context, config, { detached, ...(ownerLock ? { ownerLock } : {}) });
        boxes.set(config.id, box);
        return box;
      }
    } catch (error) {
      await letGo();
      throw error;
    }
    await letGo();
    return holder;

    async function letGo(): Promise<void> {
      ownerLock?.[Symbol.dispose]();
      await Deno.remove(own.folder, { recursive: true }).catch(() => {});
    }
  }

  /** Ends a box and removes it; that somebody else was faster is fine. */
  async #replace(record: BoxRecord, graceMs: number): Promise<void> {
    const box = this.handleOf(record);
    try {
      if (graceMs > 0) await box.stop({ timeoutMs: graceMs });
      await box.remove({ force: true }); // a box that removes itself has done so
    } catch (error) {
      if (!(error instanceof HutchError) || error.code !== "box_not_found") throw error;
    }
  }
}

/** The owner's lock, in a folder that a sweep takes for nobody's before, and that is made again then. */
async function lockAsOwner({ folder, ownerLockPath }: LayoutOutput): Promise<FileLock> {
  for (;;) {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      return await FileLock.acquire(ownerLockPath);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** The values of its secrets that come with the options. */
function keepValues({ secretValues }: BoxContext, id: string, { secrets = {} }: BoxOptions): void {
  const values = new Map<string, string>();
  for (const [name, { value }] of Object.entries(secrets)) {
    if (value !== undefined) values.set(name, value);
  }
  if (values.size > 0) secretValues.set(id, values);
}

/** In `ms`; undefined when nothing is to be replaced. */
function replaceGrace({ name, replace }: BoxOptions): number | undefined {
  if (replace === undefined || replace === false) return undefined;
  if (name === undefined) {
    throw new HutchError("invalid_option", "Cannot replace a box: no name is given", {
      hint: "name the box that is to be replaced (--name)",
    });
  }
  const graceMs = replace === true ? REPLACE_GRACE_MS : replace.graceMs ?? REPLACE_GRACE_MS;
  checkMs("replace.graceMs", graceMs, 0, LONGEST_GRACE_MS);
  return graceMs;
}

function checkEngine({ engines }: BoxContext, name: string): void {
  const known = name === "auto" || engines.some((engine) => engine.name === name);
  if (!known) throw noSuchEngine(name, engines);
}
