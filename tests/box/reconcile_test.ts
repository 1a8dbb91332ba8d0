import assert from "node:assert/strict";
import { join } from "node:path";
import { Runtime } from "../../mod.ts";
import { FileLock } from "../../src/file_lock.ts";
import { doomedFolder, removeFiles } from "../../src/box/reconcile.ts";
import { boxPaths, pathsOf } from "../../src/runtime/paths.ts";
import { isAlive } from "../../src/vmm/machine.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { until } from "../support/processes.ts";
import { TempFolder } from "../support/temp.ts";

for (const status of ["running", "paused"] as const) {
  Deno.test(`a ${status} box whose machine has ended is told as crashed while that is being recorded`, async () => {
    const home = await makeDoubleHome();
    try {
      const open = () => Runtime.open({ home, plugins: [engineDouble()] });
      await using runtime = await open();
      const box = await runtime.create({ ...DOUBLE_BOX, name: "box", detached: true });
      await box.start();
      if (status === "paused") await box.pause();
      const own = boxPaths(pathsOf(home), box.id);
      const { pid } = await box.info();
      assert.ok(pid);
      await using other = await open();
      const told = await (async () => {
        using _atWork = await FileLock.acquire(own.operationLockPath);
        Deno.kill(pid, "SIGKILL");
        await until(() => Promise.resolve(!isAlive(own.lockPath)), () => Promise.resolve("alive"));
        const asked = other.get(box.id).then((found) => found.info());
        const early = new Promise<string>((resolve) => setTimeout(resolve, 200, "nothing yet"));
        assert.equal(await Promise.race([asked.then((info) => info.status), early]), "nothing yet");
        return asked;
      })();
      assert.equal((await told).status, "crashed");
      await box.remove({ force: true });
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
}

Deno.test("a box's files go though somebody puts others in the same place meanwhile", async () => {
  await using home = new TempFolder();
  const own = boxPaths(pathsOf(home.path), "box");
  const doomed = doomedFolder(own);
  let put = 0;
  for (let round = 0; round < 5; round++) {
    await Deno.mkdir(own.folder, { recursive: true });
    for (let at = 0; at < 500; at++) Deno.writeTextFileSync(join(own.folder, `${at}`), "");
    const removal = removeFiles(own);
    await new Promise((resolve) => setTimeout(resolve));
    for (let at = 0; at < 5_000; at++) {
      try {
        Deno.writeTextFileSync(join(doomed, `late${at}`), "");
        put++;
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        break; // nobody can any more
      }
    }
    await removal;
    assert.deepEqual([...Deno.readDirSync(join(home.path, "boxes"))], []);
  }
  assert.ok(put > 0);
});

Deno.test("a box's sockets go with its files, each of them", async () => {
  await using home = new TempFolder();
  const paths = { ...pathsOf(home.path), sockets: join(home.path, "sockets") };
  const own = boxPaths(paths, "box");
  await Deno.mkdir(paths.sockets, { recursive: true });
  const sockets = Object.values(own).filter((path) => path.startsWith(paths.sockets));
  assert.equal(sockets.length, 7);
  for (const path of [...sockets, `${own.controlPath}.own`, `${own.controlPath}.memory`]) {
    Deno.writeTextFileSync(path, "");
  }
  await removeFiles(own);
  assert.deepEqual([...Deno.readDirSync(paths.sockets)], []);
});
