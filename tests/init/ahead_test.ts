import assert from "node:assert/strict";
import { definePlugin, type Plugin, Runtime } from "../../mod.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { processesOf, until } from "../support/processes.ts";

async function boxProcesses(home: string): Promise<number[]> {
  const all = await processesOf(home);
  return all.filter(({ command }) => /\/box_process\.[jt]s\b/.test(command)).map(({ pid }) => pid);
}

function socketsOf(home: string, id: string): string[] {
  return [...Deno.readDirSync(pathsOf(home).sockets)].map(({ name }) => name)
    .filter((name) => name.startsWith(id));
}

/** A home with a runtime whose boxes start with these plugins beside the engine's double. */
async function withHome(
  plugin: (home: string) => Plugin,
  body: (runtime: Runtime, home: string) => Promise<void>,
): Promise<void> {
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({ home, plugins: [plugin(home), engineDouble()] });
    await body(runtime, home);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

/** Has the stage `disk` wait for a box process that serves its sockets. */
function meeting(
  home: string,
  met: (pids: readonly number[]) => void,
): NonNullable<Plugin["stages"]> {
  return {
    disk: {
      async before(_input, { box }) {
        await until(
          () =>
            Promise.resolve(socketsOf(home, box?.id ?? "").some((name) => /\.sock$/.test(name))),
          () => Promise.resolve("there is no box process"),
        );
        met(await boxProcesses(home));
      },
    },
  };
}

Deno.test("a box process makes itself ready beside the stages, and gets the machine", async () => {
  let early: readonly number[] = [];
  await withHome(
    (home) => definePlugin({ name: "meet", stages: meeting(home, (pids) => void (early = pids)) }),
    async (runtime, home) => {
      await using box = await runtime.create(DOUBLE_BOX);
      await box.start();
      const { pid, status } = await box.info();
      assert.deepEqual([early, status], [[pid], "running"]);
      assert.deepEqual(await boxProcesses(home), [pid]);
    },
  );
});

Deno.test("a box process that was started with something else gives way to another", async () => {
  let early: readonly number[] = [];
  await withHome(
    (home) =>
      definePlugin({
        name: "other",
        stages: {
          ...meeting(home, (pids) => void (early = pids)),
          boot: {
            before: (input) => ({
              ...input,
              spec: { ...input.spec, consolePath: `${input.spec.folder}/other.log` },
            }),
          },
        },
      }),
    async (runtime, home) => {
      await using box = await runtime.create(DOUBLE_BOX);
      await box.start();
      const { pid, status } = await box.info();
      assert.deepEqual([early.length, status], [1, "running"]);
      assert.ok(!early.includes(pid ?? 0));
      assert.deepEqual(await boxProcesses(home), [pid]);
      assert.ok(socketsOf(home, box.id).includes(`${box.id}.sock`));
      assert.equal((await box.exec("true")).code, 0);
    },
  );
});

Deno.test("a start that fails before its machine leaves no box process, and no trace of one", async () => {
  let fails = true;
  await withHome(
    (home) =>
      definePlugin({
        name: "failing",
        stages: meeting(home, (pids) => {
          assert.equal(pids.length, 1);
          if (fails) throw new Error("no disk today");
        }),
      }),
    async (runtime, home) => {
      await using box = await runtime.create(DOUBLE_BOX);
      await assert.rejects(box.start(), /stage disk.*no disk today/);
      assert.deepEqual(await boxProcesses(home), []);
      assert.deepEqual(socketsOf(home, box.id), []);
      const left = [...Deno.readDirSync(`${home}/boxes/${box.id}`)].map(({ name }) => name);
      for (const name of ["exit.json", "running.lock", "machine.json"]) {
        assert.ok(!left.includes(name), name);
      }
      fails = false;
      await box.start();
      assert.equal((await box.info()).status, "running");
    },
  );
});

Deno.test("an engine that can't be used is told in its stage, also of a box whose process waits for its volumes", async () => {
  await withHome(
    (home) =>
      definePlugin({
        name: "without",
        engines: [{
          name: "none",
          runner: `file://${home}/none.ts`,
          probe: () => Promise.reject(new Error("not today")),
        }],
        // So long that a failure which nobody has in hand would end this program.
        stages: { disk: { before: () => new Promise<void>((done) => setTimeout(done, 300)) } },
      }),
    async (runtime) => {
      const options = { ...DOUBLE_BOX, engine: "none" };
      await using plain = await runtime.create(options);
      await using other = await runtime.create({ ...options, volumes: ["tmpfs:/data"] });
      for (const box of [plain, other]) {
        await assert.rejects(box.start(), /stage boot.*its probe failed: not today/);
      }
    },
  );
});

Deno.test("a box process that is killed while it waits is told as one that can't start the machine", async () => {
  await withHome(
    (home) =>
      definePlugin({
        name: "killing",
        stages: meeting(home, (pids) => pids.forEach((pid) => Deno.kill(pid, "SIGKILL"))),
      }),
    async (runtime, home) => {
      await using box = await runtime.create(DOUBLE_BOX);
      await assert.rejects(box.start(), /stage boot.*ended without a word/);
      assert.deepEqual(await boxProcesses(home), []);
      assert.equal((await box.info()).status, "failed");
    },
  );
});
