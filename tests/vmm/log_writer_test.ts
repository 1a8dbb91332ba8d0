import assert from "node:assert/strict";
import { join } from "node:path";
import { type LogEntry, type LogsOptions, readLogs } from "../../src/box/logs.ts";
import { Channel } from "../../src/guest/protocol.ts";
import { watchConsole } from "../../src/vmm/console_file.ts";
import { logFileName, type LogLimits, logNumbers } from "../../src/vmm/log_files.ts";
import { LogWriter } from "../../src/vmm/log_writer.ts";
import { fc } from "../deps.ts";
import { TempFolder } from "../support/temp.ts";

const LIMITS: LogLimits = { maxBytes: 64 * 1024, files: 3 };
const { STDOUT, STDERR } = Channel;
const bytes = (text: string) => new TextEncoder().encode(text);

async function read(folder: string, options: LogsOptions = {}): Promise<LogEntry[]> {
  return await Array.fromAsync(readLogs({ folder, over: () => Promise.resolve(true) }, options));
}

function joined(entries: readonly LogEntry[]): Uint8Array {
  return new Uint8Array(entries.flatMap((entry) => [...entry.bytes]));
}

Deno.test("LogWriter keeps every byte, in order, by source and stream, whatever the pieces", async () => {
  const piece = fc.record({
    source: fc.constantFrom("main", "0123456789ab"),
    channel: fc.constantFrom(STDOUT, STDERR),
    part: fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.string({ unit: "grapheme", maxLength: 40 }).map(bytes),
      fc.constantFrom(
        bytes("é").subarray(0, 1),
        bytes("€😀").slice(1, 5),
        bytes("\ufeff"),
        bytes("a\r\n\n"),
      ),
    ),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 30 }), async (pieces) => {
      await using folder = new TempFolder();
      const log = new LogWriter(folder.path, LIMITS);
      for (const { source, channel, part } of pieces) log.write(source, channel, part);
      log.close();
      const all = await read(folder.path);
      for (const source of ["main", "0123456789ab"]) {
        for (const [channel, stream] of [[STDOUT, "stdout"], [STDERR, "stderr"]] as const) {
          const sent = pieces.filter((each) => each.source === source && each.channel === channel)
            .flatMap(({ part }) => [...part]);
          const got = all.filter((each) => each.source === source && each.stream === stream);
          assert.deepEqual([...joined(got)], sent);
          for (const entry of got) assert.ok(!entry.text.slice(0, -1).includes("\n"));
        }
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("LogWriter begins a new file when one is full, and drops the oldest", async () => {
  await using folder = new TempFolder();
  const log = new LogWriter(folder.path, LIMITS);
  const line = `${"x".repeat(1_000)}\n`;
  for (let n = 0; n < 400; n++) log.write("main", STDOUT, bytes(`${n} ${line}`));
  log.close();
  const numbers = logNumbers(folder.path);
  assert.equal(numbers.length, 3);
  for (const number of numbers) {
    assert.ok(Deno.statSync(join(folder.path, logFileName(number))).size <= LIMITS.maxBytes);
  }
  const entries = await read(folder.path);
  const first = Number(entries[0]?.text.split(" ")[0]);
  assert.ok(first > 200 && first < 300, `${first}`);
  assert.deepEqual(
    entries.map(({ text }) => Number(text.split(" ")[0])),
    Array.from({ length: 400 - first }, (_, n) => first + n),
  );
  assert.deepEqual((await read(folder.path, { tail: 2 })).map(({ text }) => text.slice(0, 4)), [
    "398 ",
    "399 ",
  ]);
});

Deno.test("LogWriter holds a flood of tiny pieces to its files", async () => {
  await using folder = new TempFolder();
  const log = new LogWriter(folder.path, { maxBytes: 64 * 1024, files: 1 });
  for (let n = 0; n < 3_000; n++) log.write("main", STDOUT, new Uint8Array([0xff]));
  log.write("main", STDERR, new Uint8Array(5 * 2 ** 20).fill(0xff));
  log.close();
  const [only, ...others] = logNumbers(folder.path);
  assert.deepEqual(others, []);
  assert.ok(Deno.statSync(join(folder.path, logFileName(only ?? 0))).size <= 64 * 1024);
});

Deno.test("LogWriter goes on where another one was killed within a line", async () => {
  await using folder = new TempFolder();
  const first = new LogWriter(folder.path, LIMITS);
  first.write("main", STDOUT, bytes("one\n"));
  first.close();
  const path = join(folder.path, logFileName(1));
  Deno.writeTextFileSync(path, '{"time":"2026-01-01T0', { append: true });
  const second = new LogWriter(folder.path, LIMITS);
  second.write("main", STDOUT, bytes("two\n"));
  second.close();
  assert.deepEqual((await read(folder.path)).map(({ text }) => text), ["one\n", "two\n"]);
});

Deno.test("LogWriter survives what can't be written, and says how much that was", async () => {
  await using folder = new TempFolder();
  const blocked = join(folder.path, "log");
  Deno.writeTextFileSync(blocked, ""); // no folder can be made there
  const log = new LogWriter(blocked, LIMITS);
  log.write("main", STDOUT, bytes("lost\n"));
  log.write("main", STDERR, bytes("this too\n"));
  Deno.removeSync(blocked);
  log.write("main", STDOUT, bytes("kept\n"));
  log.close();
  assert.deepEqual((await read(blocked)).map(({ text }) => text), [
    "[hutch: 14 bytes could not be written down here]\n",
    "kept\n",
  ]);
});

Deno.test("LogWriter doesn't make the folder of a box again that was removed", async () => {
  await using folder = new TempFolder();
  const box = join(folder.path, "box");
  const log = new LogWriter(join(box, "log"), LIMITS);
  log.write("main", STDOUT, bytes("late\n"));
  log.close();
  assert.throws(() => Deno.statSync(box), Deno.errors.NotFound);
});

Deno.test("readLogs follows across files, and ends with the box", async () => {
  await using folder = new TempFolder();
  const log = new LogWriter(folder.path, LIMITS);
  log.write("main", STDOUT, bytes("0 before\n"));
  let over = false;
  const entries = readLogs({ folder: folder.path, over: () => Promise.resolve(over) }, {
    follow: "run",
    tail: 1,
  });
  const seen: number[] = [];
  let written = 1;
  for await (const { text } of entries) {
    seen.push(parseInt(text));
    if (seen.length !== written || written >= 300) continue;
    // As much as two files hold, while the reader waits at the end of the present one.
    for (const end = written + 60; written < end; written++) {
      log.write("main", STDOUT, bytes(`${written} ${"y".repeat(1_000)}\n`));
    }
    over = written >= 300;
  }
  log.close();
  assert.deepEqual(seen, Array.from({ length: written }, (_, n) => n));
  assert.ok(logNumbers(folder.path).at(-1) ?? 0 > 3);
});

Deno.test("readLogs chooses by source, time and number of lines", async () => {
  await using folder = new TempFolder();
  const log = new LogWriter(folder.path, LIMITS);
  log.write("main", STDOUT, bytes("one\nto"));
  log.write("main", STDOUT, bytes("ge"));
  log.console(bytes("kernel\n"));
  log.write("main", STDOUT, bytes("ther\n"));
  log.close();
  const texts = async (options: LogsOptions) =>
    (await read(folder.path, options)).map(({ text }) => text).join("|");
  assert.equal(await texts({ source: "console" }), "kernel\n");
  assert.equal(await texts({ source: ["main"], tail: 1 }), "to|ge|ther\n");
  assert.equal(await texts({ tail: 0 }), "");
  assert.equal(await texts({ since: new Date(Date.now() + 10_000) }), "");
  assert.equal(await texts({ until: new Date(0) }), "");
  assert.equal(await texts({ since: new Date(0) }), "one\n|to|ge|kernel\n|ther\n");
  assert.deepEqual(await read(join(folder.path, "none")), []);
  const aborted = { follow: true, signal: AbortSignal.abort() } as const;
  assert.deepEqual(await read(folder.path, aborted), []);
});

Deno.test("watchConsole tells what comes, cuts what is too much, and keeps its end", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "console.log");
  let said = "";
  const watch = watchConsole(path, (part) => said += new TextDecoder().decode(part));
  watch.start();
  try {
    watch.look(); // there is none yet
    Deno.writeTextFileSync(path, "Booting\n");
    watch.look();
    assert.equal(said, "Booting\n");
    Deno.writeTextFileSync(path, `${"z".repeat(17 * 2 ** 20)}the end\n`, { append: true });
    watch.look();
    assert.match(said, /^Booting\nz+the end\n$/);
    assert.ok(said.length < 100_000);
    assert.equal(Deno.statSync(path).size, 0);
    assert.match(Deno.readTextFileSync(`${path}.1`), /the end\n$/);
    Deno.writeTextFileSync(path, "more\n", { append: true });
    watch.look();
    assert.match(said, /the end\nmore\n$/);
  } finally {
    watch.stop();
  }
});
