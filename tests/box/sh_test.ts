import assert from "node:assert/strict";
import { CommandError } from "../../src/box/exec_error.ts";
import { ShellCommand } from "../../src/box/sh.ts";
import { HutchError } from "../../src/errors.ts";
import { HostBox } from "../support/host_process.ts";

function shellTest(
  name: string,
  body: (sh: (script: string) => ShellCommand, box: HostBox) => Promise<void>,
): void {
  Deno.test(`ShellCommand ${name}`, async () => {
    const box = new HostBox();
    await body(
      (script) =>
        new ShellCommand(script, (text, options) => box.exec("/bin/sh", ["-c", text], options)),
      box,
    );
  });
}

shellTest("runs once, and not before it is asked for", async (sh, box) => {
  const command = sh("echo out; echo err >&2");
  command.cwd("/tmp").noThrow();
  assert.equal(box.runs.length, 0);
  const { code, stdout, stderr } = await command;
  assert.deepEqual([code, stdout, stderr], [0, "out\n", "err\n"]);
  assert.equal(await command.text(), "out");
  assert.deepEqual(await command.bytes(), new TextEncoder().encode("out\n"));
  assert.equal(box.runs.length, 1);
});

shellTest("gives text, JSON, bytes and lines", async (sh) => {
  assert.equal(await sh("printf 'a\\n\\nb \\n\\n'").text(), "a\n\nb ");
  assert.equal(await sh("true").text(), "");
  assert.deepEqual(await sh(`echo '{"a": [1]}'`).json(), { a: [1] });
  assert.deepEqual(await sh("printf '\\377\\000'").bytes(), Uint8Array.of(255, 0));
  assert.deepEqual(await Array.fromAsync(sh("printf 'a\\n\\nb'; echo no >&2").lines()), [
    "a",
    "",
    "b",
  ]);
  await assert.rejects(
    sh("echo nope").json(),
    (error) =>
      error instanceof HutchError && error.code === "guest_failed" && /as JSON/.test(error.message),
  );
});

shellTest("throws a CommandError for a bad end, however it is read", async (sh) => {
  const bad = () => sh("echo partly; echo 'first' >&2; echo 'no\u001b[2J luck' >&2; exit 3");
  const isRight = (error: unknown): boolean => {
    assert(error instanceof CommandError);
    const { code, exitCode, signal, timedOut, command, stderr, message } = error;
    assert.deepEqual({ code, exitCode, signal, timedOut, stderr }, {
      ...{ code: "command_failed", exitCode: 3, signal: null, timedOut: false },
      stderr: "first\nno\u001b[2J luck\n",
    });
    assert.match(command, /^echo partly/);
    assert.match(message, /^Cannot run "echo partly.*": it ended with code 3 \(no \[2J luck\)$/);
    return true;
  };
  await assert.rejects(async () => void await bad(), isRight);
  await assert.rejects(bad().text(), isRight);
  await assert.rejects(bad().json(), isRight);
  await assert.rejects(bad().bytes(), isRight);
  const lines: string[] = [];
  await assert.rejects(async () => {
    for await (const line of bad().lines()) lines.push(line);
  }, isRight);
  assert.deepEqual(lines, ["partly"]);
});

shellTest("keeps only the end of a long standard error and command", async (sh) => {
  const much = `i=0; while [ $i -lt 3000 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 1`;
  const long = `${much} # ${"x".repeat(5000)}`;
  const check = (error: unknown): boolean => {
    assert(error instanceof CommandError);
    assert.equal(error.stderr.length, 4096);
    assert.match(error.stderr, /line 2999\n$/);
    assert.equal(error.command, long);
    assert(error.message.length < 600);
    return true;
  };
  await assert.rejects(sh(long).text(), check);
  await assert.rejects(Array.fromAsync(sh(long).lines()), check);
});

shellTest("noThrow makes a bad end a result", async (sh) => {
  const { code, stdout } = await sh("echo a; exit 4").noThrow();
  assert.deepEqual([code, stdout], [4, "a\n"]);
  assert.equal(await sh("echo a; exit 4").noThrow().text(), "a");
  assert.deepEqual(await Array.fromAsync(sh("echo a; kill -9 $$").noThrow().lines()), ["a"]);
});

shellTest("takes a folder, variables, a time and an input", async (sh, box) => {
  const command = sh('pwd; echo "$A$B$C"; cat').cwd("/usr").env("A", "1").env({ B: "2", A: "3" })
    .env("C", "4").timeout(60_000).stdin("piped");
  assert.equal(await command.text(), "/usr\n324\npiped");
  assert.partialDeepStrictEqual(box.runs[0]?.options, { timeoutMs: 60_000, cwd: "/usr" });
  assert.deepEqual(await sh("cat").stdin(Uint8Array.of(0, 255)).bytes(), Uint8Array.of(0, 255));
  const stream = new Blob(["from ", "a stream"]).stream();
  assert.equal(await sh("cat").stdin(stream).text(), "from a stream");
});

shellTest("says when its time was over", async (sh) => {
  await assert.rejects(sh("exec sleep 1000").timeout(1).text(), (error) => {
    assert(error instanceof CommandError);
    assert.equal(error.timedOut, true);
    assert.match(error.message, /it took longer than it may/);
    return true;
  });
  const polite = sh("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done").timeout(1500);
  await assert.rejects(polite.text(), CommandError);
});

shellTest("ends when nobody wants its lines any more", async (sh) => {
  const lines = sh("echo $$; while :; do echo more; done").lines();
  const { value } = await lines.next();
  await lines.return?.();
  assert.throws(() => Deno.kill(Number(value), 0), Deno.errors.NotFound);
});

shellTest("refuses to run a second time", async (sh) => {
  const command = sh("echo a");
  await Array.fromAsync(command.lines());
  const again = (error: unknown) =>
    error instanceof HutchError && error.code === "invalid_option" && /again/.test(error.message);
  await assert.rejects(command.text(), again);
  await assert.rejects(Array.fromAsync(command.lines()), again);
});
