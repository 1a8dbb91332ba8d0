/**
 * Makes chains of backing disks shorter, behind everybody's back: links that nobody needs for
 * themselves any more are merged with the one above, and a chain that is too long gets a topmost link
 * with all that is in it.
 *
 * The new file takes the place of the link's old one in one step, with the same content. Machines that
 * run go on with the files that they have open; for that moment nobody can start one: the locks of all
 * boxes above are held.
 *
 * @module
 */
import { dirname, join, relative } from "node:path";
import { asNoSpace, exists, removeIfThere, syncPath } from "../atomic_file.ts";
import { mergeOverlays } from "../disk/merge.ts";
import { errorText } from "../errors.ts";
import { FileLock } from "../file_lock.ts";
import { backingPath, collectDisks } from "../init/box_disk.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE } from "../state/boxes.ts";
import type { BoxContext } from "./context.ts";

/** Links that a box's chain may have; each one makes reading what is below it a little slower. */
const MOST_LINKS = 32;
/** How long boxes above may be busy before it is left for another time, in `ms`. */
const BUSY_MS = 5_000;
const BUSY_STEP_MS = 50;
/** How long a merge that is under way may take when the runtime closes, in `ms`. */
const CLOSE_MS = 10_000;

/** What {@link ChainShortener} works with. */
type Context = Pick<BoxContext, "paths" | "disks" | "records" | "baseDisk" | "log">;

/** A link that is to have what is in those below it. */
interface Merge {
  /** It first; each is over the next. */
  readonly links: readonly [string, ...string[]];
  /** What the last of them is over. */
  readonly parent: string | null;
}

/** Does the work of one program, one box after another. */
export class ChainShortener implements AsyncDisposable {
  readonly #boxes = new Set<string>();
  readonly #ending = new AbortController();
  #work: Promise<void> = Promise.resolve();
  #working = false;
  #closed = false;

  /** Looks at a box's chain soon. */
  soon(context: Context, box: string): void {
    if (this.#closed) return;
    this.#boxes.add(box);
    if (!this.#working) this.#work = this.#run(context);
  }

  /** Waits for what is under way, for a while. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const timer = setTimeout(() => this.#ending.abort(), CLOSE_MS);
    await this.#work;
    clearTimeout(timer);
  }

  async #run(context: Context): Promise<void> {
    this.#working = true;
    for (const box of this.#boxes) {
      this.#boxes.delete(box);
      try {
        await shortenChain(context, box, this.#ending.signal);
      } catch (error) {
        // Nothing is lost: the chain stays as it is, and the next one who takes a snapshot tries again.
        if (!this.#ending.signal.aborted) context.log(`shortening a disk: ${errorText(error)}`);
      }
    }
    this.#working = false; // at the very moment that nothing is left: who comes now starts anew
  }
}

/**
 * Makes the chain of a box's disk, and of its snapshots, as short as it should be.
 *
 * @throws The signal's reason; `no_space`.
 */
export async function shortenChain(
  context: Context,
  box: string,
  signal: AbortSignal,
): Promise<void> {
  const config = context.records.byId(box)?.config;
  if (!config || !nextMerge(context, box)) return;
  using lock = FileLock.try(lockPath(context));
  if (!lock) return; // another program is at it
  const image = await context.baseDisk(config.image.digest, signal);
  for (;;) {
    const merge = nextMerge(context, box);
    if (!merge || !await mergeLinks(context, merge, { image, signal })) return;
  }
}

/** Takes away the lock of a program that died in the middle, when nothing is left to be done. */
export async function sweepShortening(context: Pick<Context, "paths">): Promise<void> {
  const path = lockPath(context);
  if (await exists(path)) FileLock.try(path)?.[Symbol.dispose]();
}

/** What programs that share a home take turns by. */
function lockPath({ paths }: Pick<Context, "paths">): string {
  return join(paths.home, "shorten.lock");
}

/** What is to be merged next; undefined when all is well, or has to wait for machines. */
function nextMerge(context: Context, box: string): Merge | undefined {
  const { disks } = context;
  const tops = [
    ...disks.backingsOf(box),
    ...disks.snapshots(box).flatMap(({ backing }) => backing ?? []),
  ];
  for (const top of tops) {
    const chain = disks.chain(top);
    for (const [index, id] of chain.entries()) {
      const above = chain[index - 1];
      const { boxes, snapshots, children } = disks.users(id);
      if (above === undefined || isWritten(context, above)) continue;
      if (boxes.length + snapshots.length > 0 || children.length !== 1) continue;
      return { links: [above, id], parent: chain[index + 1] ?? null };
    }
    const [first, ...below] = chain.slice(chain.findIndex((id) => !isWritten(context, id)));
    if (first !== undefined && below.length >= MOST_LINKS) {
      return { links: [first, ...below], parent: null };
    }
  }
  return undefined;
}

/** Whether it was done: not where boxes are busy. */
async function mergeLinks(
  context: Context,
  merge: Merge,
  { image, signal }: {
    readonly image: Awaited<ReturnType<BoxContext["baseDisk"]>>;
    readonly signal: AbortSignal;
  },
): Promise<boolean> {
  const { paths, disks } = context;
  const [target] = merge.links;
  const path = backingPath(paths, target);
  const fresh = `${path}.new`;
  const below = merge.parent === null
    ? image
    : { path: backingPath(paths, merge.parent), format: "qcow2" as const };
  if (isWritten(context, target)) return false;
  try {
    await removeIfThere(fresh); // of a program that died
    await mergeOverlays({
      path: fresh,
      links: merge.links.map((id) => backingPath(paths, id)),
      backing: { ...below, path: relative(dirname(path), below.path) },
      signal,
    });
    using locks = await lockBoxes(context, target, signal);
    if (!locks || !isStill(context, merge) || isWritten(context, target)) return false;
    await Deno.rename(fresh, path);
    await syncPath(dirname(path));
    disks.reparent(target, merge.parent);
  } catch (error) {
    if (!isStill(context, merge)) return false; // whose box or snapshot was removed meanwhile
    throw asNoSpace(error, fresh);
  } finally {
    await removeIfThere(fresh);
  }
  await collectDisks(context);
  return true;
}

/** A machine whose switch to another file was cut short may still write to the one right below. */
function isWritten({ disks, records }: Context, id: string): boolean {
  return disks.users(id).boxes.some((box) => {
    const status = records.byId(box)?.state.status;
    return status !== undefined && ACTIVE.includes(status);
  });
}

/** Whether the links are what they were, and nobody has come to need one for itself. */
function isStill({ disks }: Context, { links, parent }: Merge): boolean {
  const chain = disks.chain(links[0]);
  return links.every((id, index) => chain[index] === id) &&
    (chain[links.length] ?? null) === parent;
}

/** Holds all boxes above a link; undefined when one is busy for long. */
async function lockBoxes(
  { paths, disks }: Context,
  id: string,
  signal: AbortSignal,
): Promise<Disposable | undefined> {
  using stack = new DisposableStack();
  const until = performance.now() + BUSY_MS;
  for (const box of disks.boxesOver(id)) {
    let lock: FileLock | undefined;
    while (!(lock = tryLock(boxPaths(paths, box).operationLockPath))) {
      if (signal.aborted || performance.now() > until) return undefined;
      await new Promise((resolve) => setTimeout(resolve, BUSY_STEP_MS));
    }
    stack.use(lock);
  }
  return stack.move();
}

/** A box whose folder went can't be locked, and needn't be; that shows when it is tried again. */
function tryLock(path: string): FileLock | undefined {
  try {
    return FileLock.try(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
