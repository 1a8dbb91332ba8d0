import assert from "node:assert/strict";
import { HutchError } from "../../mod.ts";
import {
  checkMemory,
  checkShape,
  memoryFiles,
  readMemory,
  sealMemory,
  shapeOf,
} from "../../src/vmm/kept_memory.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";

const PAGE = 4096;
const SPEC = {
  ...{ cpus: 1, memoryMiB: 1, kernel: { path: "/kernel", commandLine: "quiet" } },
  disks: [{ path: "/system", format: "raw", readOnly: true }],
} as const;
const ABOUT = {
  ...{ engine: "qemu", marks: { version: "7.2.22" }, machine: shapeOf(SPEC) },
  held: [{ id: "main", command: ["sh"], tty: false }],
};

function unusable(words: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, "snapshot_unusable");
    assert.match(error.message, words);
    return true;
  };
}

/** Memory with a page of ones at 5, and holes around it. */
async function keep(folder: string): Promise<void> {
  const { ramPath, statePath } = memoryFiles(folder);
  {
    using ram = await Deno.create(ramPath);
    await ram.truncate(1024 * PAGE);
    await ram.seek(5 * PAGE, Deno.SeekMode.Start);
    await ram.write(new Uint8Array(PAGE).fill(1));
  }
  await Deno.writeTextFile(statePath, "devices");
  await sealMemory(folder, ABOUT);
}

/** Writes a byte, and gives the file its old time back unless it is to show. */
async function hurt(path: string, at: number, { shows }: { readonly shows: boolean }) {
  const { mtime, atime } = await Deno.stat(path);
  {
    using file = await Deno.open(path, { write: true });
    await file.seek(at, Deno.SeekMode.Start);
    await file.write(new Uint8Array([7]));
  }
  const time = shows ? new Date(1000) : mtime;
  if (time && atime) await Deno.utime(path, atime, time);
}

Deno.test("checkMemory lets memory through as it was written, and copies with other holes", async () => {
  await using folder = new TempFolder();
  await keep(folder.path);
  const kept = await readMemory(folder.path);
  assert.deepEqual(kept.held, ABOUT.held);
  await checkMemory(folder.path, kept);
  const { ramPath } = memoryFiles(folder.path);
  await runTool("cp", "--sparse=never", ramPath, `${ramPath}.copy`);
  await Deno.rename(`${ramPath}.copy`, ramPath);
  await Deno.utime(ramPath, new Date(), new Date(5000));
  await checkMemory(folder.path, kept);
});

for (
  const [what, page] of [["a byte of a page", 5 * PAGE + 9], [
    "a byte of a hole",
    900 * PAGE,
  ]] as const
) {
  Deno.test(`checkMemory finds ${what} that was changed`, async () => {
    await using folder = new TempFolder();
    await keep(folder.path);
    const kept = await readMemory(folder.path);
    await hurt(memoryFiles(folder.path).ramPath, page, { shows: true });
    await assert.rejects(checkMemory(folder.path, kept), unusable(/other bytes/));
  });
}

Deno.test("checkMemory finds another length, changed devices, and what is missing", async () => {
  await using folder = new TempFolder();
  await keep(folder.path);
  const kept = await readMemory(folder.path);
  const { ramPath, statePath, recordPath } = memoryFiles(folder.path);
  await hurt(statePath, 3, { shows: false });
  await assert.rejects(checkMemory(folder.path, kept), unusable(/state of its devices/));
  await Deno.truncate(ramPath, PAGE);
  await assert.rejects(checkMemory(folder.path, kept), unusable(/another length/));
  await Deno.remove(ramPath);
  await assert.rejects(checkMemory(folder.path, kept), unusable(/isn't there/));
  for (const text of ["", "{}", "[]", `{"format":2}`, JSON.stringify({ ...kept, machine: {} })]) {
    await Deno.writeTextFile(recordPath, text);
    await assert.rejects(readMemory(folder.path), unusable(/Cannot go on/));
  }
  await Deno.remove(recordPath);
  await assert.rejects(readMemory(folder.path), unusable(/isn't there/));
});

Deno.test("checkShape names everything that differs", async () => {
  await using folder = new TempFolder();
  await keep(folder.path);
  const kept = await readMemory(folder.path);
  checkShape(kept, SPEC);
  const network = { socketPath: "/net", macAddress: "52:00:00:00:00:01", mtu: 1500 };
  const other = { ...SPEC, cpus: 2, memoryMiB: 2, network, disks: [...SPEC.disks, ...SPEC.disks] };
  assert.throws(
    () => checkShape(kept, other),
    unusable(/processors \(1\).*size of memory \(1 MiB\).*number of disks \(1\).*network \(none\)/),
  );
  const kernel = { path: "/kernel", commandLine: "loud" };
  assert.throws(() => checkShape(kept, { ...SPEC, kernel }), unusable(/another kernel$/));
  const disks = [{ path: "/newer", format: "raw", readOnly: true }] as const;
  assert.throws(() => checkShape(kept, { ...SPEC, disks }), unusable(/another agent$/));
});
