import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Box, Runtime } from "../../mod.ts";
import { bootId } from "../../src/vmm/kvm.ts";
import { exists } from "../../src/atomic_file.ts";
import { FileLock } from "../../src/file_lock.ts";
import { writeExitFile } from "../../src/vmm/machine_file.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { until } from "../support/processes.ts";
import { TempFolder } from "../support/temp.ts";

/** What a record may claim that isn't true any more. */
interface Claim {
  readonly pid: number;
  readonly bootId: string;
  readonly startedAt?: string;
  /** @default {"running"} */
  readonly status?: string;
}

/** A home with one box, whose record says that it runs. */
async function homeWith(state: Claim): Promise<TempFolder> {
  const home = new TempFolder();
  {
    await using runtime = await Runtime.open({ home: home.path });
    await runtime.create({ image: "builtin:busybox", name: "one" });
  }
  claim(home, state);
  return home;
}

/** Writes what isn't true into the box's record. */
function claim(home: TempFolder, claim: Claim): void {
  using database = new DatabaseSync(join(home.path, "state.db"));
  const startedAt = claim.startedAt ?? new Date().toISOString();
  database.prepare(
    `UPDATE box_states SET status = ?, pid = ?, boot_id = ?,
       document = json_set(document, '$.engine', 'qemu', '$.startedAt', ?)`,
  ).run(claim.status ?? "running", claim.pid, claim.bootId, startedAt);
}

/** A process that has nothing to do with hutch. */
function stranger(): Deno.ChildProcess {
  return new Deno.Command("sleep", { args: ["1000"] }).spawn();
}

const ENDS = {
  stop: (box: Box) => box.stop(),
  kill: (box: Box) => box.kill(),
  remove: (box: Box) => box.remove({ force: true }),
};

for (const [name, end] of Object.entries(ENDS)) {
  Deno.test(`Box.${name} leaves a process alone that has a dead box's number by now`, async () => {
    const other = stranger();
    try {
      await using home = new TempFolder();
      await using runtime = await Runtime.open({ home: home.path });
      const box = await runtime.create({ image: "builtin:busybox", name: "one" });
      // Behind the program's back, so that it is the operation that looks first.
      claim(home, { pid: other.pid, bootId: await bootId() });
      await end(box);
      Deno.kill(other.pid, "SIGCONT"); // throws if it were gone
    } finally {
      other.kill("SIGTERM");
      assert.equal((await other.status).signal, "SIGTERM");
    }
  });
}

Deno.test("Box.kill leaves a process alone that has a dead box's number, also while its lock is taken away", async () => {
  const other = stranger();
  try {
    await using home = new TempFolder();
    await using runtime = await Runtime.open({ home: home.path });
    const box = await runtime.create({ image: "builtin:busybox", name: "one" });
    claim(home, { pid: other.pid, bootId: await bootId() });
    const lock = FileLock.try(join(home.path, "boxes", box.id, "running.lock"));
    setTimeout(() => lock?.[Symbol.dispose](), 0);
    await box.kill();
    Deno.kill(other.pid, "SIGCONT"); // throws if it were gone
  } finally {
    other.kill("SIGTERM");
    assert.equal((await other.status).signal, "SIGTERM");
  }
});

Deno.test("Runtime finds a box stopped that ran when the host was restarted", async () => {
  await using home = await homeWith({ pid: 1, bootId: "another boot" });
  await using runtime = await Runtime.open({ home: home.path });
  const { status, reason, pid } = await (await runtime.get("one")).info();
  assert.deepEqual([status, reason, pid], ["stopped", "the host was restarted", null]);
});

Deno.test("Runtime doesn't mind a box that was started in the clock's future", async () => {
  const startedAt = "2999-01-01T00:00:00.000Z";
  await using home = await homeWith({ pid: 1, bootId: await bootId(), startedAt });
  await using runtime = await Runtime.open({ home: home.path });
  const [info] = await runtime.list({ all: true });
  assert.deepEqual([info?.status, info?.startedAt], ["crashed", startedAt]);
  const box = await runtime.get("one");
  assert.equal((await box.metrics()).status, "crashed");
  await box.remove();
  assert.deepEqual(await runtime.list({ all: true }), []);
});

Deno.test("Runtime knows how a box ended, whatever a box process before it said last", async () => {
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({ home, plugins: [engineDouble()] });
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    const folder = join(home, "boxes", box.id);
    // One that began when the program which started it had died, so that nobody has waited for its end.
    const before = await FileLock.acquire(join(folder, "running.lock"));
    const started = box.start();
    await until(
      () => exists(join(folder, "machine.json")),
      () => Promise.resolve("it isn't booted"),
    );
    writeExitFile(join(folder, "exit.json"), "creator");
    before[Symbol.dispose]();
    await started;
    await box.stop();
    const { status, reason } = await box.info();
    assert.deepEqual([status, reason], ["stopped", null]);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("a guest that ends by itself has crashed, unless somebody was stopping its box", async () => {
  await using home = new TempFolder();
  await using runtime = await Runtime.open({ home: home.path });
  const box = await runtime.create({ image: "builtin:busybox", name: "one" });
  const folder = join(home.path, "boxes", box.id);
  await Deno.mkdir(folder, { recursive: true });
  const path = join(folder, "exit.json");
  for (const [status, expected] of [["running", "crashed"], ["stopping", "stopped"]] as const) {
    await Deno.remove(path).catch(() => {});
    writeExitFile(path, "guest", { message: "the guest ended by itself" });
    claim(home, { pid: 0, bootId: await bootId(), status });
    const { status: ended, reason } = await box.info();
    assert.deepEqual([ended, reason], [expected, "the guest ended by itself"]);
  }
});
