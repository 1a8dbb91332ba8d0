import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Box, Runtime } from "../../mod.ts";
import { filesIn, onDisk, patternsIn, writePattern } from "../box/snapshot_model.ts";
import { engineDouble } from "../doubles/engine.ts";
import { copyHome, DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { assertNoBoxLeft, untilNoProcess } from "../support/leftovers.ts";
import "../support/native.ts";
import { needs } from "../support/tools.ts";
import { diesAtPoints } from "./each_point.ts";

const VICTIM = fileURLToPath(new URL("./chain_victim.ts", import.meta.url));
const qemu = needs("qemu-img", "qemu-io");
/** As long as a chain may be: one more is too long. */
const LINKS = 32;
/** What the box's disk has that no snapshot has. */
const LAST = LINKS + 1;
const DEEDS = ["flattened", "removed", "restored"];

function open(home: string, log: string[] = []): Promise<Runtime> {
  return Runtime.open({
    home,
    plugins: [engineDouble({ overlay: true })],
    log: (line) => log.push(line),
  });
}

/** A home with a box whose chain is as long as it may be; each snapshot has a pattern more. */
async function makeChain(): Promise<string> {
  const home = await makeDoubleHome();
  await using runtime = await open(home);
  const box = await runtime.create({ ...DOUBLE_BOX, name: "first" });
  await box.start();
  await box.stop();
  for (let n = 1; n <= LINKS; n++) {
    await writePattern(home, box.id, n);
    await box.snapshots.create(`s${n}`);
  }
  await writePattern(home, box.id, LAST);
  return home;
}

Deno.test(`kill -9 at any write of flattening a long chain loses nothing of it${qemu.note}`, {
  ignore: qemu.ignore,
}, async () => {
  const chain = await makeChain();
  try {
    await diesAtPoints({
      victim: VICTIM,
      makeHome: () => copyHome(chain),
      every: Number(Deno.env.get("CRASH_EVERY") ?? 60),
      counts: (deed) => DEEDS.includes(deed),
      check,
    });
  } finally {
    await Deno.remove(chain, { recursive: true });
  }
});

/** All snapshots have what they had, and the chain is made shorter in the end. */
async function check(home: string, deed: string): Promise<void> {
  await untilNoProcess(home);
  const log: string[] = [];
  {
    await using runtime = await open(home, log);
    const box = await runtime.get("first");
    await box.start(); // finishes what was begun
    await box.stop();
    const now = await patterns(home, box, join(home, "boxes", box.id, "disk.qcow2"));
    if (deed !== "restored" || now.length > 5) assert.deepEqual(now, upTo(LAST));
    else assert.deepEqual(now, upTo(5));
    await assertSnapshots(home, box, deed);
    await box.snapshots.create("new");
  }
  await using runtime = await open(home, log);
  const box = await runtime.get("first");
  await assertSnapshots(home, box, deed);
  assert.ok(filesIn(join(home, "backing")).length <= LINKS + 3);
  assert.ok(await linksOf(home, box) <= LINKS + 1, "it is as long as before");
  await box.snapshots.restore("s2", { force: true });
  assert.deepEqual(
    await patterns(home, box, join(home, "boxes", box.id, "disk.qcow2")),
    upTo(2),
  );
  await box.remove();
  await runtime.list({ all: true }); // clears away what is nobody's
  // The double's network ends with its box, at once.
  assert.deepEqual(log.filter((line) => !line.startsWith("network of box")), []);
  await runtime.close();
  assert.deepEqual(filesIn(join(home, "backing")), []);
  await assertNoBoxLeft(home, [box.id]);
}

async function assertSnapshots(home: string, box: Box, deed: string): Promise<void> {
  const snapshots = (await box.snapshots.list()).filter(({ name }) => name !== "new");
  const names = new Set(snapshots.map(({ name }) => name));
  for (let n = 1; n <= LINKS; n++) {
    if (n !== 10 || deed === "flattened") assert.ok(names.has(`s${n}`), `s${n} is gone`);
  }
  if (deed !== "flattened") assert.ok(names.has("last"));
  for (const { name, backing } of snapshots) {
    const path = join(home, "backing", String(backing), "disk.qcow2");
    await onDisk(home, box.id, "qemu-img", "check", "-q", path);
    const expected = name === "last" ? LAST : Number(name.slice(1));
    assert.deepEqual(await patterns(home, box, path), upTo(expected), name);
  }
}

async function patterns(home: string, box: Box, path: string): Promise<number[]> {
  return await patternsIn(home, box.id, { path, last: LAST });
}

/** How many backing disks the box's disk lies over. */
async function linksOf(home: string, box: Box): Promise<number> {
  const disk = join(home, "boxes", box.id, "disk.qcow2");
  const said = await onDisk(home, box.id, "qemu-img", "info", "--backing-chain", disk);
  return (said.match(/^image: .*\/backing\//gm) ?? []).length;
}

function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1);
}
