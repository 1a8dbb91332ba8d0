import assert from "node:assert/strict";
import { BoxProcess, type SpawnOptions, spawnPlan } from "../../src/box/exec_spawn.ts";
import { HutchError } from "../../src/errors.ts";
import { HostBox } from "../support/host_process.ts";

type Spawn = (command: string, options: Deno.CommandOptions) => Promise<Deno.ChildProcess>;

/** Compiling it is the test: Deno's options are ours, and what we give is Deno's. */
function spawnHere(command: string, options: Deno.CommandOptions): Promise<Deno.ChildProcess> {
  const ours: SpawnOptions = options;
  return start(command, ours);
}

function start(command: string, options: SpawnOptions): Promise<BoxProcess> {
  const plan = spawnPlan(command, options, "");
  return BoxProcess.start(
    (signal) => new HostBox().exec(plan.command, plan.args, { ...plan.options, signal }),
    options,
  );
}

function spawnByDeno(command: string, options: Deno.CommandOptions): Promise<Deno.ChildProcess> {
  const quiet = {
    stdin: "null",
    clearEnv: true,
    env: { PATH: "/bin:/usr/bin" },
    cwd: "/",
  } as const;
  return Promise.resolve(new Deno.Command(command, { ...quiet, ...options }).spawn());
}

const piped = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
function sh(script: string, options: Deno.CommandOptions = piped): Deno.CommandOptions {
  return { ...options, args: ["-c", script] };
}

/** What a program does with a process; its answer is to be the same for Deno's and for ours. */
const scenarios: Readonly<Record<string, (spawn: Spawn) => Promise<unknown>>> = {
  async "output() collects both streams"(spawn) {
    const child = await spawn("sh", sh("echo out; echo err >&2; exit 3"));
    await child.stdin.close();
    const { stdout, stderr, ...status } = await child.output();
    return [new TextDecoder().decode(stdout), new TextDecoder().decode(stderr), status];
  },
  async "status names the signal"(spawn) {
    const child = await spawn("sh", sh("echo up; exec sleep 1000", { stdout: "piped" }));
    const reader = child.stdout.getReader();
    await reader.read();
    const isPid = child.pid > 0;
    child.kill("SIGINT");
    const status = await child.status;
    await reader.cancel();
    return [isPid, status, thrown(() => child.kill())];
  },
  async "kill() takes numbers, and 0"(spawn) {
    const child = await spawn("sleep", { args: ["1000"], stdout: "null", stderr: "null" });
    child.kill(0);
    child.kill(9);
    return await child.status;
  },
  async "stdin reaches stdout"(spawn) {
    const child = await spawn("cat", { stdin: "piped", stdout: "piped" });
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode('{"a":'));
    await writer.write(new TextEncoder().encode("[1]}"));
    await writer.close();
    return [await child.stdout.json(), await child.status];
  },
  async "writing to a command that ended fails"(spawn) {
    const child = await spawn("true", { stdin: "piped", stdout: "null", stderr: "null" });
    const status = await child.status;
    const writer = child.stdin.getWriter();
    const write = () => writer.write(new Uint8Array(1)).then(String, (error: Error) => error.name);
    return [status, await write(), await write()];
  },
  async "streams read as a whole"(spawn) {
    const text = await spawn("sh", sh("printf é", { stdout: "piped" }));
    const bytes = await spawn("sh", sh("printf '\\377'", { stdout: "piped" }));
    const buffer = await spawn("sh", sh("printf ab >&2", { stderr: "piped" }));
    return [
      await text.stdout.text(),
      await bytes.stdout.bytes(),
      new Uint8Array(await buffer.stderr.arrayBuffer()),
      ...await Promise.all([text.status, bytes.status, buffer.status]),
    ];
  },
  async "streams that aren't piped throw"(spawn) {
    const child = await spawn("true", { stdout: "null", stderr: "null" });
    const errors = [() => child.stdin, () => child.stdout, () => child.stderr].map(thrown);
    const status = await child.status;
    child.ref();
    child.unref();
    return [errors, status];
  },
  async "an AbortSignal sends TERM"(spawn) {
    const controller = new AbortController();
    const { signal } = controller;
    const child = await spawn("sh", sh("exec sleep 1000", { stdout: "null", signal }));
    controller.abort();
    return await child.status;
  },
  async "disposal ends it"(spawn) {
    let status: Promise<Deno.CommandStatus>;
    {
      await using child = await spawn("sleep", { args: ["1000"], stdout: "null", stderr: "null" });
      status = child.status;
    }
    return await status;
  },
  async "environment and folder"(spawn) {
    const options = { env: { A: "1" }, cwd: new URL("file:///usr"), stdout: "piped" } as const;
    const child = await spawn("sh", { ...options, args: ["-c", "echo $A $PWD"] });
    const answer = await child.stdout.text();
    await child.status;
    return answer;
  },
};

for (const [name, scenario] of Object.entries(scenarios)) {
  Deno.test(`BoxProcess is as Deno.ChildProcess: ${name}`, async () => {
    // Deno's objects have no prototype.
    const theirs = structuredClone(await scenario(spawnByDeno));
    assert.deepEqual(structuredClone(await scenario(spawnHere)), theirs);
  });
}

Deno.test("BoxProcess has every member of Deno.ChildProcess", async () => {
  const options = { stdout: "null", stderr: "null" } as const;
  await using ours = await start("true", { ...piped });
  await using theirs = new Deno.Command("true", { ...options, stdin: "null" }).spawn();
  const members = Object.getOwnPropertyNames(Object.getPrototypeOf(theirs));
  assert(members.length > 5);
  for (const member of [...members, "pid", "status"]) assert(member in ours, member);
  await ours.stdin.close();
});

Deno.test("BoxProcess.start rejects when the command can't run or was given up", async () => {
  await assert.rejects(start("/no/such", {}));
  const controller = new AbortController();
  controller.abort(new Error("enough"));
  await assert.rejects(start("true", { signal: controller.signal }), /enough/);
});

Deno.test("spawnPlan makes a command as Box.exec takes it", () => {
  const plan = (options: SpawnOptions) => spawnPlan("x", options, "web:www").options;
  assert.deepEqual(plan({}), { stdin: "null" });
  assert.deepEqual(plan({ uid: 5 }), { stdin: "null", user: "5" });
  assert.deepEqual(plan({ uid: 0, gid: 7 }), { stdin: "null", user: "0:7" });
  assert.deepEqual(plan({ gid: 7 }), { stdin: "null", user: "web:7" });
  assert.deepEqual(plan({ user: "a", stdin: "inherit" }), { stdin: "piped", user: "a" });
  assert.deepEqual(plan({ timeoutMs: 5, env: { A: "" }, clearEnv: true }), {
    ...{ stdin: "null", timeoutMs: 5, env: { A: "" }, clearEnv: true },
  });
  assert.equal(spawnPlan(new URL("file:///bin/a%20b"), {}, "").command, "/bin/a b");
  for (const bad of [{ uid: -1 }, { gid: 1.5 }, { uid: 2 ** 32 - 1 }, { uid: 1, user: "a" }]) {
    assert.throws(() => plan(bad), HutchError);
  }
});

function thrown(run: () => unknown): string {
  try {
    run();
    return "nothing";
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : "something";
  }
}
