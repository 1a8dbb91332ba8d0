import assert from "node:assert/strict";
import { type Box, definePlugin, HutchError, Runtime } from "../../mod.ts";
import {
  BOX,
  hutch,
  processesOf,
  RUN,
  TEST_ENGINE,
  until,
  withHome,
  withRuntime,
} from "./support.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";

const on = `on ${TEST_ENGINE}`;
/** Counts in a file of the box, ten times a second. */
const COUNT = "n=0; while :; do n=$((n + 1)); echo $n > /count; sleep 0.1; done";

Deno.test(`Box.create records alone, and each operation does what the table says ${on}`, () =>
  withRuntime(async (runtime) => {
    const box = await runtime.create({ ...BOX, name: "life" });
    assert.equal((await box.info()).status, "configured");
    await refused(box.pause(), /Cannot pause box "life": it is configured/, /hutch start life/);
    await refused(box.resume(), /Cannot resume box "life": it is configured/);
    await box.stop();
    await box.kill();
    assert.equal((await box.info()).status, "configured", "nothing happened");
    await box.start();
    await box.start();
    await box.resume();
    const first = await box.info();
    assert.equal(first.status, "running");
    await box.exec("touch", ["/kept"]);
    await refused(box.remove(), /Cannot remove box "life": it is running/, /hutch rm -f life/);
    await refused(box.update({ memory: 256 }), /Cannot change memory of box "life": it is running/);
    await box.restart({ timeoutMs: 0 });
    const second = await box.info();
    assert.equal(second.status, "running");
    assert.notEqual(second.pid, first.pid);
    assert.equal((await box.exec("ls", ["/kept"])).code, 0, "a restart keeps the disk");
    await box.kill();
    const killed = await box.info();
    assert.deepEqual([killed.status, killed.reason, killed.pid], [
      "stopped",
      "it was killed",
      null,
    ]);
    await refused(box.pause(), /it is stopped/, /hutch start life/);
    await box.update({ memory: 192, labels: { a: "1", b: "2" } });
    await box.update({ labels: { a: null }, maxDurationMs: 60_000 });
    await box.rename("other");
    assert.equal(box.name, "other");
    assert.deepEqual(box.config.labels, { b: "2" });
    assert.equal(box.config.version, 4);
    assert.equal((await box.exec("sh", ["-c", "hostname"])).stdout, "life\n");
    const kib = Number((await box.exec("awk", ["/MemTotal/{print $2}", "/proc/meminfo"])).stdout);
    assert.ok(kib > 128 * 1024, `${kib} KiB`);
    await assert.rejects(runtime.get("life"), { code: "box_not_found" });
    assert.equal(await runtime.get("other"), box);
    await box.remove({ force: true });
  }));

Deno.test(`Box.pause lets all stand still until Box.resume, from any program ${on}`, async () => {
  const events: string[] = [];
  const note = ({ type, name }: { readonly type: string; readonly name: string }) => {
    events.push(`${type} ${name}`);
  };
  const plugin = definePlugin({
    name: "notes",
    on: { "box.paused": note, "box.resumed": note },
  });
  await withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...BOX, name: "still" });
    await using counter = box.exec("sh", ["-c", COUNT]);
    await counter.started;
    assert.equal((await hutch(home, ["pause", "still"])).stdout, "still\n");
    assert.equal((await box.info()).status, "paused");
    await box.pause(); // is paused already
    await refused(box.start(), /Cannot start box "still": it is paused/, /hutch resume still/);
    await assert.rejects(async () => await box.exec("true"), {
      code: "box_state",
      message: 'Cannot run a command in box "still": it is paused',
    });
    const other = await hutch(home, ["exec", "still", "true"]);
    assert.match(other.stderr, /it is paused; resume it first/);
    const { stdout } = await hutch(home, ["ls"]);
    assert.match(stdout, /still .* paused/);
    assert.equal((await hutch(home, ["resume", "still"])).code, 0);
    assert.equal((await box.info()).status, "running");
    const before = await count(box);
    await until(async () => await count(box) > before, () => Promise.resolve("it doesn't go on"));
    await box.pause();
    await box.resume();
    await box.pause();
    await until(() => Promise.resolve(events.length === 3), () => Promise.resolve(String(events)));
    assert.deepEqual(events, ["box.paused still", "box.resumed still", "box.paused still"]);
    await box.stop();
    const info = await box.info();
    assert.deepEqual([info.status, info.reason], ["stopped", null], "it shut down by itself");
    await box.start();
    await box.pause();
    await box.kill();
    assert.deepEqual((await box.info()).reason, "it was killed");
    await box.start();
    await box.pause();
    await box.remove({ force: true });
  }, { plugins: [plugin] });
});

Deno.test(`a box that was paused half way ends as running or paused, truthfully ${on}`, () =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...BOX, name: "half" });
    await box.start();
    // The program that pauses is killed before the machine stands still, and after.
    for (const [pauses, status] of [["", "running"], ["pause", "paused"]] as const) {
      await dieIn(home, "pausing", pauses);
      assert.equal((await box.info()).status, status);
    }
    // The one that resumes, after the machine went on.
    await dieIn(home, "paused", "resume");
    assert.equal((await box.info()).status, "running");
    // The one that stops, when the machine was told to go on for that, and before.
    await box.pause();
    await dieIn(home, "stopping", "");
    assert.equal((await box.info()).status, "paused");
    await dieIn(home, "stopping", "resume");
    assert.equal((await box.info()).status, "running");
    assert.equal((await box.exec("echo", ["on"])).stdout, "on\n");
    await box.remove({ force: true });
  }));

Deno.test(`callers share one start, and it is cancelled when all of them have given up ${on}`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create({ ...BOX, name: "shared" });
    const [first, second, third] = [0, 1, 2].map(() => new AbortController());
    assert.ok(first && second && third);
    const asked = [
      box.start({ signal: first.signal }),
      box.start({ signal: second.signal }),
      box.exec("echo", ["here"], { signal: third.signal }).then(({ stdout }) => stdout),
    ] as const;
    first.abort(new Error("enough"));
    const given = { code: "cancelled", cause: new Error("enough") };
    await assert.rejects(asked[0], given);
    await asked[1];
    assert.equal(await asked[2], "here\n");
    await box.kill();
    const [fourth, fifth] = [new AbortController(), new AbortController()];
    const both = [box.start({ signal: fourth.signal }), box.start({ signal: fifth.signal })];
    await box.wait({ for: "starting" });
    fourth.abort(new Error("enough"));
    fifth.abort(new Error("enough"));
    for (const one of both) await assert.rejects(one, given);
    const info = await box.info();
    assert.equal(info.status, "failed");
    assert.ok(info.stage, "the stage it was in");
    assert.equal((await box.exec("echo", ["again"])).stdout, "again\n");
  }));

Deno.test(`Box.start keeps what is whole of a failed one, and its reason and stage ${on}`, async () => {
  let fail = false;
  const plugin = definePlugin({
    name: "fails",
    stages: {
      configure: {
        before() {
          if (fail) throw new Error("not today");
        },
      },
    },
  });
  await withRuntime(async (runtime) => {
    await using box = await runtime.create({ ...BOX, name: "fails" });
    await box.exec("sh", ["-c", "echo kept > /kept; sync"]);
    await box.stop();
    fail = true;
    await assert.rejects(box.start(), /not today/);
    const { status, stage, reason, pid } = await box.info();
    assert.deepEqual([status, stage, pid], ["failed", "configure", null]);
    assert.match(reason ?? "", /not today/);
    fail = false;
    assert.equal((await box.exec("cat", ["/kept"])).stdout, "kept\n");
    assert.equal((await box.info()).stage, null);
  }, { plugins: [plugin] });
});

Deno.test(`Runtime.create with replace ends and removes the box of that name ${on}`, () =>
  withRuntime(async (runtime, home) => {
    const old = await runtime.create({ ...BOX, name: "one" });
    await old.start();
    await assert.rejects(runtime.create({ ...BOX, name: "one" }), {
      code: "name_taken",
      message: 'Cannot create box "one": the name is taken',
    });
    await using box = await runtime.create({ ...BOX, name: "one", replace: { graceMs: 0 } });
    assert.notEqual(box.id, old.id);
    for (const operation of everyOperation(old)) {
      await assert.rejects(operation, { code: "box_not_found" });
    }
    assert.equal(
      (await hutch(home, [
        "run",
        "--rm",
        "--name",
        "one",
        "--replace",
        ...RUN,
        BOX.image,
        "echo",
        "new",
      ])).stdout,
      "new\n",
    );
    await assert.rejects(box.info(), { code: "box_not_found" });
    assert.deepEqual(await runtime.list({ all: true }), []);
  }));

Deno.test(`Box.wait waits for the end, or for a state ${on}`, () =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...BOX, name: "waits" });
    assert.equal((await box.wait()).status, "configured");
    const running = box.wait({ for: "running" });
    const cancelled = new AbortController();
    const never = box.wait({ for: "paused", signal: cancelled.signal });
    await box.start();
    assert.equal((await running).status, "running");
    cancelled.abort();
    await assert.rejects(never, { code: "cancelled" });
    const ended = hutch(home, ["wait", "waits"]);
    const gone = box.wait({ for: ["crashed", "stopped"] });
    const { pid } = await box.info();
    assert.ok(pid);
    Deno.kill(pid, "SIGKILL");
    assert.equal((await gone).status, "crashed");
    assert.equal((await ended).stdout, "waits crashed: its box process was killed\n");
    const removal = assert.rejects(box.wait({ for: "running" }), { code: "box_not_found" });
    await box.remove();
    await removal;
  }));

Deno.test(`Runtime.close lets no box slip through that is being made ${on}`, () =>
  withHome(async (home) => {
    const order: string[] = [];
    const reached = Promise.withResolvers<void>();
    const stopped = Promise.withResolvers<void>();
    const runtime = await Runtime.open({
      home,
      plugins: [definePlugin({
        name: "slow",
        operations: {
          create: {
            async wrap(input, next) {
              const box = await next(input);
              await box.start();
              reached.resolve();
              // A close that didn't wait would stop it now.
              const timer = setTimeout(stopped.resolve, 1000);
              await stopped.promise;
              clearTimeout(timer);
              order.push("made");
              return box;
            },
          },
          stop: {
            before() {
              order.push("stopped");
              stopped.resolve();
            },
          },
        },
      })],
    });
    const made = runtime.create(BOX);
    await reached.promise;
    const closed = runtime.close();
    await assert.rejects(runtime.create(BOX), { code: "cancelled" });
    await assert.rejects(runtime.get("x"), { code: "cancelled" });
    const box = await made;
    await closed;
    await runtime.close();
    assert.deepEqual(order, ["made", "stopped"]);
    await until(
      async () => (await processesOf(home)).length === 0,
      async () => JSON.stringify(await processesOf(home)),
    );
    await using again = await Runtime.open({ home });
    assert.deepEqual(await again.list({ all: true }), []);
    await assert.rejects(box.start());
  }));

Deno.test(`Box.stop tells of the end of a box that goes with it, and of what ran there ${on}`, () =>
  withRuntime(async (runtime) => {
    const box = await runtime.create({ ...BOX, autoRemove: true });
    {
      await using execution = box.exec("sleep", ["1000"], { detached: true });
      await execution.started;
    } // from here on nobody sees how it ends
    await box.stop({ timeoutMs: 0 });
    const told: unknown[] = [];
    for await (const event of runtime.events({ box: box.id, since: 0, follow: false })) {
      const { type } = event;
      if (type === "box.stopped") told.push([type, event.reason]);
      else if (type === "exec.exited") told.push([type, ...event.command]);
      else if (type === "box.removed") told.push([type]);
    }
    assert.deepEqual(told, [
      ["exec.exited", "sleep", "1000"],
      ["box.stopped", null],
      ["box.removed"],
    ]);
  }));

Deno.test(`Box.stop has removed all of a box that goes with it when it returns ${on}`, () =>
  withHome(async (home) => {
    await using runtime = await Runtime.open({ home });
    const box = await runtime.create({ ...BOX, autoRemove: true });
    await box.exec("true");
    const { pid } = await box.info();
    await box.stop();
    assert.throws(() => Deno.statSync(`/proc/${pid}`), Deno.errors.NotFound);
    await assertNoBoxLeft(home, [box.id]);
    const told: unknown[] = [];
    for await (const { type } of runtime.events({ box: box.id, since: 0, follow: false })) {
      told.push(type);
    }
    assert.deepEqual(told.slice(-2), ["box.stopped", "box.removed"]);
  }));

Deno.test(`Box.stop lets others read to the end what a box said that goes with it ${on}`, () =>
  withHome(async (home) => {
    await using runtime = await Runtime.open({ home });
    const box = await runtime.create({ ...BOX, autoRemove: true });
    await box.start();
    await using other = await Runtime.open({ home });
    await using seen = await other.get(box.id);
    const last = "trap 'seq 20000; exit' TERM; echo ready; while :; do sleep 0.05; done";
    await using execution = seen.exec("sh", ["-c", last]);
    const lines = execution.lines();
    assert.equal((await lines.next()).value, "ready");
    await box.stop();
    let count = 0;
    for await (const line of lines) assert.equal(line, String(++count));
    assert.equal(count, 20_000);
  }));

Deno.test(`Box.stop leaves hooks the whole disk of a box that goes after them ${on}`, () =>
  withHome(async (home) => {
    const keeper = definePlugin({
      name: "keeper",
      operations: {
        stop: {
          async wrap(input, next, { box }) {
            const info = await next(input);
            if (box?.config.labels.keep) await box.commit(box.config.labels.keep);
            return info;
          },
        },
      },
    });
    await using runtime = await Runtime.open({ home, plugins: [keeper] });
    const box = await runtime.create({ ...BOX, labels: { keep: "kept/it" }, autoRemove: true });
    await box.exec("sh", ["-c", "echo bye > /note"]);
    await box.stop();
    await assert.rejects(runtime.get(box.id), { code: "box_not_found" });
    await using other = await runtime.create({ ...BOX, image: "kept/it" });
    assert.equal((await other.exec("cat", ["/note"])).stdout, "bye\n");
  }));

Deno.test(`Box.detach lets a box live on, for another program to use and stop ${on}`, () =>
  withHome(async (home) => {
    {
      await using runtime = await Runtime.open({ home });
      const box = await runtime.create({ ...BOX, name: "lives" });
      await box.start();
      await box.detach();
    }
    await using runtime = await Runtime.open({ home });
    const box = await runtime.get("lives");
    assert.equal((await box.info()).status, "running");
    assert.equal((await box.exec("echo", ["here"])).stdout, "here\n");
    await box.stop();
    assert.equal((await box.info()).status, "stopped");
    await box.remove();
  }));

Deno.test(`Runtime.getOrCreate gives two programs that race the one box ${on}`, () =>
  withHome(async (home) => {
    const runtimes = await Promise.all([0, 1, 2].map(() => Runtime.open({ home })));
    const boxes = await Promise.all(
      runtimes.map((runtime) => runtime.getOrCreate({ ...BOX, name: "one" })),
    );
    assert.equal(new Set(boxes.map(({ id }) => id)).size, 1);
    for (const runtime of runtimes) await runtime.close();
    await using runtime = await Runtime.open({ home });
    const box = await runtime.getOrCreate({ ...BOX, name: "one", memory: 256 });
    assert.equal(box.config.memoryMiB, 128, "it is there, and stays as it is");
    await box.remove();
  }));

async function refused(
  operation: Promise<unknown>,
  message: RegExp,
  hint: RegExp = /./,
): Promise<void> {
  await assert.rejects(operation, (error: unknown) => {
    assert.ok(error instanceof HutchError);
    assert.equal(error.code, "box_state");
    assert.match(error.message, message);
    assert.match(error.hint ?? "", hint);
    return true;
  });
}

async function count(box: Box): Promise<number> {
  return Number((await box.exec("cat", ["/count"])).stdout);
}

function* everyOperation(box: Box): Generator<Promise<unknown>> {
  yield box.info();
  yield box.start();
  yield Promise.resolve(box.exec("true"));
  yield box.stop();
  yield box.kill();
  yield box.restart();
  yield box.pause();
  yield box.resume();
  yield box.wait();
  yield box.rename("new");
  yield box.update({ labels: { a: "1" } });
  yield box.update({ memory: 64 });
  yield box.detach();
  yield box.remove();
}

/** What a program does to the only box before it is killed: writes a state, works on the machine. */
async function dieIn(home: string, status: string, deed: string): Promise<void> {
  const victim = new URL("./pausing_victim.ts", import.meta.url).href;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", victim, status, deed],
    env: { HUTCH_HOME: home },
    stderr: "piped",
    stdout: "null",
  }).output();
  assert.equal(code, 137, new TextDecoder().decode(stderr));
}
