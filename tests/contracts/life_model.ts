/**
 * A box's life against a model of it: random operations by two programs, each of which must do what
 * the table of operations says. After each step both programs see the truth; at the end nothing is
 * left.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Box, type BoxOptions, type BoxStatus, HutchError, Runtime } from "../../mod.ts";
import { exists } from "../../src/atomic_file.ts";
import { type BoxOperation, OPERATIONS } from "../../src/box/transitions.ts";
import { boxPaths, pathsOf } from "../../src/runtime/paths.ts";
import { isAlive } from "../../src/vmm/machine.ts";
import { fc } from "../deps.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";
import { processesOf, until } from "../support/processes.ts";

/** What runs of the model are made of. */
export interface LifeModelOptions {
  /** A home, made anew for each run. */
  readonly home: () => Promise<string>;
  readonly open: (home: string) => Promise<Runtime>;
  readonly box: BoxOptions;
  readonly runs: number;
  /** Most steps of a run. */
  readonly steps: number;
  readonly seed: number;
}

/** What is done to the box, by one of the two programs. */
type Deed =
  | "start"
  | "exec"
  | "stop"
  | "kill"
  | "restart"
  | "pause"
  | "resume"
  | "rename"
  | "label"
  | "resize"
  | "remove"
  | "force"
  | "crash";

/** One step: a deed, or two at once. */
interface Move {
  readonly by: 0 | 1;
  readonly deed: Deed;
  /** What the other program does meanwhile; then the outcome is one of several. */
  readonly meanwhile: Deed | undefined;
}

const DEEDS: readonly Deed[] = [
  ...["start", "exec", "stop", "kill", "restart", "pause", "pause", "resume"] as const,
  ...["rename", "label", "resize", "remove", "force", "crash"] as const,
];
const STEP_LIMIT_MS = 60_000;
const ACTIVE: readonly BoxStatus[] = ["running", "paused"];
/** What may come of two deeds at once, beside a result. */
const RACED = ["box_state", "box_not_found", "connection_lost", "boot_failed", "cancelled"];

const move = fc.record<Move>({
  by: fc.constantFrom(0, 1),
  deed: fc.constantFrom(...DEEDS),
  meanwhile: fc.oneof(
    { weight: 4, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constantFrom(...DEEDS) },
  ),
});

/**
 * Plays the model; throws with the shortest moves that break it.
 *
 * @returns What changed a box's state without another deed at the same time, as `DEED of STATE`.
 */
export async function playLife(options: LifeModelOptions): Promise<ReadonlySet<string>> {
  const { runs, steps, seed } = options;
  const changes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(move, { minLength: 3, maxLength: steps, size: "max" }),
      (moves) => playOne(options, moves, changes),
    ),
    { numRuns: runs, seed, endOnFailure: true },
  );
  return changes;
}

async function playOne(
  options: LifeModelOptions,
  moves: readonly Move[],
  changes: Set<string>,
): Promise<void> {
  const home = await options.home();
  try {
    const ids = new Set<string>();
    {
      await using first = await options.open(home);
      await using second = await options.open(home);
      const life = new Life(home, [first, second], { box: options.box, changes });
      for (const [index, move] of moves.entries()) {
        await inTime(life.play(move)).catch((cause: unknown) => {
          throw new Error(`step ${index}: ${JSON.stringify(move)}`, { cause });
        });
      }
      await life.end();
      for (const id of life.ids) ids.add(id);
    }
    await assertNoBoxLeft(home, ids);
  } finally {
    for (const { pid } of await processesOf(home)) Deno.kill(pid, "SIGKILL");
    await Deno.remove(home, { recursive: true });
  }
}

/** One box's life; a new box is made when the old one was removed. */
class Life {
  readonly #home: string;
  readonly #runtimes: readonly [Runtime, Runtime];
  readonly #options: BoxOptions;
  readonly #changes: Set<string>;
  #name = "box";
  #renames = 0;
  /** Every box that was made. */
  readonly ids = new Set<string>();
  /** What the model says of it; undefined when there is none. */
  #status: BoxStatus | undefined;

  constructor(
    home: string,
    runtimes: readonly [Runtime, Runtime],
    { box, changes }: { readonly box: BoxOptions; readonly changes: Set<string> },
  ) {
    this.#home = home;
    this.#runtimes = runtimes;
    this.#options = box;
    this.#changes = changes;
  }

  async play({ by, deed, meanwhile }: Move): Promise<void> {
    if (this.#status === undefined) {
      // Detached: it belongs to neither program, so that either may go on with it.
      const options = { ...this.#options, name: this.#name, detached: true };
      const made = await Promise.all(
        this.#runtimes.map((runtime) => runtime.getOrCreate(options)),
      );
      assert.ok(made[0]);
      assert.equal(made[0].id, made[1]?.id);
      this.#status = "configured";
      this.ids.add(made[0].id);
    }
    const box = await this.#runtimes[by].get(this.#name);
    if (meanwhile === undefined) {
      await this.#expect(box, deed);
    } else {
      const other = await this.#runtimes[by === 0 ? 1 : 0].get(this.#name);
      const racing = (deed: Deed, against: Deed, box: Box) =>
        // A command that is under way stands still with its box.
        deed === "pause" && against === "exec"
          ? this.#do(box, "pause").then(() => box.resume())
          : this.#do(box, deed);
      const done = await Promise.allSettled([
        racing(deed, meanwhile, box),
        racing(meanwhile, deed, other),
      ]);
      for (const outcome of done) {
        if (outcome.status === "fulfilled") continue;
        const { reason } = outcome;
        assert.ok(reason instanceof HutchError, String(reason));
        assert.ok(RACED.includes(reason.code), reason.message);
      }
      await this.#resync(box);
    }
    await this.#check(box);
  }

  async end(): Promise<void> {
    if (this.#status === undefined) return;
    await (await this.#runtimes[1].get(this.#name)).remove({ force: true });
  }

  /** A deed that nobody disturbs does what the table says. */
  async #expect(box: Box, deed: Deed): Promise<void> {
    const from = this.#status ?? "configured";
    const done = this.#do(box, deed);
    if (deed === "crash") {
      await done;
      if (!ACTIVE.includes(from)) return;
      this.#status = "crashed";
      this.#changes.add(`crash of ${from}`);
      return;
    }
    const step = OPERATIONS[operationOf(deed)][from];
    const refused = typeof step !== "string" &&
        ("refused" in step || step.force !== undefined && deed !== "force") ||
      deed === "resize" && ACTIVE.includes(from);
    if (refused) return await assert.rejects(done, { code: "box_state" }, `${deed} of ${from}`);
    await done;
    if (typeof step === "string") assert.equal(step, "stays");
    else if ("to" in step) {
      this.#status = step.to === "removed" ? undefined : step.to;
      this.#changes.add(`${deed} of ${from}`);
    }
  }

  async #do(box: Box, deed: Deed): Promise<void> {
    switch (deed) {
      case "exec":
        return assert.equal((await box.exec("echo", ["here"])).stdout, "here\n");
      case "rename": {
        const name = `box${++this.#renames}`;
        await box.rename(name);
        assert.equal(box.name, name);
        this.#name = name;
        return;
      }
      case "label":
        return await box.update({ labels: { seen: String(this.#renames) } });
      case "resize":
        return await box.update({ bootTimeoutMs: 60_000, memory: 128 });
      case "remove":
        return await box.remove();
      case "force":
        return await box.remove({ force: true });
      case "crash": {
        const { pid } = await box.info();
        if (pid === null) return;
        try {
          Deno.kill(pid, "SIGKILL");
        } catch {
          // Somebody else ended it.
        }
        await until(async () => !await exists(`/proc/${pid}`), () => Promise.resolve("it lives"));
        return;
      }
      default:
        return await box[deed]();
    }
  }

  /** After a race: whatever it came to, as long as it is true. */
  async #resync(box: Box): Promise<void> {
    try {
      this.#status = (await box.info()).status;
      this.#name = box.name;
    } catch (error) {
      assert.ok(error instanceof HutchError && error.code === "box_not_found", String(error));
      this.#status = undefined;
    }
  }

  async #check({ id }: Box): Promise<void> {
    const own = boxPaths(pathsOf(this.#home), id);
    if (this.#status === undefined) {
      for (const runtime of this.#runtimes) {
        await assert.rejects(runtime.get(id), { code: "box_not_found" });
      }
      return assert.equal(isAlive(own.lockPath), false);
    }
    for (const runtime of this.#runtimes) {
      const box = await runtime.get(id);
      const info = await box.info();
      assert.deepEqual([info.status, info.name], [this.#status, this.#name]);
      const active = ACTIVE.includes(info.status);
      assert.equal(info.pid !== null, active);
      assert.equal(isAlive(own.lockPath), active, `it is ${info.status}`);
      const listed = await runtime.list();
      assert.deepEqual(listed.map(({ id }) => id), active ? [id] : []);
    }
    // One that has let go of everything may still be on its way out.
    const wanted = ACTIVE.includes(this.#status) ? 1 : 0;
    await until(
      async () => (await this.#boxProcesses()).length === wanted,
      async () => `not ${wanted}: ${JSON.stringify(await this.#boxProcesses())}`,
    );
  }

  async #boxProcesses(): Promise<{ readonly pid: number; readonly command: string }[]> {
    const all = await processesOf(this.#home);
    return all.filter(({ command }) => /\/box_process\.[jt]s\b/.test(command));
  }
}

/** What hangs fails, and so is told with its step. */
async function inTime<T>(step: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("it hangs")), STEP_LIMIT_MS);
  try {
    return await Promise.race([step, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The row of the table that a deed is of. */
function operationOf(deed: Exclude<Deed, "crash">): BoxOperation {
  switch (deed) {
    case "label":
    case "resize":
      return "update";
    case "force":
      return "remove";
    default:
      return deed;
  }
}
