import assert from "node:assert/strict";
import {
  BOX,
  hutch,
  RUN,
  spawnHutch,
  TEST_ENGINE,
  until,
  withHome,
  withRuntime,
} from "./support.ts";

const on = `on ${TEST_ENGINE}`;
// Each command takes the emulated machine seconds: there, what depends on the engine.
const everywhere = TEST_ENGINE === "qemu";

Deno.test(`hutch run passes binary input and output through unchanged ${on}`, () =>
  withHome(async (home) => {
    const bytes = new Uint8Array(3 << 20);
    for (let at = 0; at < bytes.length; at += 65536) {
      crypto.getRandomValues(bytes.subarray(at, at + 65536));
    }
    const result = await hutch(
      home,
      ["run", "--rm", "-i", ...RUN, "builtin:busybox", "cat"],
      { stdin: bytes },
    );
    assert.equal(result.code, 0, result.stderr);
    assert.ok(result.stdoutBytes.length === bytes.length, `${result.stdoutBytes.length} bytes`);
    assert.ok(result.stdoutBytes.every((byte, at) => byte === bytes[at]));
  }));

Deno.test(`Box.exec gives result, lines and streams, many at once ${on}`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create(BOX);
    const result = await box.exec("echo", ["hello"]);
    assert.deepEqual(
      { code: result.code, signal: result.signal, stdout: result.stdout, stderr: result.stderr },
      { code: 0, signal: null, stdout: "hello\n", stderr: "" },
    );
    const lines: string[] = [];
    for await (const line of box.exec("sh", ["-c", "seq 3"]).lines()) lines.push(line);
    assert.deepEqual(lines, ["1", "2", "3"]);
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, n) => box.exec("sh", ["-c", `echo ${n}; exit ${n}`])),
    );
    answers.forEach((answer, n) => assert.deepEqual([answer.code, answer.stdout], [n, `${n}\n`]));
    const upper = await box.exec("tr", ["a-z", "A-Z"], { stdin: "quiet" });
    assert.equal(upper.stdout, "QUIET");
    await assert.rejects(async () => await box.exec("nope"), { code: "command_not_found" });
    await assert.rejects(async () => await box.exec("/etc"), { code: "command_not_executable" });
    await assert.rejects(async () => await box.exec("id", [], { user: "nobody-here" }), {
      code: "no_such_user",
    });
    await assert.rejects(async () => await box.exec("pwd", [], { cwd: "/nope" }), {
      code: "bad_cwd",
    });
    await assert.rejects(
      async () => await box.exec("cat", ["/dev/zero"], { maxOutputBytes: 1000 }),
      { code: "limit_exceeded" },
    );
  }));

Deno.test(`Box.exec reports a signal, and kill sends one ${on}`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create(BOX);
    const execution = box.exec("sleep", ["1000"]);
    await execution.started;
    await execution.kill("SIGUSR1");
    const status = await execution.status;
    assert.deepEqual([status.code, status.signal], [138, "SIGUSR1"]);
    const controller = new AbortController();
    const cancelled = box.exec("sleep", ["1000"], { signal: controller.signal });
    await cancelled.started;
    controller.abort();
    await assert.rejects(async () => await cancelled, { code: "cancelled" });
    const left = await box.exec("sh", ["-c", "ps | grep -c '[s]leep 1000'"]);
    assert.equal(left.stdout.trim(), "0");
  }));

Deno.test(`Box sees its own disk and processes and nothing of hutch's ${on}`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create({
      ...BOX,
      name: "view",
      disk: "2GiB",
      autoRemove: true,
    });
    const sh = async (script: string) => (await box.exec("sh", ["-c", script])).stdout.trim();
    assert.equal(await sh("hostname"), "view");
    assert.equal(await sh("ls /dev | grep -c -e ^vd -e vport"), "0");
    assert.equal(await sh("grep -c -e /box -e vda /proc/mounts"), "0");
    assert.equal(await sh("ls /box /init 2>/dev/null | wc -l"), "0");
    // The first GiB is there at once, the rest a moment later.
    const size = async () => Number(await sh("df -m / | tail -1 | awk '{print $2}'"));
    assert.ok(await size() > 800);
    await until(async () => await size() > 1800, async () => `it has ${await size()} MiB`);
    assert.equal(await sh("touch /file && mkdir -p /a/b && echo ok"), "ok");
    assert.equal(await sh("ip addr show lo 2>/dev/null | grep -c 'inet 127.0.0.1'"), "1");
    assert.ok(Number(await sh("ls -d /proc/[0-9]* | wc -l")) < 8);
  }));

if (everywhere) {
  Deno.test(`hutch run gives the command's exit code, 126, 127 and 128 + signal ${on}`, () =>
    withHome(async (home) => {
      const created = await hutch(home, ["create", ...RUN, "--name", "codes", "builtin:busybox"]);
      assert.equal(created.code, 0, created.stderr);
      for (
        const [command, code, said] of [
          [["sh", "-c", "exit 42"], 42, /^$/],
          [["/nope"], 127, /^hutch: .*\/nope/],
          [["nope"], 127, /^hutch: .*nope/],
          [["/etc/passwd"], 126, /^hutch: .*\/etc\/passwd/],
          [["sh", "-c", "kill -9 $$"], 137, /^$/],
        ] as const
      ) {
        const result = await hutch(home, ["exec", "codes", ...command]);
        assert.equal(result.code, code, `${command.join(" ")}: ${result.stderr}`);
        assert.match(result.stderr, said);
      }
      const cwd = await hutch(home, ["exec", "-w", "/no/such", "codes", "pwd"]);
      assert.equal(cwd.code, 125);
      assert.match(cwd.stderr, /\/no\/such/);
      const removed = await hutch(home, ["rm", "codes"]);
      assert.equal(removed.code, 125);
      assert.match(removed.stderr, /running.*rm -f/);
      assert.equal((await hutch(home, ["rm", "-f", "codes"])).code, 0);
    }));

  Deno.test(`hutch run applies environment, working folder, user, host name and entrypoint ${on}`, () =>
    withHome(async (home) => {
      const result = await hutch(home, [
        ...["run", "--rm", ...RUN, "-e", "A=1=2", "-e", "FROM_HERE", "-w", "/etc", "-u", "1000:50"],
        ...["--hostname", "here", "--entrypoint", "sh", "builtin:busybox"],
        ...["-c", 'echo "$A $FROM_HERE $(pwd) $(id -u):$(id -g) $(hostname)"'],
      ], { env: { FROM_HERE: "yes" } });
      assert.equal(result.stdout, "1=2 yes /etc 1000:50 here\n", result.stderr);
    }));

  Deno.test(`hutch run passes Ctrl-C on to the command ${on}`, () =>
    withHome(async (home) => {
      const child = spawnHutch(home, [
        ...["run", "--rm", ...RUN, "builtin:busybox", "sh", "-c"],
        "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done",
      ]);
      const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      assert.equal((await lines.read()).value, "ready\n");
      child.kill("SIGINT");
      let rest = "";
      for (let next; !(next = await lines.read()).done;) rest += next.value;
      assert.equal(rest, "caught\n");
      assert.equal((await child.status).code, 3);
      await child.stderr.cancel();
    }));

  Deno.test(`hutch run -d leaves a box that other commands use, stop and start again ${on}`, () =>
    withHome(async (home) => {
      const run = await hutch(home, ["run", "-d", "--name", "kept", ...RUN, "builtin:busybox"]);
      assert.match(run.stdout, /^[0-9a-f]{12}\n$/, run.stderr);
      const id = run.stdout.trim();
      assert.equal(
        (await hutch(home, ["exec", "kept", "sh", "-c", "echo 1 > /root/file"])).code,
        0,
      );
      const listed = JSON.parse((await hutch(home, ["ls", "--json"])).stdout);
      assert.deepEqual([listed[0].id, listed[0].status], [id, "running"]);
      assert.equal((await hutch(home, ["stop", "kept"])).code, 0);
      assert.deepEqual(JSON.parse((await hutch(home, ["ls", "--json"])).stdout), []);
      // exec starts a stopped box, whose disk has kept what was written.
      const again = await hutch(home, ["exec", id.slice(0, 6), "cat", "/root/file"]);
      assert.deepEqual([again.code, again.stdout], [0, "1\n"], again.stderr);
      assert.equal((await hutch(home, ["kill", "kept"])).code, 0);
      const inspected = JSON.parse((await hutch(home, ["inspect", "kept"])).stdout);
      assert.equal(inspected.status ?? inspected[0].status, "stopped");
      assert.equal((await hutch(home, ["rm", "kept"])).code, 0);
    }));
}
