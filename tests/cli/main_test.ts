import assert from "node:assert/strict";
import { main } from "../../src/cli/main.ts";
import { VERSION } from "../../src/version.ts";
import { hutch, memoryIo, type MemorySink } from "./helpers.ts";

Deno.test("main gives help on standard output for no words at all", async () => {
  const io = memoryIo();
  assert.equal(await main([], io), 0);
  assert.match(io.stdout.text, /^Usage: hutch /);
  assert.equal(io.stderr.text, "");
});

Deno.test("main prints versions", async () => {
  const io = memoryIo();
  assert.equal(await main(["version"], io), 0);
  assert.match(
    io.stdout.text,
    new RegExp(`^hutch ${VERSION}\ndeno \\d+\\.\\d+\\.\\d+ \\(.*\\)\n$`),
  );
  const json = memoryIo();
  assert.equal(await main(["version", "--json"], json), 0);
  assert.deepEqual(JSON.parse(json.stdout.text), {
    hutch: VERSION,
    deno: Deno.version.deno,
    os: Deno.build.os,
    arch: Deno.build.arch,
  });
});

Deno.test("main refuses with 125 and one line that says what to do", async () => {
  const table: [string[], string][] = [
    [["rnu"], "hutch: Cannot read the command line: unknown command 'rnu'; did you mean run?\n"],
    [
      ["run"],
      "hutch: Cannot read the command line: missing required argument 'IMAGE'; see `hutch run --help`\n",
    ],
    [
      ["run", "--cpus", "x", "i"],
      'hutch: Cannot read --cpus: "x" is not a whole number\n',
    ],
    [
      ["run", "--log-opt", "size=1", "image"],
      'hutch: Cannot read --log-opt: "size" is not one of max-size, max-file\n',
    ],
    [
      ["completion", "tcsh"],
      'hutch: Cannot complete in "tcsh": it is not a shell that hutch knows; choose bash, zsh or fish\n',
    ],
    [
      ["run", "-e", "=x", "image"],
      'hutch: Cannot read --env: "=x" has no name; write NAME=VALUE, or NAME to take it from your environment\n',
    ],
    [
      ["exec", "\x1b[2J"],
      "hutch: Cannot read the command line: missing required argument 'COMMAND'; see `hutch exec --help`\n",
    ],
    [
      ["\x1b[2J"],
      "hutch: Cannot read the command line: unknown command '\\x1b[2J'; see `hutch --help`\n",
    ],
  ];
  for (const [args, expected] of table) {
    const io = memoryIo();
    assert.equal(await main(args, io), 125, args.join(" "));
    assert.equal(io.stdout.text, "", args.join(" "));
    assert.equal(io.stderr.text, expected);
  }
});

Deno.test("main calls an unexpected error a bug, with its stack when asked", async () => {
  const failing = () => ({
    ...memoryIo(),
    get stdout(): MemorySink {
      throw new TypeError("boom");
    },
  });
  const io = failing();
  assert.equal(await main(["version"], io), 125);
  assert.equal(io.stderr.text, "hutch: boom; this is a bug in hutch; run again with --debug\n");
  const debugged = failing();
  assert.equal(await main(["--debug", "version"], debugged), 125);
  assert.match(
    debugged.stderr.text,
    /^hutch: boom; this is a bug in hutch\n {2}error: TypeError: boom\n/,
  );
});

Deno.test("main says that output can't be written", async () => {
  const full = { write: () => Promise.reject(new Error("No space left")), isTerminal: () => false };
  const io = { ...memoryIo(), stdout: full };
  assert.equal(await main(["version"], io), 125);
  assert.equal(io.stderr.text, "hutch: Cannot write output: No space left\n");
});

Deno.test("main ends quietly when nobody reads its output", async () => {
  const closed = {
    write: () => Promise.reject(new Deno.errors.BrokenPipe("x")),
    isTerminal: () => false,
  };
  const io = { ...memoryIo(), stdout: closed };
  assert.equal(await main(["--help"], io), 141);
  assert.equal(io.stderr.text, "");
  assert.equal(await main(["rnu"], { ...memoryIo(), stderr: closed }), 125);
});

Deno.test("hutch as a program gives exit codes and keeps its streams apart", async () => {
  const [version, unknown, help] = await Promise.all([
    hutch(["version"]),
    hutch(["inspct"], { HUTCH_DEBUG: "1" }),
    hutch(["exec", "--help"]),
  ]);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /^hutch /);
  assert.equal(version.stderr, "");
  assert.equal(unknown.code, 125);
  assert.equal(unknown.stdout, "");
  assert.match(unknown.stderr, /did you mean inspect\?/);
  assert.equal(help.code, 0);
  assert.match(help.stdout, /^Usage: hutch exec \[options\] BOX COMMAND \[ARG\.\.\.\]\n/);
});
