import assert from "node:assert/strict";
import { dirname } from "node:path";
import { fc } from "../deps.ts";
import { TempFolder } from "../support/temp.ts";
import { checkNextPull, checkWhole, CrashRegistry, playPull } from "./pull.ts";

/** One in so many points is tried; `CRASH_EVERY=1` tries all, `CRASH_SEED` names other ones. */
const EVERY = Number(Deno.env.get("CRASH_EVERY") ?? 24);
const SEED = Number(Deno.env.get("CRASH_SEED") ?? 1);
/** How many pulls are killed at random moments. */
const KILLS = Number(Deno.env.get("PULL_KILLS") ?? 6);
/** Programs that die at once. */
const AT_ONCE = 2;

Deno.test("kill -9 at any write of an image's life leaves whole blobs and disks, and the next pull works", async () => {
  await using registry = new CrashRegistry();
  const { reference } = registry;
  const points = await pointsOf(reference);
  await each(points.filter((_, index) => (index + SEED) % EVERY === 0), async (at) => {
    await using home = new TempFolder();
    // A point that isn't reached, since layers come in any order: then it lives on.
    await playPull(home.path, reference, { at });
    await checkWhole(home.path);
    await checkNextPull(home.path, reference);
  });
});

Deno.test("a pull brings to the disk what it renames: first the file, then the folder", async () => {
  await using registry = new CrashRegistry();
  const points = (await pointsOf(registry.reference)).map((point) =>
    point.replace(/ \(\d+\)$/, "")
  );
  const renamed = points.flatMap((point, at) => {
    const path = /: before rename (.*)$/.exec(point)?.[1];
    return path === undefined ? [] : [{ path, at }];
  });
  assert.deepEqual(
    [...new Set(renamed.map(({ path }) => dirname(path)))].sort(),
    ["blobs/references", "blobs/sha256", "disks"],
  );
  for (const { path, at } of renamed) {
    const from = path.startsWith("blobs/sha256/")
      ? path.replace("sha256", "partial")
      : `${path}.new`;
    const find = (what: string, list: readonly string[]) =>
      list.some((each) => each.endsWith(what));
    assert.ok(find(`: after sync in ${from}`, points.slice(0, at)), `${from} isn't synced`);
    const after = points.slice(at);
    const done = after.findIndex((point) => point.endsWith(`: after rename ${path}`));
    const folder = `: before sync in ${dirname(path)}`;
    assert.ok(find(folder, after.slice(done)), `the folder of ${path} isn't synced`);
    // Nobody else counts on it before: whoever waits for it waits for its lock.
    const lock = path.startsWith("blobs/sha256/") ? `${from}.lock` : `${path}.lock`;
    const unlocked = after.findIndex((point) => point.endsWith(`: before remove ${lock}`));
    if (path.startsWith("blobs/references/")) continue;
    assert.ok(find(folder, after.slice(done, unlocked)), `${path} is let go before it is synced`);
  }
});

Deno.test("kill -9 at any moment of an image's life leaves whole blobs and disks, and the next pull works", async () => {
  await using registry = new CrashRegistry();
  const { reference } = registry;
  const wholeMs = await durationOf(reference);
  const lives = fc.sample(
    fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 3 }),
    { seed: SEED, numRuns: KILLS },
  );
  let died = 0;
  await each(lives, async (parts) => {
    await using home = new TempFolder();
    for (const part of parts) { // each goes on with what the one before it left
      const kill = () => new Promise<void>((resolve) => setTimeout(resolve, part * wholeMs));
      if (await playPull(home.path, reference, { kill }) === "died") died++;
      await checkWhole(home.path);
    }
    await checkNextPull(home.path, reference);
  });
  if (died === 0) throw new Error("no program died");
});

async function pointsOf(reference: string): Promise<readonly string[]> {
  await using home = new TempFolder();
  const played = await playPull(home.path, reference);
  if (played === "died") throw new Error("it died without a point");
  await checkNextPull(home.path, reference);
  return played.passed;
}

async function durationOf(reference: string): Promise<number> {
  await using home = new TempFolder();
  const played = await playPull(home.path, reference);
  if (played === "died") throw new Error("nobody killed it");
  return played.ended - played.began;
}

/** Does something for each, a few at once, and tells all failures. */
async function each<T>(all: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  const left = all.map((one) => ({ one }));
  const failures: string[] = [];
  const next = async () => {
    for (let each = left.shift(); each; each = left.shift()) {
      const { one } = each;
      await run(one).catch((error: unknown) => {
        failures.push(`${JSON.stringify(one)}: ${error instanceof Error ? error.stack : error}`);
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  if (failures.length > 0) throw new Error(failures.join("\n\n"));
}
