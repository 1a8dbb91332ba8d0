import assert from "node:assert/strict";
import { join } from "node:path";
import { makeFolder, makeOnce, writeAtomically } from "../src/atomic_file.ts";
import { FileLock } from "../src/file_lock.ts";

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "hutch-atomic-" });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

Deno.test("FileLock lets one holder in at a time and leaves no file", () =>
  withFolder(async (folder) => {
    const path = join(folder, "lock");
    let inside = 0;
    let most = 0;
    await Promise.all(Array.from({ length: 20 }, async () => {
      using _lock = await FileLock.acquire(path);
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setTimeout(resolve, 1));
      inside--;
    }));
    assert.equal(most, 1);
    assert.deepEqual(names(folder), []);
  }));

Deno.test("FileLock.try gives nothing while another holds the lock", () =>
  withFolder(async (folder) => {
    const path = join(folder, "lock");
    {
      using held = await FileLock.acquire(path);
      assert.ok(held);
      assert.equal(FileLock.try(path), undefined);
      assert.equal(FileLock.isHeld(path), true);
    }
    assert.equal(FileLock.isHeld(path), false);
    using again = FileLock.try(path);
    assert.ok(again);
  }));

Deno.test("makeOnce runs one maker for many callers and leaves one file", () =>
  withFolder(async (folder) => {
    const path = join(folder, "made");
    let made = 0;
    await Promise.all(Array.from({ length: 10 }, () =>
      makeOnce(path, async (temporary) => {
        made++;
        await Deno.writeTextFile(temporary, "whole");
      })));
    assert.equal(made, 1);
    assert.equal(await Deno.readTextFile(path), "whole");
    assert.deepEqual(names(folder), ["made"]);
  }));

Deno.test("makeOnce leaves nothing when the maker fails, and the next one succeeds", () =>
  withFolder(async (folder) => {
    const path = join(folder, "made");
    await assert.rejects(
      makeOnce(path, async (temporary) => {
        await Deno.writeTextFile(temporary, "half");
        throw new Error("broken");
      }),
      /broken/,
    );
    assert.deepEqual(names(folder), []);
    await makeOnce(path, (temporary) => Deno.writeTextFile(temporary, "whole"));
    assert.equal(await Deno.readTextFile(path), "whole");
  }));

Deno.test("makeOnce takes over what a dead maker left", () =>
  withFolder(async (folder) => {
    const path = join(folder, "made");
    await Deno.writeTextFile(`${path}.new`, "left over");
    await makeOnce(path, async (temporary) => {
      await Deno.writeTextFile(temporary, "whole", { createNew: true });
    });
    assert.deepEqual(names(folder), ["made"]);
  }));

Deno.test("makeOnce names the disk when it is full (mounting needs root)", {
  ignore: Deno.uid() !== 0,
}, () =>
  withFolder(async (folder) => {
    const mounted = await new Deno.Command("mount", {
      args: ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
    }).output();
    assert.equal(mounted.code, 0);
    try {
      await assert.rejects(
        makeOnce(join(folder, "made"), (temporary) =>
          Deno.writeFile(temporary, new Uint8Array(1 << 20))),
        { code: "no_space" },
      );
      assert.deepEqual(names(folder), []);
    } finally {
      await new Deno.Command("umount", { args: [folder] }).output();
    }
  }));

Deno.test("writeAtomically replaces a file in one step", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    await writeAtomically(path, "one");
    await writeAtomically(path, "two");
    assert.equal(await Deno.readTextFile(path), "two");
    assert.deepEqual(names(folder), ["file"]);
  }));

Deno.test("makeFolder makes one that was there and is removed in that very moment", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a/b");
    const { mkdir } = Deno;
    let asked = 0;
    // As Deno does when it finds one, and then doesn't.
    Deno.mkdir = (path, options) =>
      asked++ === 0
        ? Promise.reject(new Deno.errors.AlreadyExists("a moment ago"))
        : mkdir(path, options);
    try {
      await makeFolder(path);
    } finally {
      Deno.mkdir = mkdir;
    }
    assert.equal(asked, 2);
    assert.ok((await Deno.stat(path)).isDirectory);
  }));

Deno.test("makeFolder says that something else is in its place", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    await Deno.writeTextFile(path, "");
    await assert.rejects(makeFolder(path), Deno.errors.AlreadyExists);
  }));
