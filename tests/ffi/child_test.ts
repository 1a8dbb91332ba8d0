import assert from "node:assert/strict";
import { join } from "node:path";
import { BoxLibrary } from "../../ffi/box_library.ts";
import { ChildProcess } from "../../ffi/child.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import { projectRoot, sanitizers } from "../agent/native.ts";
import { isRunning } from "../support/processes.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const cc = needs("cc");
const library = boxLibraryPath();

function start(script: string, options: { lock?: string; input?: string; asked?: boolean } = {}) {
  return ChildProcess.start(new BoxLibrary(library), {
    command: ["/bin/sh", "-c", script],
    ...options,
  });
}

/** One that must start. */
function started(...of: Parameters<typeof start>): ChildProcess {
  return start(...of) ?? assert.fail("it is locked");
}

Deno.test("a child process tells how it ended, and the last that it said", async () => {
  const { code, signal, output } = await started("echo so >&2; exit 7").ended;
  assert.deepEqual({ code, signal, output }, { code: 7, signal: null, output: "so" });
  assert.deepEqual(await started("kill -TERM $$").ended, {
    ...{ code: null, signal: "SIGTERM", output: "" },
  });
  const much = await started("yes 1234567 | head -n 100000 >&2; echo last >&2").ended;
  assert.ok(much.output.length <= 4000 && much.output.length > 3900, `${much.output.length}`);
  assert.match(much.output, /1234567\n1234567\nlast$/);
});

Deno.test("a child process answers line by line, however they come", async () => {
  const child = started(
    `while read -r line; do [ "$line" = end ] && exit 3; printf '%s' "<$line"; echo '>'; done`,
    { asked: true },
  );
  assert.equal(await child.ask("one"), "<one>");
  assert.equal(await child.ask("x".repeat(10_000)), `<${"x".repeat(10_000)}>`);
  assert.equal(await child.ask("three"), "<three>");
  assert.equal(await child.ask("end"), undefined);
  assert.equal((await child.ended).code, 3);
  assert.equal(await child.ask("again"), undefined);
});

Deno.test("a child process may say several lines at once, which are read one by one", async () => {
  const child = started("printf 'one\\n\\nthree\\nrest'; read -r line", { asked: true });
  assert.deepEqual([await child.ask(), await child.ask(), await child.ask()], ["one", "", "three"]);
  assert.equal(await child.ask("go"), undefined);
  await child.ended;
});

Deno.test("a child process that has a file to read says lines all the same", async () => {
  await using folder = new TempFolder();
  const input = join(folder.path, "input");
  await Deno.writeTextFile(input, "one\ntwo\n");
  const child = started("cat; sleep 600", { input, asked: true });
  assert.deepEqual([await child.ask(), await child.ask()], ["one", "two"]);
  assert.equal(await child.ask("it doesn't read"), undefined);
  child.kill();
  await child.ended;
});

Deno.test("an answer that is too long is none", async () => {
  const child = started("head -c 100000 /dev/zero | tr '\\0' x; echo; cat", { asked: true });
  assert.equal(await child.ask(), undefined);
  child.kill();
  assert.equal((await child.ended).signal, "SIGKILL");
  child.kill(); // it has ended
});

Deno.test("a child process has no files, no signals set and no environment but what it is given", async () => {
  await using folder = new TempFolder();
  const input = join(folder.path, "input");
  await Deno.writeTextFile(input, "from the file");
  const { output } = await started(
    "cat >&2; echo >&2; ls /proc/self/fd >&2; grep SigIgn /proc/self/status >&2; env >&2; pwd >&2",
    { input },
  ).ended;
  const [text, ...lines] = output.split("\n");
  assert.equal(text, "from the file");
  // ls has the folder open, too.
  assert.deepEqual(lines.slice(0, 4), ["0", "1", "2", "3"]);
  assert.match(lines[4] ?? "", /^SigIgn:\s0+$/);
  const environment = lines.slice(5).filter((line) => /^[A-Z]+=/.test(line));
  assert.deepEqual(environment.filter((line) => !line.startsWith("PWD=")), [
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
  ]);
});

Deno.test("a child process holds its lock while it lives", async () => {
  await using folder = new TempFolder();
  const lock = join(folder.path, "lock");
  const child = started("read -r line", { lock, asked: true });
  assert.equal(start("true", { lock }), undefined);
  child.kill();
  await child.ended;
  assert.equal((await started("true", { lock }).ended).code, 0);
});

Deno.test("one that has ended doesn't wait for what it has started", async () => {
  const child = started("sleep 600 & echo $! >&2");
  const { code, output } = await child.ended;
  assert.equal(code, 0);
  Deno.kill(Number(output), "SIGKILL");
});

Deno.test("what can't be started is told at once, with the number of the error", async () => {
  await using folder = new TempFolder();
  const nothing = join(folder.path, "nothing");
  for (
    const options of [
      { command: [nothing] },
      { command: ["/bin/true"], folder: nothing },
      { command: ["/bin/true"], input: nothing },
      { command: ["/bin/true"], lock: join(nothing, "lock") },
    ] as const
  ) {
    assert.throws(
      () => ChildProcess.start(new BoxLibrary(library), options),
      /can't be started: errno 2$/,
    );
  }
  for (
    const options of [
      { command: ["/bin/true", ""] },
      { command: ["/bin/true", "a\0b"] },
      { command: ["/bin/true"], folder: "/\0/dev/zero" },
    ] as const
  ) {
    assert.throws(
      () => ChildProcess.start(new BoxLibrary(library), options),
      /empty, or a text that has a zero/,
    );
  }
});

Deno.test({
  name: "a child process is killed when the one that started it is",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const module = import.meta.resolve("../../ffi/child.ts");
    const libraries = import.meta.resolve("../../ffi/box_library.ts");
    const script = `
      const { ChildProcess } = await import(${JSON.stringify(module)});
      const { BoxLibrary } = await import(${JSON.stringify(libraries)});
      const child = ChildProcess.start(new BoxLibrary(${JSON.stringify(library)}), {
        command: ["/bin/sh", "-c", "echo $$; exec sleep 600"], asked: true,
      });
      console.log(await child.ask());
      await child.ended;`;
    const parent = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-config", "--no-lock", script],
      stdout: "piped",
    }).spawn();
    const reader = parent.stdout.getReader();
    const pid = Number(new TextDecoder().decode((await reader.read()).value));
    await reader.cancel();
    assert.ok(await Deno.stat(`/proc/${pid}`));
    parent.kill("SIGKILL");
    await parent.status;
    while (isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
  },
});

Deno.test({
  name: "a parted process lives on when the one that started it is killed, in a session of its own",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using folder = new TempFolder();
    const errorPath = join(folder.path, "error");
    await Deno.writeTextFile(errorPath, "of the one before");
    const module = import.meta.resolve("../../ffi/child.ts");
    const libraries = import.meta.resolve("../../ffi/box_library.ts");
    const options = {
      command: ["/bin/sh", "-c", 'echo "$WORD" >&2; echo $$; read -r _; read -r _; sleep 600'],
      env: { WORD: "said" },
      ...{ errorPath, asked: true, parted: true },
    };
    const script = `
      const { ChildProcess } = await import(${JSON.stringify(module)});
      const { BoxLibrary } = await import(${JSON.stringify(libraries)});
      const library = new BoxLibrary(${JSON.stringify(library)});
      const child = ChildProcess.start(library, ${JSON.stringify(options)});
      console.log(await child.ask("one"), child.pid);
      child.tellLast("last\\n");
      setInterval(() => {}, 1000);`;
    const parent = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-config", "--no-lock", script],
      stdout: "piped",
    }).spawn();
    const reader = parent.stdout.getReader();
    const [said, pid] = new TextDecoder().decode((await reader.read()).value).trim().split(" ");
    await reader.cancel();
    assert.equal(said, pid);
    parent.kill("SIGKILL");
    await parent.status;
    assert.ok(isRunning(Number(pid)));
    const [, , , , , session] = Deno.readTextFileSync(`/proc/${pid}/stat`).split(" ");
    assert.equal(session, pid);
    Deno.kill(Number(pid), "SIGKILL");
    assert.equal(await Deno.readTextFile(errorPath), "said\n");
  },
});

Deno.test("a program that nobody waits for keeps no process alive, and is collected by the next one", async () => {
  const start = (script: string) =>
    ChildProcess.start(new BoxLibrary(library), {
      command: ["/bin/sh", "-c", script],
      ...{ asked: true, parted: true },
    }) ?? assert.fail("it is locked");
  const first = start("read -r _; exit 5");
  const { pid } = first;
  first.tellLast("");
  while (isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(isListed(pid), "somebody has waited for it");
  const second = start("exec sleep 600");
  for (let tries = 0; isListed(pid); tries++) {
    assert.ok(tries < 2_000, "the kernel still has it");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal((await first.ended).code, 5);
  assert.equal(first.pid, 0);
  first.tellLast("it has ended");
  first.terminate();
  second.terminate();
  assert.equal((await second.ended).signal, "SIGTERM");
});

/** Whether the kernel has a number for it. */
function isListed(pid: number): boolean {
  try {
    return Deno.statSync(`/proc/${pid}`).isDirectory;
  } catch {
    return false;
  }
}

Deno.test({
  name: `hutch_child_ is sound under sanitizers${cc.note}`,
  ignore: cc.ignore,
  async fn() {
    await using folder = new TempFolder();
    const program = join(folder.path, "program");
    const own = join(projectRoot, "ffi/child");
    const main = join(projectRoot, "tests/ffi/child_tries.c");
    const flags = [...sanitizers, "-pthread", `-I${own}`];
    await runTool("cc", ...flags, "-o", program, main, `${own}/child.c`, `${own}/beside.c`);
    await runTool(program, join(folder.path, "lock"));
  },
});
