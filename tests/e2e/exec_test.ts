/** What commands get, on one box that all these tests share. */
import assert from "node:assert/strict";
import { type Box, CommandError, definePlugin, type ExecOptions, HutchError } from "../../mod.ts";
import { BOX, hutch, TEST_ENGINE, withRuntime } from "./support.ts";

/** What the plugin saw, and what it asks for beside. */
const seen: ExecOptions[] = [];
let extra: ExecOptions = {};
const watcher = definePlugin({
  name: "watcher",
  operations: {
    exec: {
      before(input) {
        seen.push(input.options);
        return { ...input, options: { ...input.options, ...extra } };
      },
    },
  },
});

Deno.test(`Box.exec and its kin on ${TEST_ENGINE}`, (test) =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...BOX, env: { KEPT: "yes" } });
    for (const [name, body] of cases) await test.step(name, () => body(box, home));
  }, { plugins: [watcher] }));

const shell = (box: Box, script: string, options: ExecOptions = {}) =>
  box.exec("sh", ["-c", script], options);

const cases: readonly (readonly [string, (box: Box, home: string) => Promise<void>])[] = [
  ["Box.exec sets limits, capabilities and no new privileges", async (box) => {
    const { stdout } = await shell(
      box,
      "ulimit -n; ulimit -Hn; ulimit -c; grep -E '^(Cap(Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status",
      {
        rlimits: { nofile: { soft: 70, hard: 80 }, core: 0 },
        capabilities: { add: ["NET_BIND_SERVICE"], drop: ["ALL"] },
        noNewPrivileges: true,
        user: "54321",
      },
    );
    const bit = "0000000000000400";
    assert.deepEqual(
      stdout.trim().split(/\s+/),
      ["70", "80", "0", "CapEff:", bit, "CapBnd:", bit, "CapAmb:", bit, "NoNewPrivs:", "1"],
    );
    const usual = await shell(box, "ulimit -n; grep CapEff /proc/self/status");
    assert.match(usual.stdout, /^1024\nCapEff:\s+000001ffffffffff\n$/);
  }],
  ["Box.exec raises hard limits, and says which limit the kernel refuses", async (box) => {
    const raised = await shell(box, "ulimit -Hl; ulimit -l", { rlimits: { memlock: "unlimited" } });
    assert.equal(raised.stdout, "unlimited\nunlimited\n");
    await rejects("limit_refused", /run "true".*limit nofile to 1099511627776/, async () => {
      await box.exec("true", [], { rlimits: { nofile: 2 ** 40 } });
    });
    await rejects("invalid_option", /limit nofile of -1/, async () => {
      await box.exec("true", [], { rlimits: { nofile: -1 } });
    });
  }],
  ["Box.exec ends what takes too long, and says so", async (box) => {
    const result = await shell(box, "echo before; exec sleep 1000", { timeoutMs: 2000 });
    const { success, code, signal, timedOut, stdout } = result;
    assert.deepEqual({ success, code, signal, timedOut, stdout }, {
      ...{ success: false, code: 143, signal: "SIGTERM", timedOut: true },
      stdout: "before\n",
    });
    const stubborn = await shell(box, "trap '' TERM; sleep 1000; sleep 1000", {
      timeoutMs: 2000,
      killAfterMs: 100,
    });
    assert.deepEqual([stubborn.code, stubborn.timedOut], [137, true]);
    assert.equal((await box.exec("true", [], { timeoutMs: 60_000 })).timedOut, false);
  }],
  ["Box.exec without the box's environment", async (box) => {
    const { stdout } = await box.exec("env", [], { clearEnv: true, env: { A: "1" } });
    assert.deepEqual(stdout.trim().split("\n").sort(), ["A=1", "HOME=/root"]);
    assert.match((await box.exec("env")).stdout, /^KEPT=yes$/m);
  }],
  ["Box.exec's signal kills the command and rejects what waits", async (box) => {
    const controller = new AbortController();
    const execution = shell(box, "sleep 987 & echo up; wait", { signal: controller.signal });
    const reader = execution.stdout.getReader();
    await reader.read();
    controller.abort();
    await rejects("cancelled", /cancelled/, () => execution.status);
    await assert.rejects(reader.read());
    assert.equal(await alive(box, "sleep 987"), "");
    const early = box.exec("true", [], { signal: AbortSignal.abort() });
    await rejects("cancelled", /run "true"/, async () => void await early);
    await early[Symbol.asyncDispose]();
  }],
  ["plugins see the options of a command, and theirs are checked", async (box) => {
    seen.length = 0;
    extra = { rlimits: { nofile: 99 } };
    const options = { timeoutMs: 60_000, capabilities: { drop: ["CHOWN"] } } as const;
    assert.equal((await shell(box, "ulimit -n", options)).stdout, "99\n");
    assert.deepEqual(seen, [options]);
    extra = { timeoutMs: -1 };
    await rejects("invalid_option", /timeoutMs of -1/, async () => void await box.exec("true"));
    extra = {};
  }],
  ["hutch exec takes limits as Docker names them", async (box, home) => {
    const limited = await hutch(home, [
      ...["exec", "--ulimit", "nofile=55:66", "--cap-drop", "ALL", "--cap-add", "CHOWN"],
      ...["--security-opt", "no-new-privileges", "--timeout", "2", box.id, "sh", "-c"],
      "ulimit -n; ulimit -Hn; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; exec sleep 99",
    ]);
    assert.deepEqual(limited.stdout.trim().split(/\s+/), [
      ...["55", "66", "CapEff:", "0000000000000001", "NoNewPrivs:", "1"],
    ]);
    assert.deepEqual([limited.code, limited.stderr], [
      124,
      "hutch: The command was ended: it took longer than 2 s\n",
    ]);
  }],
  ["Box.sh quotes values, reads output and throws a CommandError", async (box) => {
    const words = ["a  b", "it's", `"$(id)" \`x\` \\ \n#;`, "", "é"];
    const printed = await box.sh`printf '%s,' ${words} "$A" $(pwd)`.env("A", "x y").cwd("/tmp")
      .text();
    assert.equal(printed, [...words, "x y", "/tmp", ""].join(","));
    assert.deepEqual(await Array.fromAsync(box.sh`sort`.stdin("b\na\n").lines()), ["a", "b"]);
    await assert.rejects(box.sh`cat ${"/no/such"}`.text(), (error) => {
      assert(error instanceof CommandError);
      assert.deepEqual([error.exitCode, error.command], [1, "cat '/no/such'"]);
      assert.match(error.message, /it ended with code 1 \(cat: .*No such file/);
      return true;
    });
    await assert.rejects(async () => void await box.sh`sleep 99`.timeout(1000), CommandError);
  }],
  ["Box.spawn gives a Deno.ChildProcess", async (box) => {
    const child: Deno.ChildProcess = await box.spawn("sh", {
      args: ["-c", "echo $A $(id -u):$(id -g) $PWD; cat; exit 3"],
      ...{ env: { A: "a" }, uid: 12, gid: 34, cwd: new URL("file:///tmp") },
      ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
    });
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("in"));
    await writer.close();
    const { stdout, stderr, ...status } = await child.output();
    assert.equal(new TextDecoder().decode(stdout), "a 12:34 /tmp\nin");
    assert.deepEqual([stderr.length, status], [0, { success: false, code: 3, signal: null }]);
    assert.throws(() => child.kill(), TypeError);
  }],
  ["Box.spawn's process ends by disposal, however much of its output is unread", async (box) => {
    let status: Promise<Deno.CommandStatus>;
    {
      await using child = await box.spawn("sh", {
        args: ["-c", "sleep 986 & cat /dev/zero"],
        ...{ stdout: "piped", stderr: "null" },
      });
      status = child.status;
      await child.stdout.getReader().read();
    }
    assert.equal((await status).signal, "SIGTERM");
    assert.equal(await alive(box, "sleep 986"), "");
    const controller = new AbortController();
    const { signal } = controller;
    await using polite = await box.spawn("sleep", { args: ["99"], stdout: "null", signal });
    controller.abort();
    assert.deepEqual(await polite.status, { success: false, code: 143, signal: "SIGTERM" });
    await rejects("command_not_found", /no such program/, () => box.spawn("/no/such"));
  }],
  ["a command that closes its stdin breaks the writer's pipe, and nothing else", async (box) => {
    const script = "exec <&-; echo closed; sleep 1; exit 3";
    await using execution = shell(box, script, { stdin: "piped" });
    const reader = execution.stdout.getReader();
    await reader.read();
    const writer = execution.stdin.getWriter();
    const chunk = new Uint8Array(65_536);
    await rejects("broken_pipe", /has closed it/, async () => {
      for (;;) await writer.write(chunk);
    });
    assert.equal((await execution.status).code, 3);
    const fed = await shell(box, "head -c 5", { stdin: new Uint8Array(3_000_000).fill(65) });
    assert.deepEqual([fed.code, fed.stdout], [0, "AAAAA"]);
    await using child = await box.spawn("true", { stdin: "piped", stdout: "null" });
    await child.status;
    await assert.rejects(child.stdin.getWriter().write(chunk), Deno.errors.BrokenPipe);
  }],
  [
    "a command whose input's stream breaks is killed, and fails with what the stream failed with",
    async (box) => {
      const boom = new Error("boom");
      const broken = () =>
        ReadableStream.from(async function* () {
          yield new TextEncoder().encode("some\n");
          throw boom;
        }());
      const script = "cat; exec sleep 985";
      for (const detached of [false, true]) {
        const execution = shell(box, script, { stdin: broken(), detached });
        await assert.rejects(async () => void await execution, (error) => error === boom);
      }
      const command = box.sh`cat`.stdin(broken());
      await assert.rejects(Array.fromAsync(command.lines()), (error) => error === boom);
      assert.equal(await alive(box, "sleep 985"), "");
      assert.equal(await alive(box, `sh -c ${script}`), "");
      assert.equal(
        (await box.exec("cat", [], { stdin: new Blob(["whole"]).stream() })).stdout,
        "whole",
      );
    },
  ],
  [
    "Box.exec's signal rejects what waits on a box that is paused, and kills when it goes on",
    async (box) => {
      const controller = new AbortController();
      const execution = shell(box, "exec sleep 984", { signal: controller.signal });
      await execution.started;
      await box.pause();
      controller.abort();
      await rejects("cancelled", /cancelled/, () => execution.then());
      assert.equal((await box.info()).status, "paused");
      await box.resume();
      assert.equal(await alive(box, "sleep 984"), "");
    },
  ],
  ["orphans and zombies of commands are reaped", async (box) => {
    const many = "for i in $(seq 30); do (sleep 0.0$i & exec true) & done; wait; echo done";
    assert.equal((await shell(box, many)).stdout, "done\n");
    // Orphans with a session and pipes of their own outlive their command, and end by themselves.
    await shell(box, "(setsid sleep 1 >/dev/null 2>&1 </dev/null &) ; exit 0");
    let left: string;
    do left = (await box.exec("ps", ["-o", "stat,args"])).stdout; while (/^\S+ +sleep/m.test(left));
    assert.doesNotMatch(left, /^Z/m);
  }],
];

/** What of a command is left in the box, a moment after it was killed. */
async function alive(box: Box, command: string): Promise<string> {
  const script = `for i in 1 2 3 4 5 6 7 8 9 10; do
    left=$(ps -o args | grep '^${command}$') || exit 0; sleep 1
  done; echo "$left"`;
  return (await shell(box, script)).stdout;
}

function rejects(code: string, message: RegExp, run: () => Promise<unknown>): Promise<void> {
  return assert.rejects(
    run,
    (error) => error instanceof HutchError && error.code === code && message.test(error.message),
  );
}
