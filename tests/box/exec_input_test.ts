import assert from "node:assert/strict";
import type { Execution } from "../../src/box/execution.ts";
import { ShellCommand } from "../../src/box/sh.ts";
import { type ExecOptions, Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { HostBox } from "../support/host_process.ts";
import { until } from "../support/processes.ts";
import { rejects } from "../support/rejects.ts";
import { TempFolder } from "../support/temp.ts";

type Input = NonNullable<ExecOptions["stdin"]>;
const BOX = { image: "builtin:busybox", memory: 128, disk: 64, engine: "double", name: "one" };
const boom = new Error("boom");
const isBoom = (error: unknown) => error === boom;

/** Gives something, and breaks when it is asked for more. */
function breaking(first = "some\n"): ReadableStream<Uint8Array> {
  let given = false;
  return new ReadableStream({
    pull(controller) {
      if (given) controller.error(boom);
      else controller.enqueue(new TextEncoder().encode(first));
      given = true;
    },
  }, { highWaterMark: 0 });
}

function cat(stdin: Input): Execution {
  return new HostBox().exec("cat", [], { stdin });
}

/** Input of a program that keeps to no types. */
function untyped(value: unknown): Input {
  return JSON.parse("{}", () => value);
}

Deno.test("Execution fails with what its input's stream failed with, however it is read", async () => {
  const ways: readonly ((execution: Execution) => Promise<unknown>)[] = [
    (execution) => execution.then(),
    (execution) => execution.status,
    (execution) => Array.fromAsync(execution.lines()),
    (execution) => new Response(execution.stdout).text(),
    (execution) => new Response(execution.stderr).text(),
  ];
  for (const way of ways) {
    await using execution = cat(breaking());
    await assert.rejects(way(execution), isBoom);
  }
  const command = new ShellCommand("cat", (text, options) => {
    return new HostBox().exec("/bin/sh", ["-c", text], options);
  });
  await assert.rejects(command.stdin(breaking()).text(), isBoom);
});

Deno.test("Execution kills a command whose input broke, though it takes none", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stdin = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(new Uint8Array(2 ** 20)); // more than a pipe holds
      await promise;
      controller.error(boom);
    },
  });
  await using execution = new HostBox().exec("sleep", ["1000"], { stdin });
  const { pid } = await execution.started;
  resolve();
  await assert.rejects(execution.status, isBoom);
  await until(() => Promise.resolve(!isThere(pid)), () => Promise.resolve(`${pid} still runs`));
});

Deno.test("Execution refuses input that gives what isn't bytes, and lets go of it", async () => {
  let cancelled: unknown;
  const texts = new ReadableStream<unknown>({
    pull: (controller) => controller.enqueue("text"),
    cancel: (reason) => void (cancelled = reason),
  });
  const problem = /Cannot use a stream as stdin: it gave text where a Uint8Array/;
  await using execution = cat(untyped(texts));
  const failure: unknown = await execution.status.catch((error: unknown) => error);
  await rejects(Promise.reject(failure), "invalid_option", problem);
  assert.equal(cancelled, failure);
});

Deno.test("Execution refuses input that it can't read, before the command runs", async () => {
  const locked = new ReadableStream<Uint8Array>();
  const reader = locked.getReader();
  for (const execution of [cat(locked), new HostBox().exec("cat", [], { stdin: locked })]) {
    await rejects(execution.started, "invalid_option", /somebody else reads it/);
    await rejects(execution.then(), "invalid_option", /somebody else reads it/);
    await execution[Symbol.asyncDispose]();
  }
  reader.releaseLock();
  for (const bad of [new ArrayBuffer(2), 5, null, {}, [1]]) {
    await rejects(cat(untyped(bad)).then(), "invalid_option", /neither text, bytes nor a stream/);
  }
});

Deno.test("Execution gives a command all of a stream, and takes no more when it has ended", async () => {
  const bytes = [..."abc"].map((letter) => new TextEncoder().encode(letter));
  assert.equal((await cat(ReadableStream.from(bytes))).stdout, "abc");
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
    cancel: () => void (cancelled = true),
  });
  const { code, stdout } = await new HostBox().exec("head", ["-c", "3"], { stdin: endless });
  assert.deepEqual([code, stdout], [0, "\0\0\0"]);
  await until(() => Promise.resolve(cancelled), () => Promise.resolve("it isn't let go of"));
  // One that says nothing is let go of too.
  let idle = false;
  const silent = new ReadableStream<Uint8Array>({ cancel: () => void (idle = true) });
  assert.equal((await new HostBox().exec("true", [], { stdin: silent })).code, 0);
  await until(() => Promise.resolve(idle), () => Promise.resolve("it isn't let go of"));
});

Deno.test("Box.exec kills what runs detached when its input breaks; who joined it only lets go", async () => {
  await using home = new TempFolder();
  const plugins = [engineDouble({ overlay: true })];
  await using runtime = await Runtime.open({ home: home.path, plugins });
  await using box = await runtime.create(BOX);
  const other = box.exec("stubborn", [], { detached: true, stdin: "piped" });
  const { id = "" } = other;
  await other.started;
  await assert.rejects(box.execution(id).attach({ stdin: breaking() }).status, isBoom);
  await assert.rejects(
    box.exec("stubborn", [], { detached: true, stdin: breaking() }).status,
    isBoom,
  );
  const ends = async () => (await box.executions()).map(({ status }) => status?.signal);
  const isKilled = async () => (await ends())[1] !== undefined;
  await until(isKilled, async () => `it still runs: ${JSON.stringify(await ends())}`);
  assert.deepEqual(await ends(), [undefined, "SIGKILL"]);
  assert.equal((await box.exec("echo", ["on"])).stdout, "on\n");
});

function isThere(pid: number): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return true;
  } catch {
    return false;
  }
}
