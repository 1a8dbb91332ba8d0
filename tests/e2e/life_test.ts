import assert from "node:assert/strict";
import { join } from "node:path";
import { definePlugin, HutchError, Runtime } from "../../mod.ts";
import {
  assertNothingLeft,
  BOX,
  ENGINE,
  hutch,
  MAIN,
  processesOf,
  RUN,
  TEST_ENGINE,
  until,
  withHome,
  withRuntime,
} from "./support.ts";
import { fileURLToPath } from "node:url";
import { boxPaths, pathsOf } from "../../src/runtime/paths.ts";

const on = `on ${TEST_ENGINE}`;
const VICTIM = fileURLToPath(new URL("./victim.ts", import.meta.url));

/** Starts a program that uses a home and is killed, or ends by itself. */
async function victim(home: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", VICTIM, ...args],
    env: { HUTCH_HOME: home, VICTIM_ENGINE: ENGINE },
    stderr: "inherit",
  }).output();
  return new TextDecoder().decode(stdout);
}

const everywhere = TEST_ENGINE === "qemu";
// `tests/crash` has every boundary, on the engine double; here is what depends on the engine: the
// disk is made, the machine begins, its guest is there, the guest is set up.
const boundaries = everywhere ? ["disk", "boot", "connect", "configure"] : ["connect"];

for (const stage of boundaries) {
  Deno.test(
    `kill -9 of the program after ${stage} leaves nothing and the next command works ${on}`,
    () =>
      withHome(async (home) => {
        await victim(home, "start", stage);
        await until(
          async () => (await processesOf(home)).length === 0,
          async () => `left: ${JSON.stringify(await processesOf(home))}`,
        );
        const list = await hutch(home, ["ls", "-a", "--json"]);
        const boxes = JSON.parse(list.stdout);
        assert.deepEqual(boxes.map((box: { name: string }) => box.name), ["kept"]);
        assert.equal(boxes[0].status, "failed");
        await assertNothingLeft(home);
        const result = await hutch(home, ["exec", "kept", "echo", "works"]);
        assert.equal(result.stdout, "works\n", result.stderr);
        assert.equal((await hutch(home, ["rm", "-f", "kept"])).code, 0);
      }),
  );
}

Deno.test(`kill -9 of the program ends its attached box ${on}`, () =>
  withHome(async (home) => {
    assert.equal(await victim(home, "run"), "running\n");
    await until(
      async () => (await processesOf(home)).length === 0,
      async () => `left: ${JSON.stringify(await processesOf(home))}`,
    );
    const boxes = JSON.parse((await hutch(home, ["ls", "-a", "--json"])).stdout);
    assert.deepEqual(
      boxes.map((box: { name: string; status: string }) => [box.name, box.status]),
      [["kept", "stopped"]], // the one without a name has removed itself
    );
  }));

Deno.test(`kill -9 of the program ends its attached box while that is paused ${on}`, () =>
  withHome(async (home) => {
    assert.equal(await victim(home, "pause"), "paused\n");
    await until(
      async () => (await processesOf(home)).length === 0,
      async () => `left: ${JSON.stringify(await processesOf(home))}`,
    );
    const [box] = JSON.parse((await hutch(home, ["ls", "-a", "--json"])).stdout);
    assert.deepEqual([box.status, box.reason], ["stopped", "the program that started it ended"]);
  }));

Deno.test(`kill -9 of a client leaves the box and other clients alone ${on}`, () =>
  withHome(async (home) => {
    const run = await hutch(home, ["run", "-d", "--name", "shared", ...RUN, "builtin:busybox"]);
    assert.equal(run.code, 0, run.stderr);
    assert.equal(await victim(home, "exec", "shared"), "running\n");
    const result = await hutch(home, ["exec", "shared", "sh", "-c", "ps | grep -c '[s]leep 7777'"]);
    assert.equal(result.stdout, "0\n", "the dead client's command was ended");
    assert.equal((await hutch(home, ["rm", "-f", "shared"])).code, 0);
  }));

Deno.test(`kill -9 of the box process ends the machine, and ls says so ${on}`, () =>
  withHome(async (home) => {
    await using runtime = await Runtime.open({ home });
    await using box = await runtime.create({ ...BOX, name: "gone" });
    const execution = box.exec("sleep", ["1000"]);
    await execution.started;
    const { pid } = await box.info();
    assert.ok(pid);
    Deno.kill(pid, "SIGKILL");
    await assert.rejects(async () => await execution, { code: "connection_lost" });
    await until(
      async () => (await processesOf(home)).length === 0,
      async () => `left: ${JSON.stringify(await processesOf(home))}`,
    );
    const info = await box.info();
    assert.equal(info.status, "crashed");
    assert.match(info.reason ?? "", /killed/);
    await assertDiskWhole(boxPaths(pathsOf(home), box.id).diskPath);
    assert.equal((await box.exec("echo", ["again"])).stdout, "again\n");
    await box.remove({ force: true });
  }));

Deno.test(`a guest that reboots ends its box, and the next command starts it again ${on}`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create({ ...BOX, name: "reboots" });
    const execution = box.exec("sh", ["-c", "reboot -f; sleep 1000"]);
    await Promise.allSettled([execution]);
    const info = await box.wait();
    assert.equal(info.status, "stopped");
    assert.equal((await box.exec("echo", ["again"])).stdout, "again\n");
    await box.remove({ force: true });
  }));

Deno.test(`a command starts a box again whose end this program hasn't heard of but somebody has recorded ${on}`, () =>
  withHome(async (home) => {
    await using runtime = await Runtime.open({ home });
    await using box = await runtime.create({ ...BOX, name: "unheard" });
    await box.exec("true");
    const { pid } = await box.info();
    assert.ok(pid);
    Deno.kill(pid, "SIGKILL");
    // Nothing is heard here meanwhile.
    const { code } = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-prompt", MAIN, "wait", "unheard"],
      env: { HUTCH_HOME: home },
      ...{ stdout: "null", stderr: "null" },
    }).outputSync();
    assert.equal(code, 0);
    assert.equal((await box.exec("echo", ["again"])).stdout, "again\n");
  }));

// On libkrun the machine is the box process itself.
if (TEST_ENGINE !== "libkrun") {
  Deno.test(`a machine that dies makes the box crashed, with the reason ${on}`, () =>
    withRuntime(async (runtime, home) => {
      await using box = await runtime.create({ ...BOX, name: "dies" });
      const execution = box.exec("sleep", ["1000"]);
      await execution.started;
      const machine = (await processesOf(home)).find(({ command }) =>
        /^\S*qemu-system/.test(command)
      );
      assert.ok(machine);
      Deno.kill(machine.pid, "SIGKILL");
      await assert.rejects(async () => await execution, { code: "connection_lost" });
      const info = await box.wait();
      assert.equal(info.status, "crashed");
      assert.match(info.reason ?? "", /signal SIGKILL/);
      await box.remove({ force: true });
    }));
}

if (everywhere) {
  Deno.test(`two programs that start one box at once share it ${on}`, () =>
    withHome(async (home) => {
      assert.equal(
        (await hutch(home, ["create", "--name", "one", ...RUN, "builtin:busybox"])).code,
        0,
      );
      const both = await Promise.all([
        hutch(home, ["exec", "one", "echo", "a"]),
        hutch(home, ["exec", "one", "echo", "b"]),
      ]);
      assert.deepEqual(both.map(({ code, stdout }) => [code, stdout]), [[0, "a\n"], [0, "b\n"]]);
      const started = (await processesOf(home)).filter(({ command }) =>
        /\/box_process\.[jt]s\b/.test(command)
      );
      assert.equal(started.length, 1);
      assert.equal((await hutch(home, ["rm", "-f", "one"])).code, 0);
    }));
}

if (everywhere) {
  Deno.test(`two programs that create one name at once: one wins ${on}`, () =>
    withHome(async (home) => {
      const both = await Promise.all(
        [1, 2].map(() => hutch(home, ["create", "--name", "one", ...RUN, "builtin:busybox"])),
      );
      assert.deepEqual(both.map(({ code }) => code).sort(), [0, 125]);
      const lost = both.find(({ code }) => code !== 0);
      assert.match(lost?.stderr ?? "", /^hutch: Cannot create box "one": the name is taken; /);
      assert.equal((await hutch(home, ["rm", "one"])).code, 0);
    }));
}

if (everywhere) {
  Deno.test(`an agent that never answers is a boot_timeout with the console's last lines ${on}`, () =>
    withRuntime(async (runtime) => {
      await using box = await runtime.create({ ...BOX, name: "mute", bootTimeoutMs: 2_000 });
      const error = await box.start().then(() => undefined, (error: unknown) => error);
      assert.ok(error instanceof HutchError);
      assert.equal(error.code, "boot_timeout");
      assert.match(error.message, /stage connect.*2000 ms.*console/s);
      const info = await box.info();
      assert.deepEqual([info.status, info.reason], ["failed", error.message]);
      await box.remove();
    }, { plugins: [definePlugin({ name: "mute", stages: { boot: { before: muteKernel } } })] }));
}

Deno.test(`a kernel that panics is a boot_failed with its last words ${on}`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create({ ...BOX, name: "panic" });
    await assert.rejects(box.start(), (error: unknown) => {
      assert.ok(error instanceof HutchError);
      assert.equal(error.code, "boot_failed");
      assert.match(error.message, /stage connect.*panic/is);
      return true;
    });
    await box.remove();
  }, {
    plugins: [definePlugin({
      name: "panic",
      stages: {
        boot: {
          before: (input) => ({
            ...input,
            spec: {
              ...input.spec,
              kernel: {
                ...input.spec.kernel,
                commandLine: input.spec.kernel.commandLine.replace("init=/init", "init=/nope"),
              },
            },
          }),
        },
      },
    })],
  }));

/** The disk's tables contradict nothing; at worst room is lost (3). */
async function assertDiskWhole(path: string): Promise<void> {
  const { code, stdout } = await new Deno.Command("qemu-img", { args: ["check", path] }).output();
  assert.ok(code === 0 || code === 3, new TextDecoder().decode(stdout));
}

/** Boots a system disk whose first program exists and never says anything. */
async function muteKernel<
  I extends { spec: { folder: string; disks: readonly { path: string }[] } },
>(
  input: I,
): Promise<I> {
  const tree = join(input.spec.folder, "tree");
  for (const name of ["dev", "proc", "sys"]) {
    await Deno.mkdir(join(tree, name), { recursive: true });
  }
  await Deno.copyFile("/bin/busybox", join(tree, "init"));
  const path = join(input.spec.folder, "mute.ext4");
  const { code } = await new Deno.Command("mke2fs", {
    args: ["-q", "-t", "ext4", "-d", tree, path, "16M"],
  }).output();
  assert.equal(code, 0);
  const [, ...rest] = input.spec.disks;
  const first = { path, format: "raw", readOnly: true };
  return { ...input, spec: { ...input.spec, disks: [first, ...rest] } };
}
