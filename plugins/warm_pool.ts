/**
 * Boxes that have booted before somebody asks: `create` hands one out when its options are those of
 * the template, and another one boots behind its back. Labels may differ; a box with a name,
 * `autoRemove: false` or `detached` is made anew. What isn't handed out goes with the runtime.
 *
 * A box that waits has the label `warm_pool`; its events and limits count from then on. It is handed
 * out only while it runs the image that its reference means now. Give the plugin last: its boxes
 * begin to boot when it is set up.
 * Options and their defaults: {@link WarmPoolOptions}.
 *
 * @example
 * ```ts
 * import { Runtime } from "../mod.ts";
 * import { warmPool } from "./warm_pool.ts";
 * const template = { image: "builtin:busybox", memory: 128 };
 * await using runtime = await Runtime.open({ plugins: [warmPool({ template, size: 2 })] });
 * await using box = await runtime.create(template);
 * console.log((await box.exec("echo", ["at once"])).stdout);
 * ```
 * @module
 */
import { setTimeout } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { type BoxOptions, definePlugin, errorText, HutchError } from "../mod.ts";
import type { Box, BoxEvent, HutchEvent, Plugin, PluginContext } from "../mod.ts";

/** What a box doesn't share with its template, or counts from when it was handed out. */
type Own = "name" | "labels" | "autoRemove" | "detached" | "replace" | "signal" | "onPull";
type Limits = "maxDurationMs" | "idleTimeoutMs";

/** Options of {@link warmPool}. */
export interface WarmPoolOptions {
  /** What the boxes are made with. */
  readonly template: Omit<BoxOptions, Own | Limits>;
  /** How many boxes to keep ready. @default {1} */
  readonly size?: number;
  /** Pause after a box that couldn't be booted, in `ms`; doubles up to a minute. @default {1000} */
  readonly retryDelayMs?: number;
}

const LABEL = "warm_pool";
const MAX_DELAY_MS = 60_000;

/** Makes the plugin; throws `invalid_option` for a size that isn't a number from 1. */
export function warmPool({ template, size = 1, retryDelayMs = 1_000 }: WarmPoolOptions): Plugin {
  if (!Number.isInteger(size) || size < 1) {
    throw new HutchError("invalid_option", `Cannot keep ${size} boxes: it is no number from 1`);
  }
  const mark = crypto.randomUUID(); // tells our own boxes from whatever users label so
  const ready: Box[] = [];
  const stopping = new AbortController();
  const { signal } = stopping;
  let whole: unknown; // the template as `create` sees it, with the runtime's defaults
  let wanted = Promise.withResolvers<void>();

  async function fill({ runtime, log }: PluginContext): Promise<void> {
    for (let pause = retryDelayMs; !signal.aborted;) {
      wanted = Promise.withResolvers();
      if (ready.length >= size) {
        await wanted.promise;
        continue;
      }
      let box: Box | undefined;
      try {
        box = await runtime.create({ ...template, labels: { [LABEL]: mark }, signal });
        await box.start({ signal });
        ready.push(box);
        pause = retryDelayMs;
      } catch (error) {
        if (box) await discard(box, log);
        const closing = error instanceof HutchError && error.code === "cancelled";
        if (!closing) log(`cannot boot a box, waiting ${pause} ms: ${errorText(error)}`);
        await setTimeout(pause, undefined, { signal }).catch(() => {});
        pause = Math.min(pause * 2, MAX_DELAY_MS);
      }
    }
  }

  /** A box that runs, from the image that is meant now; whatever else is met goes. */
  async function take(
    input: BoxOptions,
    { runtime, log }: PluginContext,
  ): Promise<Box | undefined> {
    for (let box = ready.shift(); box; box = ready.shift()) {
      wanted.resolve();
      try {
        const { config: { image }, status } = await box.info();
        const current = (await runtime.images.list()).find((one) =>
          one.reference === image.reference
        );
        await box.update({ labels: { ...input.labels, [LABEL]: null } });
        if (status === "running" && current?.digest === image.digest) return box;
      } catch (error) { // it is gone, or the labels can't be: making a box says so
        const bad = error instanceof HutchError && error.code === "invalid_option";
        if (bad) return void ready.unshift(box);
      }
      void discard(box, log);
    }
  }

  /** One that waited has ended; whoever ended it on purpose removes it. */
  function gone({ type, box: id }: HutchEvent & BoxEvent, { log }: PluginContext): void {
    const index = ready.findIndex((box) => box.id === id);
    const [box] = index < 0 ? [] : ready.splice(index, 1);
    if (box && type === "box.crashed") void discard(box, log);
    wanted.resolve();
  }

  return definePlugin({
    name: "warm_pool",
    on: { "box.stopped": gone, "box.crashed": gone, "box.removed": gone },
    operations: {
      create: {
        async wrap(input, next, context) {
          const asked = essence(input);
          if (input.labels?.[LABEL] === mark) whole = asked;
          else if (asked && isDeepStrictEqual(asked, whole)) {
            const box = await take(input, context);
            if (box) return box;
          }
          return await next(input);
        },
      },
    },
    setup(context) {
      const filling = setTimeout(0).then(() => fill(context)); // after the setup of all plugins
      return {
        async [Symbol.asyncDispose]() {
          stopping.abort();
          wanted.resolve();
          await filling;
        },
      };
    },
  });
}

/** What two boxes must have in common; undefined for one that the pool has nothing for. */
function essence({ labels: _, signal: _s, onPull: _p, replace: _r, ...rest }: BoxOptions) {
  const { name, autoRemove = true, detached = false, ...options } = rest;
  if (name !== undefined || !autoRemove || detached) return undefined;
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

async function discard(box: Box, log: (line: string) => void): Promise<void> {
  await box.remove({ force: true }).catch((error) => {
    if (error.code !== "box_not_found") log(`cannot remove ${box.name}: ${errorText(error)}`);
  });
}
