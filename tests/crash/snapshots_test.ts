import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Box, Runtime } from "../../mod.ts";
import { filesIn, onDisk, patternsIn } from "../box/snapshot_model.ts";
import { engineDouble } from "../doubles/engine.ts";
import { untilNoProcess } from "../support/leftovers.ts";
import "../support/native.ts";
import { diesAtPoints } from "./each_point.ts";
import { needs } from "../support/tools.ts";

const VICTIM = fileURLToPath(new URL("./snapshots_victim.ts", import.meta.url));
const qemu = needs("qemu-img", "qemu-io");
/** Snapshots, and which patterns their disks have. */
const SNAPSHOTS: Readonly<Record<string, string>> = { s1: "1", s2: "12", s3: "1234" };
/** What clones have. */
const CLONED = "123";

/** What the box's disk may have; the last write may have been cut off from its word. */
function expectedOf(deed: string, written: number): readonly string[] {
  const all = "1234567";
  if (deed === "restored") return ["123456", "12"];
  if (deed === "write" && written === 6) return ["123456", "12", "127"];
  if (deed === "forced") return ["127", "1234"];
  if (deed === "gone" || deed === "close") return ["1234"];
  return [all.slice(0, written), all.slice(0, written + 1)];
}

Deno.test(`kill -9 at any write leaves snapshots and clones whole${qemu.note}`, {
  ignore: qemu.ignore,
}, () =>
  diesAtPoints({
    victim: VICTIM,
    every: Number(Deno.env.get("CRASH_EVERY") ?? 74),
    counts: (deed) => !["open", "create", "start", "stop", "close"].includes(deed),
    check,
  }));

/** Everything that was written is there, everything works, and in the end nothing is left. */
async function check(home: string, deed: string): Promise<void> {
  await untilNoProcess(home);
  {
    const log: string[] = [];
    await using runtime = await Runtime.open({
      home,
      plugins: [engineDouble({ overlay: true })],
      log: (line) => log.push(line),
    });
    const boxes = await Promise.all(
      (await runtime.list({ all: true })).map(({ id }) => runtime.get(id)),
    );
    const written = Number(await Deno.readTextFile(join(home, "written")).catch(() => "0"));
    for (const box of boxes) {
      await box.start(); // makes what is yet to be made, and finishes what was begun
      await box.stop();
      const disk = join(home, "boxes", box.id, "disk.qcow2");
      await onDisk(home, box.id, "qemu-img", "check", "-q", disk);
      const had = await patterns(home, box, disk);
      if (box.name !== "first") assert.equal(had, CLONED, box.name);
      else assert.ok(expectedOf(deed, written).includes(had), `${had} of ${written}`);
    }
    const first = boxes.find(({ name }) => name === "first");
    for (const { name, backing } of await first?.snapshots.list() ?? []) {
      const path = join(home, "backing", String(backing), "disk.qcow2");
      if (!first) continue;
      await onDisk(home, first.id, "qemu-img", "check", "-q", path);
      const expected = SNAPSHOTS[name];
      if (expected !== undefined) assert.equal(await patterns(home, first, path), expected, name);
    }
    if (first) {
      await first.snapshots.create("new");
      await first.snapshots.restore("new");
    }
    for (const box of boxes) await box.remove();
    assert.deepEqual(await runtime.list({ all: true }), []);
    // The double's network ends with its box, at once.
    assert.deepEqual(log.filter((line) => !line.startsWith("network of box")), []);
  }
  assert.deepEqual(filesIn(join(home, "backing")), []);
  assert.deepEqual(filesIn(join(home, "boxes")), []);
}

/** Which patterns a disk has. */
async function patterns(home: string, box: Box, path: string): Promise<string> {
  return (await patternsIn(home, box.id, { path, last: 7 })).join("");
}
