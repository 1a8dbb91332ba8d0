import assert from "node:assert/strict";
import { join } from "node:path";
import { formatEvent } from "../../src/cli/events.ts";
import { main } from "../../src/cli/main.ts";
import { parseMoment } from "../../src/cli/values.ts";
import { BoxRecords, NEW_STATE } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { config } from "../state/config.ts";
import { TempFolder } from "../support/temp.ts";
import { type HutchResult, memoryIo } from "./helpers.ts";

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).href;
const AT = "2026-01-01T00:00:00.000Z";

async function hutchIn(home: string, ...args: readonly string[]): Promise<HutchResult> {
  const io = memoryIo();
  const code = await main(["--home", home, ...args], io);
  return { code, stdout: io.stdout.text, stderr: io.stderr.text };
}

/** `hutch events` as a process, with the lines that it prints. */
function spawnEvents(home: string, ...args: readonly string[]): {
  child: Deno.ChildProcess;
  lines: AsyncIterator<string>;
} {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", MAIN, "--home", home, "events", ...args],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  return { child, lines: linesOf(child.stdout) };
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

Deno.test("formatEvent aligns time, type and box, and says the rest by name", () => {
  const about = { at: AT, box: "aaaaaaaaaaaa", name: "web" };
  const started = formatEvent({ ...about, seq: 1, type: "box.started", engine: "qemu", ms: 900 });
  assert.equal(started, `${AT}  box.started     web           engine=qemu  ms=900\n`);
  assert.equal(
    formatEvent({
      ...about,
      seq: 2,
      type: "exec.exited",
      execution: "e",
      command: ["sh", "-c", "a b"],
      code: null,
      signal: null,
      error: "it is\ngone",
      ms: 1,
    }),
    `${AT}  exec.exited     web           execution=e  command=["sh","-c","a b"]` +
      `  error="it is\\ngone"  ms=1\n`,
  );
  assert.equal(
    formatEvent({ type: "events.gap", at: AT, seq: 9, missed: 4 }),
    `${AT}  events.gap                    missed=4\n`,
  );
  const hostile = formatEvent({
    at: AT,
    seq: 1,
    type: "image.pulling",
    reference: "\x1b[2Jx\u009b",
  });
  for (const control of ["\u001b", "\u009b"]) assert.ok(!hostile.includes(control));
});

Deno.test("parseMoment reads dates, seconds and how long ago", () => {
  const now = Date.parse("2026-01-02T00:00:00Z");
  const table: [string, string][] = [
    ["now", "2026-01-02T00:00:00.000Z"],
    ["10m", "2026-01-01T23:50:00.000Z"],
    ["1h30m", "2026-01-01T22:30:00.000Z"],
    ["1.5d", "2025-12-31T12:00:00.000Z"],
    ["250ms", "2026-01-01T23:59:59.750Z"],
    ["1767225600", "2026-01-01T00:00:00.000Z"],
    ["1767225600.25", "2026-01-01T00:00:00.250Z"],
    ["2026-01-01T10:00:00Z", "2026-01-01T10:00:00.000Z"],
    ["2026-01-01 10:00:00+02:00", "2026-01-01T08:00:00.000Z"],
    ["100000d", "1970-01-01T00:00:00.000Z"],
  ];
  for (const [text, expected] of table) {
    assert.equal(parseMoment(text, "--since", now).toISOString(), expected, text);
  }
  assert.equal(
    parseMoment("2026-01-01", "--since", now).getTime(),
    new Date(2026, 0, 1).getTime(),
  );
  for (
    const text of ["", "x", "1h x", "m", "-5m", "2026-13-01", "2026-01-01T25:00", "1e99"]
  ) {
    assert.throws(() => parseMoment(text, "--since", now), {
      code: "invalid_option",
      message: `Cannot read --since: ${JSON.stringify(text)} is not a time`,
    }, text);
  }
});

Deno.test("hutch events --no-follow prints what is kept, as text and as JSON", async () => {
  await using folder = new TempFolder();
  const home = join(folder.path, "home");
  assert.deepEqual(await hutchIn(home, "events", "--no-follow"), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  await hutchIn(home, "create", "--name", "web", "builtin:busybox");
  await hutchIn(home, "rm", "web");
  const text = await hutchIn(home, "events", "--no-follow");
  assert.deepEqual(
    text.stdout.trim().split("\n").map((line) => line.split(/ {2,}/)[1]),
    ["image.pulling", "image.pulled", "box.created", "box.removed"],
  );
  const json = await hutchIn(home, "events", "--until", "now", "--json", "--type", "box.created");
  const event = JSON.parse(json.stdout);
  assert.equal(json.stdout, `${JSON.stringify(event)}\n`);
  assert.deepEqual([event.seq, event.name, event.image], [3, "web", "builtin:busybox"]);
  const none = await hutchIn(home, "events", "--no-follow", "--since", "0s");
  assert.equal(none.stdout, "");
  const box = await hutchIn(home, "events", "--no-follow", "--box", "web", "--type", "box.removed");
  assert.match(box.stdout, /^\S+ {2}box\.removed {5}web\n$/);
});

Deno.test("hutch events says what it doesn't understand", async () => {
  await using folder = new TempFolder();
  const table: [string[], RegExp][] = [
    [
      ["--type", "box.create"],
      /"box\.create" is not a type of event; did you mean "box\.created"\?/,
    ],
    [["--type", "x"], /take one of box\.created, /],
    [["--since", "yesterday"], /"yesterday" is not a time; give a date/],
  ];
  for (const [args, pattern] of table) {
    const { code, stdout, stderr } = await hutchIn(folder.path, "events", "--no-follow", ...args);
    assert.deepEqual([code, stdout], [125, ""]);
    assert.match(stderr, pattern);
  }
});

Deno.test("hutch events follows other programs until Ctrl-C, which is a good end", async () => {
  await using folder = new TempFolder();
  const home = join(folder.path, "home");
  await hutchIn(home, "create", "--name", "first", "builtin:busybox");
  const { child, lines } = spawnEvents(home, "--since", "1h", "--type", "box.created", "--json");
  assert.equal(JSON.parse((await lines.next()).value).name, "first");
  await hutchIn(home, "create", "--name", "second", "builtin:busybox");
  assert.equal(JSON.parse((await lines.next()).value).name, "second");
  child.kill("SIGINT");
  assert.equal((await lines.next()).done, true);
  assert.deepEqual([(await child.status).code, (await child.status).signal], [0, null]);
});

Deno.test("hutch events finds out that a box has ended which no program holds", async () => {
  await using folder = new TempFolder();
  const home = join(folder.path, "home");
  await hutchIn(home, "create", "--name", "first", "builtin:busybox");
  const { child, lines } = spawnEvents(
    home,
    "--since",
    "1h",
    "--type",
    "box.created",
    "--type",
    "box.crashed",
  );
  await lines.next();
  {
    using database = openDatabase(join(home, "state.db"));
    const records = new BoxRecords(database);
    records.add(config("aaaaaaaaaaaa", "lost"));
    records.change("aaaaaaaaaaaa", 0, { ...NEW_STATE, status: "running", pid: 1 });
  }
  assert.match((await lines.next()).value, /box\.crashed +lost +reason=/);
  child.kill("SIGINT");
  await lines.return?.();
  assert.equal((await child.status).code, 0);
});

Deno.test("hutch events ends quietly when nobody reads it any more", async () => {
  await using folder = new TempFolder();
  const home = join(folder.path, "home");
  await hutchIn(home, "create", "--name", "first", "builtin:busybox");
  const { child, lines } = spawnEvents(home, "--since", "1h");
  await lines.next();
  await lines.return?.();
  await hutchIn(home, "create", "--name", "second", "builtin:busybox");
  assert.equal((await child.status).code, 141);
});
