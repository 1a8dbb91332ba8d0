/** Detached executions, logs and main commands. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, definePlugin, HutchError, Runtime } from "../../mod.ts";
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

const VICTIM = new URL("./detached_victim.ts", import.meta.url).href;

const WAIT = [...RUN, "--boot-timeout", "120"];

async function textOf(logs: AsyncIterable<{ readonly text: string }>): Promise<string> {
  return (await Array.fromAsync(logs)).map(({ text }) => text).join("");
}

/** How commands ended, as this program's plugins are told: id, code, error. */
const exits: (readonly [string, number | null, string | null])[] = [];
const exitsOf = (id = "") => exits.filter(([execution]) => execution === id);
const ears = definePlugin({
  name: "ears",
  on: {
    "exec.exited": ({ execution, code, error }) => void exits.push([execution, code, error]),
  },
});

/** A detached command that nobody looks at any more. */
async function letGo(box: Box, script: string): Promise<string> {
  await using execution = box.exec("sh", ["-c", script], { detached: true });
  await execution.started;
  return execution.id ?? "";
}

Deno.test(`Box.exec detached on ${TEST_ENGINE}`, (test) =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({
      ...BOX,
      name: "shared",
      log: { maxBytes: 64 * 1024, files: 3 },
    });
    await box.start();
    for (const [name, body] of cases) await test.step(name, () => body(box, home));
    const lost = await letGo(box, "sleep 1000");
    assert.deepEqual(exitsOf(lost), []);
    await box.stop();
    assert.deepEqual(exitsOf(lost), [[lost, null, "its box ended"]]);
    await assert.rejects(
      box.executions(),
      (error) => error instanceof HutchError && error.code === "box_state",
    );
    assert.match(await textOf(box.logs({ tail: 10 })), /done/); // the log stays
    await box.remove();
  }, { plugins: [ears] }));

const cases: readonly (readonly [string, (box: Box, home: string) => Promise<void>])[] = [
  [
    "A command outlives its killed client; another program replays, feeds and ends it",
    async (box, home) => {
      const victim = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--quiet", VICTIM, home, box.name],
        stdout: "piped",
      }).spawn();
      const lines = victim.stdout.pipeThrough(new TextDecoderStream()).getReader();
      const id = ((await lines.read()).value ?? "").trim();
      victim.kill("SIGKILL");
      await Promise.all([victim.status, lines.cancel()]);

      const listed = await hutch(home, ["executions", "--json", box.name]);
      const [{ id: first, status }] = JSON.parse(listed.stdout);
      assert.deepEqual([first, status], [id, null]);
      const watching = hutch(home, ["attach", box.name, id]); // reads along, without an input
      const execution = box.execution(id).attach({ stdin: "two\n" });
      const { code, stdout } = await execution;
      assert.deepEqual([code, stdout], [5, "one\ngot two\n"]);
      const watched = await watching;
      assert.deepEqual([watched.code, watched.stdout], [5, "one\ngot two\n"]);
      // Its end is kept: for those who come later, too.
      assert.equal((await box.execution(id).status()).code, 5);
      assert.equal((await box.execution(id).info()).status?.code, 5);
      assert.equal(await textOf(box.execution(id).logs()), "one\ngot two\n");
    },
  ],
  ["hutch exec -d prints an id; kill, logs and wrong ids", async (box, home) => {
    const started = await hutch(home, [
      "exec",
      "-d",
      box.name,
      "sh",
      "-c",
      "echo out; echo err >&2; exec sleep 1000",
    ]);
    const id = started.stdout.trim();
    assert.deepEqual([started.code, /^[0-9a-f]{12}$/.test(id)], [0, true], started.stderr);
    await until(
      async () => (await textOf(box.execution(id).logs())).length === 8,
      () => textOf(box.logs()),
    );
    const logs = await hutch(home, ["logs", "--source", id, box.name]);
    assert.deepEqual([logs.stdout, logs.stderr], ["out\n", "err\n"]);
    const timed = await hutch(home, ["logs", "-t", "--tail", "1", "--source", id, box.name]);
    assert.match(timed.stdout + timed.stderr, /^\d{4}-\d\d-\d\dT[\d:.]+Z (out|err)\n$/);
    await box.execution(id).kill();
    assert.deepEqual(await box.execution(id).status(), {
      ...{ success: false, code: 143, signal: "SIGTERM", timedOut: false },
    });
    await assert.rejects(
      box.execution("0123456789ab").status(),
      (error) => error instanceof HutchError && error.code === "execution_not_found",
    );
    const missing = await hutch(home, ["exec", "-d", box.name, "no-such-program"]);
    assert.deepEqual([missing.code, missing.stdout], [127, ""]);
  }],
  ["Box.logs follows across files, and a flood costs its own files only", async (box, home) => {
    const script =
      "i=0; while [ $i -lt 2500 ]; do echo $i-0123456789012345678901234567890; i=$((i+1)); done; echo done";
    const giveUp = new AbortController();
    const since = new Date(); // "tail: 0" would pass by what comes before it has looked
    const following = (async () => {
      let seen = "";
      for await (const { text } of box.logs({ follow: true, since, signal: giveUp.signal })) {
        seen += text;
        if (text === "done\n") break;
      }
      return seen;
    })();
    const execution = box.exec("sh", ["-c", script], { detached: true });
    await execution.started;
    const lines = (await following).trimEnd().split("\n").filter((line) => line.includes("-"));
    assert.deepEqual(
      lines.map((line) => parseInt(line)),
      Array.from({ length: 2500 }, (_, n) => n),
    );
    await box.execution(execution.id ?? "").status();
    const folder = join(home, "boxes", box.id, "log");
    const sizes = [...Deno.readDirSync(folder)].map(({ name }) =>
      Deno.statSync(join(folder, name)).size
    );
    assert.ok(sizes.length <= 3 && sizes.every((size) => size <= 64 * 1024), `${sizes}`);
    assert.equal((await box.exec("true")).code, 0);
  }],
  ["The end of a command that was let go is told once, by whoever sees it", async (box) => {
    const joined = await letGo(box, "sleep 0.2; exit 3");
    const statuses = await Promise.all([1, 2].map(() => box.execution(joined).status()));
    assert.deepEqual(statuses.map(({ code }) => code), [3, 3]);
    assert.deepEqual(exitsOf(joined), [[joined, 3, null]]);
    const listed = await letGo(box, "exit 4");
    await until(
      async () => (await box.executions()).some(({ id, status }) => id === listed && status),
      () => Promise.resolve("it doesn't end"),
    );
    assert.deepEqual(exitsOf(listed), [[listed, 4, null]]);
    const watched = box.exec("sh", ["-c", "exit 5"], { detached: true });
    await watched.started;
    await Promise.all([watched, box.execution(watched.id ?? "").attach()]);
    assert.deepEqual(exitsOf(watched.id), [[watched.id, 5, null]]);
  }],
  ["The processes of hutch's first process are reaped, and it is PID 1", async (box) => {
    // What `init: true` asks for, as every box has it.
    const { stdout } = await box
      .sh`(sleep 0.1 &) ; sleep 0.5; cat /proc/1/comm; ps -o stat | grep -c Z || true`;
    assert.match(stdout, /\n0\n$/);
  }],
];

Deno.test(`hutch run -d on ${TEST_ENGINE} runs a main command that the box ends with`, () =>
  withHome(async (home) => {
    const script = 'trap "echo bye; exit 7" TERM; echo ready $$; while :; do sleep 0.1; done';
    const run = await hutch(home, [
      "run",
      "-d",
      "--name",
      "web",
      ...RUN,
      BOX.image,
      "sh",
      "-c",
      script,
    ]);
    assert.equal(run.code, 0, run.stderr);
    await using runtime = await Runtime.open({ home });
    const box = await runtime.get("web");
    const follower = spawnHutch(home, ["logs", "-f", "web"]);
    const followed = follower.output();
    await until(
      async () => (await textOf(box.main?.logs() ?? box.logs())).startsWith("ready"),
      () => textOf(box.logs()),
    );
    const status = box.main?.status();
    const stop = await hutch(home, ["stop", "web"]);
    assert.deepEqual([stop.code, (await status)?.code], [0, 7], stop.stderr);
    const { status: state, exitCode, reason } = await box.info();
    assert.deepEqual([state, exitCode, reason], ["stopped", 7, null]);
    assert.match(new TextDecoder().decode((await followed).stdout), /^ready \d+\nbye\n$/);
    assert.equal((await hutch(home, ["wait", "web"])).stdout, "web stopped (7)\n");
    assert.match((await hutch(home, ["ps", "-a"])).stdout, /stopped \(7\)/);
    assert.equal((await box.main?.status())?.code, 7); // also when the box doesn't run

    // The next start runs it again; this time it ends by itself, and the box with it.
    await box.start({ detached: true });
    assert.equal((await box.info()).exitCode, null);
    await box.main?.kill("SIGKILL");
    const ended = await box.wait();
    assert.deepEqual([ended.status, ended.exitCode, ended.reason], [
      "stopped",
      137,
      "its main command ended with SIGKILL",
    ]);
    await box.remove();
    const missing = await hutch(home, [
      "run",
      "-d",
      "--name",
      "bad",
      ...WAIT,
      BOX.image,
      "no-such",
    ]);
    assert.deepEqual([missing.code, missing.stdout], [127, ""]);
    assert.match(missing.stderr, /stage main.*no such program/);
  }));

Deno.test(`Box restart policy on ${TEST_ENGINE} goes by the main command's exit code`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create({
      ...BOX,
      name: "again",
      main: [
        "sh",
        "-c",
        "n=$(cat /n 2>/dev/null || echo 0); echo run $n; echo $((n+1)) > /n; exit $((n < 1 ? 3 : 0))",
      ],
      restart: "on-failure:5",
    });
    await box.start();
    assert.equal(await textOf(box.logs({ source: "main", follow: "run" })), "run 0\nrun 1\n");
    const { status, exitCode, restarts } = await box.info();
    assert.deepEqual([status, exitCode, restarts], ["stopped", 0, 1]);
  }));

Deno.test(`Box init on ${TEST_ENGINE} gives the box to the image's init, which a stop asks to end`, () =>
  withRuntime(async (runtime, home) => {
    const folder = join(home, "conf");
    await Deno.mkdir(folder);
    await Deno.symlink("/bin/busybox", join(folder, "init")); // its kind shows by its program
    await Deno.writeTextFile(
      join(folder, "inittab"),
      [
        "::sysinit:/bin/echo ready",
        "::respawn:/bin/sleep 1000",
        "::shutdown:/bin/echo shutting down",
        "",
      ].join("\n"),
    );
    await using box = await runtime.create({
      ...BOX,
      name: "whole",
      init: "/conf/init",
      disk: "3g",
      volumes: [`${folder}:/conf:ro`, `${join(folder, "inittab")}:/etc/inittab:ro`],
    });
    await box.start();
    await until(
      async () => /ready/.test(await textOf(box.logs())),
      () => textOf(box.logs()),
    );
    assert.match(await box.sh`tr '\\0' ' ' < /proc/1/cmdline`.text(), /^init/);
    assert.equal(await box.sh`cat /proc/1/oom_score_adj`.text(), "0"); // it can be killed as others
    // It takes orphans in, and reaps them.
    const { stdout } = await box.sh`(sleep 0.1 &) ; sleep 0.5; ps -o stat | grep -c Z || true`;
    assert.equal(stdout, "0\n");
    const sizeMiB = () => box.sh`df -m / | tail -1 | awk '{print $2}'`.text();
    await until(async () => Number(await sizeMiB()) > 2_500, sizeMiB); // grown all the same
    await box.stop();
    const said = await textOf(box.logs({ source: "main" }));
    assert.match(said, /shutting down[^]*poweroff/);
    const { status, exitCode } = await box.info();
    assert.deepEqual([status, exitCode], ["stopped", 0]);
  }));
