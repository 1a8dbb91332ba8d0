import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { audit } from "../../plugins/audit.ts";
import { PluginError } from "../../mod.ts";
import { TempFolder } from "../support/temp.ts";
import { emitLife, hostOf, Teller } from "./support.ts";

const WRITER = fileURLToPath(import.meta.resolve("./audit_writer.ts"));

/** A line of the log, of what the tests look at. */
interface Line {
  readonly time: string;
  readonly event: string;
  readonly by: { readonly user: string; readonly uid: number; readonly pid: number };
  readonly command?: readonly string[];
  readonly [key: string]: unknown;
}

/** The lines of a log, the oldest file first; every one must be whole. */
async function linesOf(path: string): Promise<Line[]> {
  const numbers = [...Deno.readDirSync(join(path, ".."))]
    .map(({ name }) => Number(/^log\.(\d+)$/.exec(name)?.[1] ?? 0))
    .filter((number) => number > 0).sort((a, b) => b - a);
  const lines: Line[] = [];
  for (const file of [...numbers.map((number) => `${path}.${number}`), path]) {
    const text = await Deno.readTextFile(file);
    assert.ok(text === "" || text.endsWith("\n"), `${file} ends in the middle of a line`);
    lines.push(...text.split("\n").slice(0, -1).map((line) => JSON.parse(line)));
  }
  return lines;
}

function exec(options: { user?: string } = {}) {
  return { command: "echo", args: ["a\nb"], options };
}

Deno.test("audit writes who did what to which box, a line for each", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "log");
  {
    await using host = await Teller.of(audit({ path }));
    emitLife(host, 'two\nlines and a "quote"');
  }
  assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
  const lines = await linesOf(path);
  assert.deepEqual(lines.map(({ event }) => event), [
    ...["box.created", "box.started", "exec.started", "exec.exited", "box.stopped", "box.removed"],
  ]);
  for (const { time, by, box, name } of lines) {
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
    assert.deepEqual([by.uid, by.pid], [Deno.uid(), Deno.pid]);
    assert.deepEqual([box, name], ["0123456789ab", "web"]);
  }
  assert.equal(lines[0]?.image, "builtin:busybox");
  const [, , , exited] = lines;
  assert.deepEqual([exited?.command, exited?.code, exited?.signal, exited?.ms], [
    ["echo", 'two\nlines and a "quote"'],
    3,
    null,
    40,
  ]);
});

Deno.test("audit rotates by size and keeps so many files, losing only the oldest", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "log");
  {
    await using host = await Teller.of(audit({ path, maxBytes: 4_000, keep: 2, sync: true }));
    for (let number = 0; number < 30; number++) emitLife(host, String(number));
  }
  const names = [...Deno.readDirSync(folder.path)].map(({ name }) => name).sort();
  assert.deepEqual(names, ["log", "log.1", "log.2"]);
  for (const name of names) assert.ok((await Deno.stat(join(folder.path, name))).size <= 4_000);
  const numbers = (await linesOf(path)).filter(({ event }) => event === "exec.started")
    .map(({ command }) => Number(command?.[1]));
  assert.ok(numbers.length > 5);
  assert.deepEqual(numbers, numbers.map((_, index) => 30 - numbers.length + index));
});

Deno.test("audit gives a line that is larger than a file a file of its own, and keeps none if told so", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "log");
  {
    await using host = await Teller.of(audit({ path, maxBytes: 1_000, keep: 0 }));
    emitLife(host, "x".repeat(5_000));
  }
  assert.deepEqual((await linesOf(path)).map(({ event }) => event), ["box.stopped", "box.removed"]);
  assert.deepEqual([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["log"]);
});

Deno.test("audit loses and splits no line of several programs that write and rotate one file", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "log");
  const names = ["a", "b", "c"];
  const writers = names.map((name) =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", WRITER, path, name],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn()
  );
  await Promise.all(writers.map(async ({ stdout }) => {
    for await (const _ready of stdout) break;
  }));
  for (const { stdin } of writers) await stdin.close();
  for (const writer of writers) assert.equal((await writer.status).code, 0);
  const lines = await linesOf(path);
  assert.ok([...Deno.readDirSync(folder.path)].length > 100, "it was hardly ever rotated");
  for (const name of names) {
    const own = lines.filter(({ event, command }) =>
      event === "exec.exited" && command?.[1]?.startsWith(`${name}-`)
    );
    assert.deepEqual(
      own.map(({ command }) => command?.[1]),
      Array.from({ length: 30 }, (_, number) => `${name}-${number}`),
    );
  }
  assert.equal(lines.length, 3 * 30 * 6);
});

Deno.test("audit waits for its file when it closes while another program writes", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "log");
  const log: string[] = [];
  const host = await hostOf(audit({ path }), { log: (line) => void log.push(line) });
  let closing: Promise<void>;
  {
    using holder = await Deno.open(path, { read: true, write: true });
    await holder.lock(true);
    host.emit("box.removed", { box: "0123456789ab", name: "web" });
    closing = host[Symbol.asyncDispose]();
    // So long that the host has given up waiting for listeners.
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    assert.equal((await Deno.stat(path)).size, 0);
  }
  await closing;
  assert.deepEqual((await linesOf(path)).map(({ event }) => event), ["box.removed"]);
  assert.deepEqual(log, []);
});

Deno.test("audit begins a new line after a program that died in the middle of one", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "log");
  await Deno.writeTextFile(path, '{"whole":1}\n{"half":');
  {
    await using host = await Teller.of(audit({ path }));
    host.emit("box.removed", { box: "0123456789ab", name: "web" });
  }
  const lines = (await Deno.readTextFile(path)).split("\n");
  assert.deepEqual(lines.slice(0, 2), ['{"whole":1}', '{"half":']);
  assert.equal(JSON.parse(lines[2] ?? "").event, "box.removed");
  assert.equal(lines[3], "");
});

Deno.test("audit refuses commands that it can't write down, where it is required", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "sub", "log");
  await Deno.mkdir(join(folder.path, "sub"));
  await using host = await hostOf(audit({ path, required: true }), { log: () => {} });
  let ran = 0;
  const run = () =>
    host.run("exec", exec({ user: "me" }), { signal: new AbortController().signal }, () => {
      ran++;
      return Promise.reject(new Error("ran"));
    });
  await assert.rejects(run(), /^Error: ran$/);
  const [line] = await linesOf(path);
  assert.deepEqual(
    [line?.event, line?.command, line?.user, line?.by.pid],
    ["exec.asked", ["echo", "a\nb"], "me", Deno.pid],
  );
  await Deno.remove(join(folder.path, "sub"), { recursive: true });
  await assert.rejects(run(), (error) => {
    assert.ok(error instanceof PluginError);
    assert.deepEqual([error.plugin, error.hook], ["audit", "exec.before"]);
    return true;
  });
  assert.equal(ran, 1);
});

Deno.test("audit says at once that its file can't be written", async () => {
  await using folder = new TempFolder();
  const opening = hostOf(audit({ path: join(folder.path, "no/such/log") }), { log: () => {} });
  await assert.rejects(opening, (error) => {
    assert.ok(error instanceof PluginError);
    assert.deepEqual([error.plugin, error.hook], ["audit", "setup"]);
    return true;
  });
});

Deno.test("audit reports a line that the disk has no room for, and leaves no piece of it", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const log: string[] = [];
  {
    await using host = await hostOf(audit({ path: "/dev/full", maxBytes: Infinity }), {
      log: (line) => void log.push(line),
    });
    host.emit("box.removed", { box: "0123456789ab", name: "web" });
  }
  assert.match(log.join("\n"), /plugin "audit" failed in on "box\.removed": .*(space|full)/);
});
