/**
 * Every operation in every state that a box can rest in, done for real on the engine double: what the
 * table says comes about, or is refused in the words that it has for that.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Box, type BoxStatus, definePlugin, HutchError, Runtime } from "../../mod.ts";
import { exists } from "../../src/atomic_file.ts";
import { type BoxOperation, OPERATIONS, type Step } from "../../src/box/transitions.ts";
import { engineDouble } from "../doubles/engine.ts";
import "../support/native.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";
import { until } from "../support/processes.ts";

/** What a program can do; `attach` belongs to connections that outlive one, which aren't boxes' yet. */
type Operation = Exclude<BoxOperation, "attach"> | "force";
/** What happens to a box that nobody asked for. */
type Mishap = "crash" | "fail";

const RESTING: readonly BoxStatus[] = [
  "configured",
  "running",
  "paused",
  "stopped",
  "failed",
  "crashed",
];

/** Lives that together do all that changes a state; at each new state comes all that doesn't. */
const LIVES: readonly (readonly (Operation | Mishap)[])[] = [
  ["start", "pause", "resume", "restart", "stop", "start", "kill", "exec", "crash", "start"],
  ["restart", "pause", "stop", "restart", "pause", "kill", "remove"],
  ["exec", "pause", "restart", "crash", "exec", "crash", "restart", "force"],
  ["fail", "start", "kill", "fail", "exec", "kill", "fail", "restart", "pause", "force"],
  ["start", "crash", "remove"],
  ["fail", "remove"],
  ["remove"],
  ["force"],
  ["start", "stop", "force"],
  ["fail", "force"],
  ["exec", "crash", "force"],
];

Deno.test("Box does in each state what the table of operations says, on the engine double", async () => {
  const home = await makeDoubleHome();
  const failing = new Set<string>();
  const plugin = definePlugin({
    name: "fails",
    stages: {
      layout: {
        before({ box }) {
          if (failing.has(box.id)) throw new Error("not today");
        },
      },
    },
  });
  const seen = new Set<string>();
  const ids: string[] = [];
  try {
    {
      await using runtime = await Runtime.open({
        home,
        plugins: [plugin, engineDouble({ overlay: true })],
      });
      await Promise.all(LIVES.map(async (deeds, index) => {
        const box = await runtime.create({ ...DOUBLE_BOX, name: `box${index}` });
        ids.push(box.id);
        await live(runtime, box, deeds, { seen, failing });
      }));
    }
    await assertNoBoxLeft(home, ids);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
  const wanted = RESTING.flatMap((status) => allOperations().map((one) => `${one} of ${status}`));
  assert.deepEqual([...seen].sort(), wanted.sort());
});

interface Marks {
  /** What was tried, as `OPERATION of STATE`. */
  readonly seen: Set<string>;
  /** Boxes whose starts fail. */
  readonly failing: Set<string>;
}

async function live(
  runtime: Runtime,
  box: Box,
  deeds: readonly (Operation | Mishap)[],
  { seen, failing }: Marks,
): Promise<void> {
  let status: BoxStatus | "removed" = "configured";
  for (const deed of [...deeds, undefined]) {
    if (status === "removed") return assert.equal(deed, undefined);
    for (const operation of allOperations()) {
      const step = stepFor(operation, status);
      const name: string = `${operation} of ${status}`;
      if (isChange(step) || seen.has(name)) continue;
      seen.add(name);
      if (step === "stays") await doIt(runtime, box, operation);
      else await refused(doIt(runtime, box, operation), operation, box, status);
      assert.equal((await box.info()).status, status, name);
    }
    if (deed === undefined) return await box.remove({ force: true });
    if (deed === "crash") {
      await crash(box);
      status = "crashed";
    } else if (deed === "fail") {
      failing.add(box.id);
      await assert.rejects(box.start(), /not today/);
      failing.delete(box.id);
      status = "failed";
    } else {
      seen.add(`${deed} of ${status}`);
      const step = stepFor(deed, status);
      assert.ok(isChange(step), `${deed} of ${status} changes nothing`);
      await doIt(runtime, box, deed);
      status = step.to;
    }
    if (status === "removed") await assert.rejects(box.info(), { code: "box_not_found" });
    else assert.equal((await box.info()).status, status, deed);
  }
}

function allOperations(): Operation[] {
  return [
    ...["create", "start", "exec", "stop", "kill", "restart", "pause", "resume"] as const,
    ...["wait", "remove", "force", "rename", "update", "publish", "export", "commit"] as const,
    ...["quiesce", "snapshot", "clone", "restore"] as const,
  ];
}

/** The table's word, with `remove` by force as an operation of its own. */
function stepFor(operation: Operation, status: BoxStatus): Step {
  if (operation !== "force") {
    const step = OPERATIONS[operation][status];
    return typeof step === "object" && "force" in step ? { refused: step.force ?? "" } : step;
  }
  return OPERATIONS.remove[status];
}

function isChange(step: Step): step is Extract<Step, { readonly to: unknown }> {
  // A restart of a box that runs leads to where it was, and is no "stays".
  return typeof step === "object" && "to" in step;
}

async function doIt(runtime: Runtime, box: Box, operation: Operation): Promise<void> {
  switch (operation) {
    case "create":
      await runtime.create({ ...DOUBLE_BOX, name: box.name });
      return;
    case "exec":
      return assert.equal((await box.exec("echo", ["here"])).stdout, "here\n");
    case "wait":
      await box.wait({ for: (await box.info()).status });
      return;
    case "rename":
      return await box.rename(`${box.name}x`);
    case "update":
      return await box.update({ labels: { seen: box.name } });
    case "publish":
      assert.equal((await box.publish("80")).length, 1);
      return;
    case "commit":
      return await unlessOverNothing(box.commit("team/seen:1"));
    case "export": {
      const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>>();
      const archive = new Response(readable).bytes().catch(() => new Uint8Array());
      return await unlessOverNothing(box.export(writable).then(() => archive));
    }
    case "quiesce":
      return assert.equal((await box.quiesce(() => 7)).value, 7);
    case "snapshot":
      await box.snapshots.create(`s${crypto.randomUUID()}`);
      return;
    case "clone":
      for (const clone of await box.clone()) await clone.remove();
      return;
    case "restore":
      if ((await box.snapshots.list()).length === 0) await box.snapshots.create("kept");
      await box.snapshots.restore((await box.snapshots.list())[0]?.name ?? "", { force: true });
      return;
    case "force":
      return await box.remove({ force: true });
    default:
      return await box[operation]();
  }
}

/** What reads a disk does what it does, but the double's disks lie over no image's. */
async function unlessOverNothing(reading: Promise<unknown>): Promise<void> {
  await reading.catch((error: unknown) => {
    if (!(error instanceof HutchError && error.code === "state_corrupt")) throw error;
  });
}

/** Refused with the state, and what would help. */
async function refused(
  done: Promise<void>,
  operation: Operation,
  box: Box,
  status: BoxStatus,
): Promise<void> {
  await assert.rejects(done, (error: unknown) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, operation === "create" ? "name_taken" : "box_state");
    if (operation !== "create") assert.ok(error.message.endsWith(`it is ${status}`), error.message);
    assert.match(error.hint ?? "", new RegExp(`hutch \\w+ (-f )?${box.name}\\b`));
    return true;
  }, `${operation} of ${status}`);
}

async function crash(box: Box): Promise<void> {
  const { pid } = await box.info();
  assert.ok(pid);
  Deno.kill(pid, "SIGKILL");
  await until(async () => !await exists(`/proc/${pid}`), () => Promise.resolve("it lives"));
}
