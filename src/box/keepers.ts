/**
 * The keepers of a home's boxes, as one program sees them.
 *
 * A box wants a keeper when it has a restart policy or health checks, or when plugins that another
 * process can load decide about its network. The keeper of an attached box
 * lives in the program that started the box, and ends with it. That of a detached box is a process
 * of its own. Either holds the box's keeper lock, so that there is never more than one; a detached
 * box whose keeper was killed gets another from the next program that opens the home.
 *
 * @module
 */
import { FileLock } from "../file_lock.ts";
import { errorText, HutchError } from "../errors.ts";
import { outsideStarts } from "../plugin/scope.ts";
import { boxPaths } from "../runtime/paths.ts";
import { systemClock } from "./clock.ts";
import type { BoxContext } from "./context.ts";
import { Keeper } from "./keeper.ts";
import { clearKeeperLock, keeperLockPath, tryKeeperLock } from "./keeper_lock.ts";
import { spawnKeeper } from "./keeper_spawn.ts";
import { KeptRealBox } from "./kept_box.ts";
import type { BoxConfig } from "./options.ts";

/** Keeper processes that are started at once. */
const AT_ONCE = 4;

/** A keeper in this program. */
interface KeeperHere {
  readonly detached: boolean;
  /** Whether it is just restarting its box. */
  restarting: boolean;
  readonly ending: AbortController;
  done: Promise<void>;
}

/** What keepers are made with. */
export interface KeepersOptions {
  /** Absolute URLs of modules with plugins, for keeper processes. */
  readonly plugins: readonly string[];
}

/** Makes keepers and ends them. */
export class Keepers {
  readonly #options: KeepersOptions;
  readonly #here = new Map<string, KeeperHere>();
  readonly #closing = new AbortController();
  #making: Promise<void> = Promise.resolve();

  /** None yet. */
  constructor(options: KeepersOptions) {
    this.#options = options;
  }

  /**
   * Refuses a keeper's restart of a box that was ended on purpose meanwhile. The caller holds the
   * box.
   *
   * @throws HutchError `cancelled`.
   */
  refuseStale({ keepings }: BoxContext, id: string): void {
    if (!this.#here.get(id)?.restarting || keepings.of(id).kept) return;
    throw new HutchError("cancelled", "Cannot restart the box: it was stopped meanwhile");
  }

  /** Records that a box was started, so that it is kept even if this program ends now. */
  begin({ keepings }: BoxContext, config: BoxConfig, detached: boolean): void {
    if (!this.#wanted(config)) return keepings.remove(config.id);
    if (this.#here.get(config.id)?.restarting) return;
    keepings.begin(config.id, {
      detached,
      health: config.health ? "starting" : "none",
      plugins: this.#options.plugins,
    });
  }

  /** For restarts, health checks, and plugins that decide about its network once this program is gone. */
  #wanted({ restart, health, network }: BoxConfig): boolean {
    const decided = network.hooks.kinds.length > 0 && this.#options.plugins.length > 0;
    return restart !== "no" || health !== null || decided;
  }

  /**
   * Sees to it that a box which was started has its keeper, if it wants one.
   *
   * @throws HutchError `boot_failed` when the keeper process can't start.
   */
  async keep(context: BoxContext, id: string): Promise<void> {
    const { kept, detached } = context.keepings.of(id);
    if (!kept) return;
    const here = this.#here.get(id);
    if (here?.restarting || here?.detached === detached) return;
    await this.release(id);
    if (detached) await this.#spawn(context, id);
    else this.#keepHere(context, id, { detached, lock: undefined });
  }

  /** Keeps a box in this process, which was started for that; resolves when the work is done. */
  async keepDetached(context: BoxContext, id: string, lock: FileLock): Promise<void> {
    await this.#keepHere(context, id, { detached: true, lock }).done;
  }

  /** A box is ended on purpose: nobody starts it again. */
  leave({ keepings, paths }: BoxContext, id: string): void {
    keepings.change(id, { kept: false });
    clearKeeperLock(boxPaths(paths, id));
  }

  /** A box that this program started, or keeps, is to outlive it. */
  async detach(
    context: BoxContext,
    id: string,
    { started }: { readonly started: boolean },
  ): Promise<void> {
    if (!started && !this.#here.has(id)) return;
    context.keepings.change(id, { detached: true });
    await this.keep(context, id);
  }

  /** Ends the keeper that this program has for a box. */
  async release(id: string): Promise<void> {
    const here = this.#here.get(id);
    here?.ending.abort();
    await here?.done;
  }

  /** Gives keepers to detached boxes that lost theirs. Goes on in the background. */
  restore(context: BoxContext): void {
    const lost = context.keepings.wanting().filter((id) => !isKept(context, id));
    const next = async () => {
      for (let id = lost.shift(); id; id = lost.shift()) {
        if (this.#closing.signal.aborted) return;
        try {
          await this.#spawn(context, id);
        } catch (error) {
          context.log(`box ${id} has no keeper: ${errorText(error)}`);
        }
      }
    };
    this.#making = Promise.all(Array.from({ length: AT_ONCE }, next)).then(() => {});
  }

  /** Ends the keepers in this program; those that are just being made are waited for. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([this.#making, ...[...this.#here.keys()].map((id) => this.release(id))]);
  }

  async #spawn(context: BoxContext, id: string): Promise<void> {
    if (!isKept(context, id)) await spawnKeeper(context, id);
  }

  #keepHere(
    context: BoxContext,
    id: string,
    { detached, lock }: { readonly detached: boolean; readonly lock: FileLock | undefined },
  ): KeeperHere {
    const here: KeeperHere = {
      detached,
      restarting: false,
      ending: new AbortController(),
      done: Promise.resolve(),
    };
    this.#here.set(id, here);
    here.done = outsideStarts(() => this.#run(context, id, { here, lock }))
      .catch((error: unknown) => context.log(`keeper of box ${id}: ${errorText(error)}`))
      .finally(() => this.#here.delete(id));
    return here;
  }

  async #run(
    context: BoxContext,
    id: string,
    { here, lock }: { readonly here: KeeperHere; readonly lock: FileLock | undefined },
  ): Promise<void> {
    const { signal } = here.ending;
    const own = boxPaths(context.paths, id);
    const port = new KeptRealBox(context, id, (on) => here.restarting = on);
    for (let held = lock ?? await tryKeeperLock(own); held; held = await tryKeeperLock(own)) {
      try {
        await new Keeper(port, systemClock).run(signal);
      } finally {
        held[Symbol.dispose]();
      }
      // Whoever started it again after the keeper's last look has seen the lock, and trusts us.
      const { kept, detached } = context.keepings.of(id);
      if (kept && detached && !here.detached) return await this.#spawn(context, id);
      if (signal.aborted || !kept || detached !== here.detached) return;
    }
  }
}

function isKept({ paths }: BoxContext, id: string): boolean {
  return FileLock.isHeld(keeperLockPath(boxPaths(paths, id)));
}
