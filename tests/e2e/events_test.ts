import assert from "node:assert/strict";
import { type BoxMetrics, type EventGap, type RecordedEvent, Runtime } from "../../mod.ts";
import { BOX, HOME_STARTS, hutch, TEST_ENGINE, withRuntime } from "./support.ts";

const on = `on ${TEST_ENGINE}`;

/** An event in few words; stages that run side by side come in any order. */
function say(event: RecordedEvent | EventGap): string {
  switch (event.type) {
    case "stage.started":
    case "stage.finished":
      return `${event.type} ${event.stage}`;
    case "exec.started":
      return `${event.type} ${event.command.join(" ")}`;
    case "exec.exited":
      return `${event.type} ${event.command.join(" ")}: ${event.code}`;
    default:
      return event.type;
  }
}

function stages(...names: readonly string[]): string[] {
  return names.flatMap((name) => [`stage.started ${name}`, `stage.finished ${name}`]);
}

// Nothing of it depends on the engine, and elsewhere everything is slow.
if (TEST_ENGINE === "qemu") {
  Deno.test(
    `a box's whole life is told once, in order, in every program ${on}`,
    () =>
      withRuntime(async (runtime, home) => {
        await using other = await Runtime.open({ home });
        const watched = Array.fromAsync(other.events());
        const own = runtime.events();
        const box = await runtime.create({ ...BOX, name: "told" });
        await box.exec("true");
        await box.exec("sh", ["-c", "exit 3"]);
        await box.stop();
        await box.remove();
        await runtime.close();

        const events = await Array.fromAsync(own);
        const told = events.map(say);
        const among = (from: number, count: number) => told.slice(from, from + count).sort();
        assert.deepEqual(told.slice(0, 3), ["box.created", ...stages("layout")]);
        assert.deepEqual(among(3, 4), stages("image", "system").sort());
        assert.deepEqual(among(7, 6), stages("disk", "volumes", "network").sort());
        assert.deepEqual(told.slice(13), [
          ...stages("boot", "connect", "configure"),
          "box.started",
          "exec.started true",
          "exec.exited true: 0",
          "exec.started sh -c exit 3",
          "exec.exited sh -c exit 3: 3",
          "box.stopped",
          "box.removed",
        ]);
        for (const event of events) {
          assert.ok("box" in event && event.box === box.id, say(event));
          assert.ok("name" in event && event.name === "told", say(event));
        }
        assert.deepEqual(
          events.map(({ seq }) => seq),
          events.map((_, at) => (events[0]?.seq ?? 0) + at),
        );
        await other.close();
        assert.deepEqual(await watched, events);
      }),
  );
}

Deno.test(`hutch stats shows what a box uses and has done, from another program ${on}`, () =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...BOX, name: "measured" });
    await box.exec("sh", ["-c", "exit 3"]);
    await box.exec("nothing-of-the-kind").status.catch(() => {});
    await using sleeping = box.exec("sleep", ["1000"]);
    await sleeping.started;
    const { code, stdout, stderr } = await hutch(home, ["stats", "--json", "measured"]);
    assert.equal(code, 0, stderr);
    const stats = JSON.parse(stdout);
    const metrics: BoxMetrics = stats.boxes[0];
    assert.deepEqual(metrics.execs, { started: 2, running: 1, nonzero: 1, failed: 1 });
    const { cpu, memory, disk, starts } = metrics;
    assert.ok(cpu && cpu.timeMs > 0 && cpu.percent >= 0, stdout);
    assert.ok(memory && disk && starts.lastMs, stdout);
    assert.equal(memory.limitBytes, BOX.memory * 2 ** 20);
    assert.ok(memory.guestBytes !== null, "the guest's memory is found among the others");
    assert.ok(memory.guestBytes > 2 ** 20 && memory.guestBytes <= memory.limitBytes, stdout);
    assert.ok(memory.residentBytes > memory.guestBytes, stdout);
    assert.ok(memory.privateBytes <= memory.residentBytes, stdout);
    assert.ok(disk.allocatedBytes > 0 && disk.allocatedBytes < disk.sizeBytes, stdout);
    const { guest } = metrics;
    assert.ok(guest?.cpu && guest.load && guest.memory && guest.disk, stdout);
    assert.ok(guest.cpu.count >= 1 && guest.cpu.idleMs + guest.cpu.systemMs > 0, stdout);
    const { totalBytes, availableBytes } = guest.memory;
    assert.ok(totalBytes > 64 * 2 ** 20 && totalBytes < memory.limitBytes, stdout);
    assert.ok(availableBytes > 0 && availableBytes < totalBytes, stdout);
    assert.ok(guest.disk.totalBytes > 0 && guest.disk.totalBytes <= disk.sizeBytes, stdout);
    assert.ok(guest.network && "lo" in guest.network, stdout);
    assert.ok(guest.processes && guest.processes.count >= 1, stdout); // sleep
    assert.deepEqual([starts.succeeded, starts.failed], [1, 0]);
    assert.equal(Object.keys(starts.stages).length, 9);
    // The home of the tests was made by starts of its own.
    assert.deepEqual(stats.runtime.boxes.byStatus, { running: 1 });
    const { count, minMs, meanMs, maxMs } = stats.runtime.boot;
    assert.ok(count === HOME_STARTS + 1 && minMs <= meanMs && meanMs <= maxMs, stdout);
    assert.equal(stats.runtime.stages.boot.count, HOME_STARTS + 1);

    const before = await box.metrics();
    await box.exec("sh", ["-c", "i=0; while [ $i -lt 10000 ]; do i=$((i + 1)); done"]);
    const after = await box.metrics();
    assert.ok((after.cpu?.timeMs ?? 0) > (before.cpu?.timeMs ?? Infinity));
    assert.ok((after.cpu?.percent ?? 0) > 20, JSON.stringify(after.cpu));
  }));
