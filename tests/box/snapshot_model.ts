/**
 * A box's disk and its snapshots as they should be, beside what they are.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Box } from "../../mod.ts";
import { FileLock } from "../../src/file_lock.ts";
import { runTool } from "../support/tools.ts";

/** Blocks of the disk that are written to. */
const BLOCKS = 24;
const BLOCK = 65_536;

/** Names in a folder; none when there is no folder. */
export function filesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Runs a program on the disk of a box that stands still, as hutch itself does: with the box held. */
export async function onDisk(
  home: string,
  box: string,
  name: string,
  ...args: readonly string[]
): Promise<string> {
  using _held = await FileLock.acquire(join(home, "boxes", box, "operation.lock"));
  const said = await runTool(name, ...args);
  assert.doesNotMatch(said, /Pattern verification failed/);
  return said;
}

/** Writes a pattern to a block of its own of a box's disk. */
export async function writePattern(home: string, box: string, pattern: number): Promise<void> {
  const disk = join(home, "boxes", box, "disk.qcow2");
  await onDisk(home, box, "qemu-io", "-c", `write -P ${pattern} ${pattern}M 64k`, disk);
}

/** Which patterns a disk has, of those up to `last`. */
export async function patternsIn(
  home: string,
  box: string,
  { path, last }: { readonly path: string; readonly last: number },
): Promise<number[]> {
  using _held = await FileLock.acquire(join(home, "boxes", box, "operation.lock"));
  const numbers = Array.from({ length: last }, (_, index) => index + 1);
  const { stdout, stderr } = await new Deno.Command("qemu-io", {
    args: ["-r", ...numbers.flatMap((n) => ["-c", `read -P ${n} ${n}M 64k`]), path],
  }).output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(said.match(/read 65536\/65536/g)?.length, numbers.length, said);
  const other = [...said.matchAll(/verification failed at offset (\d+)/g)]
    .map(([, offset]) => Number(offset) / 2 ** 20);
  return numbers.filter((n) => !other.includes(n));
}

/** Writes, takes, removes and restores at random, and knows what must come of it. */
export class Model {
  readonly #box: Box;
  readonly #disk: string;
  readonly #home: string;
  /** A pattern per block. */
  #now: readonly number[] = Array.from({ length: BLOCKS }, () => 0);
  readonly #snapshots = new Map<string, readonly number[]>();
  #seed: number;
  #count = 0;

  constructor(box: Box, home: string, seed: number) {
    this.#box = box;
    this.#home = home;
    this.#disk = join(home, "boxes", box.id, "disk.qcow2");
    this.#seed = seed;
  }

  /** A chain of some length first, then random deeds. */
  async live(chain: number, deeds: number): Promise<void> {
    for (let n = 0; n < chain; n++) {
      await this.#write();
      await this.#take();
    }
    for (let n = 0; n < deeds; n++) {
      const deed = this.#random(10);
      if (deed < 4) await this.#write();
      else if (deed < 5) await this.#take();
      else if (deed < 9) await this.#remove();
      else await this.#restore();
      if (n === 15) await this.check();
    }
  }

  /** Everything is as it should be, and whole. */
  async check(): Promise<void> {
    const list = await this.#box.snapshots.list();
    assert.deepEqual(list.map(({ name }) => name).sort(), [...this.#snapshots.keys()].sort());
    await this.#checkDisk(this.#disk, this.#now);
    for (const { name, backing } of list) {
      if (backing === null) continue;
      const path = join(this.#home, "backing", backing, "disk.qcow2");
      await this.#checkDisk(path, this.#snapshots.get(name) ?? []);
    }
  }

  async #checkDisk(path: string, blocks: readonly number[]): Promise<void> {
    await this.#run("qemu-img", "check", "-q", path);
    const reads = blocks.flatMap((
      pattern,
      n,
    ) => ["-c", `read -P ${pattern} ${n * BLOCK} ${BLOCK}`]);
    await this.#run("qemu-io", "-r", ...reads, path);
  }

  async #write(): Promise<void> {
    const blocks = [...this.#now];
    const deeds: string[] = [];
    for (let n = 0; n <= this.#random(3); n++) {
      const block = this.#random(BLOCKS);
      const pattern = this.#random(5) === 0 ? 0 : 1 + this.#random(250);
      blocks[block] = pattern;
      const how = pattern === 0 ? "write -z" : `write -P ${pattern}`;
      deeds.push("-c", `${how} ${block * BLOCK} ${BLOCK}`);
    }
    await this.#run("qemu-io", ...deeds, this.#disk);
    this.#now = blocks;
  }

  async #take(): Promise<void> {
    const name = `s${++this.#count}`;
    await this.#box.snapshots.create(name);
    this.#snapshots.set(name, this.#now);
  }

  async #remove(): Promise<void> {
    const names = [...this.#snapshots.keys()];
    const name = names[this.#random(names.length)];
    if (name === undefined) return;
    await this.#box.snapshots.remove(name);
    this.#snapshots.delete(name);
  }

  async #restore(): Promise<void> {
    const names = [...this.#snapshots.keys()];
    const name = names[this.#random(names.length)];
    const blocks = this.#snapshots.get(name ?? "");
    if (name === undefined || !blocks) return;
    const force = this.#random(2) === 0;
    const { safety } = await this.#box.snapshots.restore(name, { force });
    if (safety) this.#snapshots.set(safety.name, this.#now);
    else if (!force) assert.ok([...this.#snapshots.values()].some((each) => same(each, this.#now)));
    this.#now = blocks;
  }

  async #run(name: string, ...args: readonly string[]): Promise<void> {
    await onDisk(this.#home, this.#box.id, name, ...args);
  }

  /** From 0, below `limit`; the same for the same seed. */
  #random(limit: number): number {
    this.#seed = (Math.imul(this.#seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((this.#seed / 2 ** 32) * limit);
  }
}

function same(one: readonly number[], other: readonly number[]): boolean {
  return one.every((pattern, n) => pattern === other[n]);
}
