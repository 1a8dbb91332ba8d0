import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Box, Runtime } from "../../mod.ts";
import { exists } from "../../src/atomic_file.ts";
import { GuestClient } from "../../src/guest/client.ts";
import { FrameType } from "../../src/guest/protocol.ts";
import { boxPaths, pathsOf } from "../../src/runtime/paths.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { RawClient } from "../doubles/raw_client.ts";
import "../support/native.ts";

const ENDS = {
  stop: (box: Box) => box.stop(),
  restart: (box: Box) => box.restart(),
  kill: (box: Box) => box.kill(),
  remove: (box: Box) => box.remove({ force: true }),
};

/** Runs a test in a home of its own. */
async function inHome(test: (home: string) => Promise<void>): Promise<void> {
  const home = await makeDoubleHome();
  try {
    await test(home);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

Deno.test("no process of a box is left once its program has ended it", () =>
  inHome(async (home) => {
    const runner = import.meta.resolve("../doubles/lingering_runner.ts");
    await using runtime = await Runtime.open({ home, plugins: [engineDouble({ runner })] });
    await Promise.all(
      Object.entries(ENDS).map(async ([name, end]) => {
        const box = await runtime.create({ ...DOUBLE_BOX, name });
        await box.start();
        const { pid } = await box.info();
        assert.ok(pid !== null && await exists(`/proc/${pid}`));
        await end(box);
        assert.ok(!await exists(`/proc/${pid}`), `${name}: process ${pid} is there`);
      }),
    );
  }));

Deno.test("a box has stopped once its guest is at rest, which may take for ever to restart", () =>
  inHome(async (home) => {
    const agent = fileURLToPath(import.meta.resolve("../doubles/resting_process.ts"));
    const double = engineDouble({ parts: () => ({ agent }) });
    const said: string[] = [];
    const log = (line: string) => void said.push(line);
    await using runtime = await Runtime.open({ home, plugins: [double], log });
    await using box = await runtime.create({ ...DOUBLE_BOX, autoRemove: false });
    await box.start();
    await box.stop();
    assert.deepEqual(said, []); // nobody had to be killed
  }));

Deno.test("a box that goes with its end lets others take what was sent to them", () =>
  inHome(async (home) => {
    await using runtime = await Runtime.open({ home, plugins: [engineDouble()] });
    await using box = await runtime.create({ ...DOUBLE_BOX, autoRemove: true });
    await box.start();
    const { socketPath } = boxPaths(pathsOf(home), box.id);
    using slow = await RawClient.greeted({ path: socketPath });
    const [size, program] = ["900000", "bytes"]; // within a window, and more than a socket holds
    await slow.open(1, program, size);
    assert.equal((await slow.next())?.type, FrameType.REPLY);
    await box.exec(program, [size]); // what was asked for before is on its way, too
    await box.exec(program, [size]);
    await using witness = await GuestClient.connect(socketPath);
    const stopping = box.stop();
    await witness.parting; // its guest has said goodbye, which others haven't read yet
    let bytes = 0;
    const types: number[] = [];
    for (let frame; (frame = await slow.next());) {
      if (frame.type === FrameType.DATA) bytes += frame.payload.length;
      else types.push(frame.type);
    }
    await stopping;
    assert.equal(bytes, Number(size));
    assert.deepEqual(types, [FrameType.EXIT, FrameType.CLOSE, FrameType.GOODBYE]);
  }));

Deno.test("a box that is removed by force is told as killed, then as removed", () =>
  inHome(async (home) => {
    await using runtime = await Runtime.open({ home, plugins: [engineDouble()] });
    const box = await runtime.create({ ...DOUBLE_BOX, autoRemove: false });
    await box.start();
    await box.remove({ force: true });
    const told: unknown[] = [];
    for await (const event of runtime.events({ box: box.id, since: 0, follow: false })) {
      told.push(event.type === "box.stopped" ? [event.type, event.reason] : event.type);
    }
    assert.deepEqual(told.slice(-2), [["box.stopped", "it was killed"], "box.removed"]);
  }));

Deno.test("a box is removed by force though another program has started it since", () =>
  inHome(async (home) => {
    const open = () => Runtime.open({ home, plugins: [engineDouble()] });
    await using runtime = await open();
    const box = await runtime.create({ ...DOUBLE_BOX, name: "box", autoRemove: false });
    await box.start();
    await using other = await open();
    const seen = await other.get("box");
    await seen.stop();
    await seen.start();
    const { pid } = await seen.info();
    await box.remove({ force: true });
    assert.ok(!await exists(`/proc/${pid}/exe`), `process ${pid} is there`);
    await seen[Symbol.asyncDispose]();
  }));
