/**
 * Many boxes, one after the other and some at once: made, used, ended in each of the ways, removed.
 * Nothing of them is left.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { BoxOptions, Runtime } from "../../mod.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";

/** What {@link makeMany} is told. */
export interface ManyBoxesOptions {
  readonly home: string;
  readonly open: () => Promise<Runtime>;
  readonly box: BoxOptions;
  readonly count: number;
  readonly atOnce: number;
}

/** Makes and removes so many boxes, and checks what is left. */
export async function makeMany(options: ManyBoxesOptions): Promise<void> {
  const ids: string[] = [];
  {
    await using runtime = await options.open();
    let next = 0;
    const work = async () => {
      for (let index = next++; index < options.count; index = next++) {
        ids.push(await useOne(runtime, options.box, index));
      }
    };
    await Promise.all(Array.from({ length: options.atOnce }, work));
    assert.deepEqual(await runtime.list({ all: true }), []);
  }
  assert.equal(new Set(ids).size, options.count);
  await assertNoBoxLeft(options.home, ids);
}

async function useOne(runtime: Runtime, options: BoxOptions, index: number): Promise<string> {
  const way = index % 5;
  const box = await runtime.create({ ...options, name: `box${index}`, autoRemove: way === 4 });
  if (way === 0) { // one in five never runs
    await box.remove();
    return box.id;
  }
  assert.equal((await box.exec("echo", [`${index}`])).stdout, `${index}\n`);
  if (way === 2) await box.kill();
  if (way === 1) await box.stop();
  if (way === 4) await box[Symbol.asyncDispose]();
  else await box.remove({ force: way === 3 });
  return box.id;
}
