import assert from "node:assert/strict";
import { Runtime } from "../../mod.ts";
import { Execution } from "../../src/box/execution.ts";
import type { ExecProcess } from "../../src/plugin/contract.ts";
import { engineDouble } from "../doubles/engine.ts";
import { TempFolder } from "../support/temp.ts";
import { rejects } from "../support/rejects.ts";

const BOX = { image: "builtin:busybox", memory: 128, disk: 64, engine: "double", name: "one" };

Deno.test("Execution fails without the end of a command that a box which stands still doesn't tell", async () => {
  const lost = Promise.reject(new Error("lost"));
  lost.catch(() => {});
  let closed = 0;
  const process: ExecProcess = {
    pid: 1,
    status: lost,
    stdin: new WritableStream(),
    stdout: new ReadableStream({ start: (controller) => controller.error(new Error("lost")) }),
    stderr: new ReadableStream({ start: (controller) => controller.close() }),
    kill: () => {},
    close: () => {
      closed++;
      return new Promise(() => {});
    },
  };
  const execution = new Execution("x", () => Promise.resolve(process), {});
  await assert.rejects(execution.then(), { message: "lost" });
  assert.equal(closed, 1);
});

Deno.test("Box.exec rejects, and lets go, on a box that is paused, which goes on well", async () => {
  await using home = new TempFolder();
  const plugins = [engineDouble({ overlay: true })];
  await using runtime = await Runtime.open({ home: home.path, plugins });
  await using box = await runtime.create(BOX);
  const controller = new AbortController();
  const aborted = box.exec("wait", [], { signal: controller.signal });
  const disposed = box.exec("wait");
  await Promise.all([aborted.started, disposed.started]);
  await box.pause();
  controller.abort();
  await rejects(aborted.then(), "cancelled", /^Cannot run "wait": it was cancelled/);
  await disposed[Symbol.asyncDispose]();
  assert.equal((await box.info()).status, "paused");
  await box.resume();
  assert.equal((await box.exec("echo", ["on"])).stdout, "on\n");
});
