/**
 * A box's life that is cut short, and what must be true afterwards.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Box, type BoxInfo, HutchError, Runtime } from "../../mod.ts";
import { readBoxFile } from "../../src/box/box_file.ts";
import { engineDouble } from "../doubles/engine.ts";
import { assertNoBoxLeft, untilNoProcess } from "../support/leftovers.ts";
import { BOX } from "./box.ts";

const VICTIM = fileURLToPath(new URL("./victim.ts", import.meta.url));

/** The lives that the victim plays. */
export type Life = "named" | "owned";

/** What the victim did. */
export interface Played {
  /** Whether it died at its point; else it played its life to the end. */
  readonly died: boolean;
  /** The points that it passed; none when it died. */
  readonly passed: readonly string[];
}

/** Lets a program play a life, which ends at a point. */
export async function playUntil(home: string, life: Life, at?: string): Promise<Played> {
  const { code, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", VICTIM, life, ...(at === undefined ? [] : [at])],
    env: { HUTCH_HOME: home },
  }).output();
  if (signal === "SIGKILL" && at !== undefined) return { died: true, passed: [] };
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return { died: false, passed: JSON.parse(new TextDecoder().decode(stdout)) };
}

/**
 * What must be true in a home whose only program was killed: the list says what is there, the next
 * command works, and in the end nothing is left.
 *
 * @param settle Whether what the dead program has left may wind up first.
 */
export async function checkHome(home: string, settle: boolean): Promise<void> {
  const ids = new Set(folders(home));
  if (settle) await untilNoProcess(home);
  {
    const log: string[] = [];
    await using runtime = await Runtime.open({
      home,
      plugins: [engineDouble({ overlay: true })],
      log: (line) => log.push(line),
    });
    const boxes = await runtime.list({ all: true });
    for (const { id } of boxes) ids.add(id);
    if (settle) assertSettled(home, boxes);
    const names = boxes.filter(isKept).map(({ name }) => name);
    assert.ok(names.length <= 1, `boxes are there: ${names}`);
    const name = names[0] ?? "first";
    const box = await runtime.getOrCreate({ ...BOX, name });
    ids.add(box.id);
    await box.rename("third");
    await commandWorks(box);
    if (settle) assert.deepEqual(log, []);
    await box.remove({ force: true });
    if (!settle) await untilNoProcess(home);
    assert.deepEqual(await runtime.list({ all: true }), []);
  }
  await assertNoBoxLeft(home, ids);
}

/** The victim names those alone that don't remove themselves. */
function isKept({ name }: BoxInfo): boolean {
  return name === "first" || name === "second";
}

/** It may join a box that is winding up, since its program is dead; which is over soon. */
async function commandWorks(box: Box): Promise<void> {
  for (let lost = 0;; lost++) {
    try {
      return assert.equal((await box.exec("echo", ["here"])).stdout, "here\n");
    } catch (error) {
      if (!(error instanceof HutchError) || lost > 0) throw error;
      if (error.code === "connection_lost") await box.wait();
      else if (error.code === "box_state" && /is paused/.test(error.message)) await box.wait();
      else throw error;
    }
  }
}

/** Nothing runs, and the records say so. */
function assertSettled(home: string, boxes: readonly BoxInfo[]): void {
  assert.deepEqual(boxes.filter((box) => !isKept(box)), [], "their program is dead");
  for (const { id, status, reason, pid } of boxes) {
    assert.ok(["configured", "stopped", "failed"].includes(status), `it is ${status}: ${reason}`);
    assert.equal(pid, null);
    if (status === "failed") assert.equal(reason, "the program that was starting it ended");
    assert.ok(readBoxFile({ folder: `${home}/boxes/${id}` }, id));
  }
  assert.deepEqual(folders(home).sort(), boxes.map(({ id }) => id).sort());
}

function folders(home: string): string[] {
  try {
    return [...Deno.readDirSync(`${home}/boxes`)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
