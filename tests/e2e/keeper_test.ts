import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Box,
  type BoxInfo,
  definePlugin,
  type EventOf,
  Runtime,
  StartError,
} from "../../mod.ts";
import {
  BOX,
  ENGINE,
  hutch,
  processesOf,
  RUN,
  TEST_ENGINE,
  until,
  withHome,
  withRuntime,
} from "./support.ts";

const on = `on ${TEST_ENGINE}`;
const everywhere = TEST_ENGINE === "qemu";
const VICTIM = fileURLToPath(new URL("./victim.ts", import.meta.url));

/** Waits until a box is as `so` says. */
async function untilBox(
  look: () => Promise<BoxInfo>,
  so: (info: BoxInfo) => boolean,
): Promise<BoxInfo> {
  await until(async () => so(await look()), async () => `it is ${JSON.stringify(await look())}`);
  return await look();
}

async function inspect(home: string, name: string): Promise<BoxInfo> {
  const { code, stdout, stderr } = await hutch(home, ["inspect", name]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

async function keepersOf(home: string): Promise<number[]> {
  return (await processesOf(home)).filter(({ command }) => command.includes("keeper_process.ts"))
    .map(({ pid }) => pid);
}

/** Kills the box process of a box that runs, and waits until another one does. */
async function killAndWait(look: () => Promise<BoxInfo>, restarts: number): Promise<BoxInfo> {
  const { pid } = await look();
  assert.ok(pid);
  Deno.kill(pid, "SIGKILL");
  return await untilBox(look, (info) => info.status === "running" && info.restarts === restarts);
}

/** Its keeper has nothing to do with it any more. */
async function untilUnkept(home: string, box: Box): Promise<void> {
  const lock = join(home, "boxes", box.id, "keeper.lock");
  await until(
    () => Deno.stat(lock).then(() => false, () => true),
    () => Promise.resolve("its keeper is still there"),
  );
}

Deno.test(`a box is restarted by its policy after a crash and its own reboot, not after stop ${on}`, () =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...BOX, name: "kept", restart: "always" });
    await box.start();
    const { config, restartedAt, restarts: before } = await killAndWait(() => box.info(), 1);
    assert.ok(Date.parse(restartedAt ?? "") >= Date.parse(config.createdAt));
    await Promise.allSettled([box.exec("sh", ["-c", "reboot -f; sleep 1000"])]);
    const again = (info: BoxInfo) => info.status === "running" && info.restarts === before + 1;
    await untilBox(() => box.info(), again);
    assert.equal((await box.exec("echo", ["again"])).stdout, "again\n");
    await box.stop();
    await untilUnkept(home, box);
    const { status, restarts } = await box.info();
    assert.deepEqual([status, restarts], ["stopped", before + 1]);
    await box.start();
    assert.equal((await box.info()).restarts, 0, "a start that was asked for counts anew");
    await box.kill();
    await untilUnkept(home, box);
    assert.equal((await box.info()).status, "stopped");
    await box.remove();
  }));

if (everywhere) {
  Deno.test(`a box whose restarts fail is given up, and its record says why ${on}`, async () => {
    let boots = 0;
    const plugin = definePlugin({
      name: "once",
      stages: {
        boot: {
          before: () => {
            if (boots++ > 0) throw new Error("no more machines");
          },
        },
      },
    });
    await withRuntime(async (runtime, home) => {
      await using box = await runtime.create({ ...BOX, name: "poor", restart: "on-failure:1" });
      await box.start();
      Deno.kill((await box.info()).pid ?? 0, "SIGKILL");
      await untilUnkept(home, box);
      const { status, reason, restarts } = await box.info();
      assert.deepEqual([status, restarts, boots], ["failed", 1, 2]);
      assert.match(reason ?? "", /no more machines.*restarted once.*on-failure:1 allows no more/s);
      await box.remove();
    }, { plugins: [plugin] });
  });
}

if (everywhere) {
  Deno.test(`a detached box outlives kill -9 of its program, its box process and its keeper ${on}`, () =>
    withHome(async (home) => {
      const { stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--quiet", VICTIM, "keep", "kept"],
        env: { HUTCH_HOME: home, VICTIM_ENGINE: ENGINE },
        stderr: "inherit",
      }).output();
      assert.equal(new TextDecoder().decode(stdout), "running\n");
      const look = () => inspect(home, "kept");
      await killAndWait(look, 1);

      const [keeper, another] = await keepersOf(home);
      assert.ok(keeper);
      assert.equal(another, undefined);
      const { pid } = await look();
      assert.ok(pid);
      Deno.kill(keeper, "SIGKILL");
      Deno.kill(pid, "SIGKILL");
      await until(
        async () => (await keepersOf(home)).length === 0,
        () => Promise.resolve("the keeper doesn't die"),
      );
      await Promise.all([hutch(home, ["ls", "-a"]), hutch(home, ["ls", "-a"])]);
      // The one that came too late is about to end.
      await until(
        async () => (await keepersOf(home)).length === 1,
        async () => `two programs made ${(await keepersOf(home)).length} keepers`,
      );
      await untilBox(look, (info) => info.status === "running" && info.restarts === 2);

      const repair = await hutch(home, ["doctor", "--repair"]);
      assert.equal(repair.code, 0, repair.stdout + repair.stderr);
      assert.deepEqual(await keepersOf(home), [], "a repair needs the home alone");
      assert.equal((await hutch(home, ["ls"])).code, 0);
      assert.equal((await keepersOf(home)).length, 1, "whoever opens it next makes another");

      const stopped = await hutch(home, ["stop", "kept"]);
      assert.equal(stopped.code, 0, stopped.stderr);
      await until(
        async () => (await processesOf(home)).length === 0,
        async () => `left: ${JSON.stringify(await processesOf(home))}`,
      );
      assert.equal((await look()).status, "stopped");
      assert.equal((await hutch(home, ["rm", "kept"])).code, 0);
    }));

  Deno.test(`a keeper process has the plugins of the program that started its box ${on}`, () =>
    withHome(async (home) => {
      const said = join(home, "said");
      const plugin = join(home, "tell.ts");
      await Deno.writeTextFile(
        plugin,
        `export default { name: "tell", on: { "box.started": () =>
          Deno.writeTextFile(${
          JSON.stringify(said)
        }, Deno.mainModule + "\\n", { append: true }) } };`,
      );
      const flags = ["--restart", "always", "--health-interval", "200ms", "--name", "told"];
      const run = await hutch(home, ["--plugin", plugin, "run", "-d", ...flags, ...RUN, BOX.image]);
      assert.equal(run.code, 0, run.stderr);
      const look = () => inspect(home, "told");
      await untilBox(look, (info) => info.health === "healthy");
      await killAndWait(look, 1);
      await until(
        async () => (await Deno.readTextFile(said)).includes("keeper_process.ts"),
        () => Deno.readTextFile(said),
      );
      // With force: its keeper must go with it.
      assert.equal((await hutch(home, ["rm", "-f", "told"])).code, 0);
    }));

  Deno.test(`a box that is detached while it runs gets a keeper process ${on}`, () =>
    withHome(async (home) => {
      {
        await using runtime = await Runtime.open({ home });
        const box = await runtime.create({ ...BOX, name: "left", restart: "always" });
        await box.start();
        assert.deepEqual(await keepersOf(home), [], "its program keeps it");
        await box.detach();
        assert.equal((await keepersOf(home)).length, 1);
        await killAndWait(() => box.info(), 1);
        // Its keeper sees a stop, and perhaps nothing of the start after it.
        await box.restart({ detached: true });
        await killAndWait(() => box.info(), 1);
        assert.equal((await keepersOf(home)).length, 1);
      }
      assert.equal((await inspect(home, "left")).status, "running");
      assert.equal((await hutch(home, ["rm", "-f", "left"])).code, 0);
    }));
}

Deno.test(`a box ends when it was idle, its health checks notwithstanding ${on}`, () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create({
      ...{ ...BOX, name: "idle", idleTimeoutMs: 1500 },
      health: { command: ["true"], intervalMs: 50 },
    });
    await box.exec("sleep", ["3"]); // not idle, though nothing passes
    assert.equal((await box.info()).status, "running");
    const { status, reason } = await box.wait();
    assert.deepEqual([status, reason], ["stopped", "it was idle for 1.5 s"]);
    await box.remove();
  }));

if (everywhere) {
  Deno.test(`a box isn't idle while its network carries something, a way there alone is nothing ${on}`, () =>
    withRuntime(async (runtime) => {
      const [gateway, port] = ["10.213.77.1", 7000];
      using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      // On a machine that is too busy for bytes to come in time, it gets more of it.
      for (let idleTimeoutMs = 2_500;; idleTimeoutMs *= 2) {
        await using box = await runtime.create({
          ...{ ...BOX, name: `idle${idleTimeoutMs}`, network: "open", idleTimeoutMs },
          ports: [`${port}`],
        });
        await box.exec("sh", [
          "-c",
          `exec <&- >/dev/null 2>&1
          nc ${gateway} ${server.addr.port} & nc -l -p ${port} &
          while arping -c 1 -w 1 ${gateway}; do sleep 0.1; done &`,
        ]);
        using from = await server.accept();
        const longest = await drip(from, 1.4 * idleTimeoutMs);
        const hostPort = box.ports[0]?.hostPort ?? 0;
        using into = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
        const gapMs = Math.max(longest, await drip(into, 1.4 * idleTimeoutMs));
        const { status } = await box.info();
        if (status !== "running") {
          assert.ok(gapMs > idleTimeoutMs / 2 && idleTimeoutMs < 100_000, status);
          await box.remove();
          continue;
        }
        // Its connections go on, and so does its noise.
        const ended = await box.wait();
        const reason = `it was idle for ${idleTimeoutMs / 1000} s`;
        assert.deepEqual([ended.status, ended.reason], ["stopped", reason]);
        await box.remove();
        break;
      }
    }));
}

/** Sends a byte now and then for so long, or until that fails; gives the longest time between two, in `ms`. */
async function drip(connection: Deno.Conn, ms: number): Promise<number> {
  let longest = 0;
  let at = performance.now();
  for (const until = at + ms; at < until;) {
    try {
      await connection.write(new Uint8Array(1));
    } catch {
      break; // the box has ended
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    longest = Math.max(longest, performance.now() - at);
    at = performance.now();
  }
  return longest;
}

if (everywhere) {
  Deno.test(`a box ends at its longest life, whatever runs in it, and isn't restarted ${on}`, () =>
    withRuntime(async (runtime, home) => {
      // A machine that is busy may boot for longer than it is to live: then it gets more time.
      for (let maxDurationMs = 3_000;; maxDurationMs *= 2) {
        await using box = await runtime.create({
          ...{ ...BOX, name: `old${maxDurationMs}`, restart: "always", maxDurationMs },
        });
        const early = await box.start().then(() => undefined, (error: unknown) => error);
        if (early !== undefined) {
          // Wherever its end met the start: the reason may not have come through.
          assert.ok(early instanceof StartError && maxDurationMs < 200_000, String(early));
          await box.remove();
          continue;
        }
        // It gets TERM, as from any shutdown; its end may be heard before the box's, or not.
        const [ended] = await Promise.allSettled([box.exec("sleep", ["1000"])]);
        if (ended.status === "fulfilled") assert.equal(ended.value.signal, "SIGTERM");
        await untilUnkept(home, box);
        const { status, reason, restarts } = await box.info();
        assert.deepEqual([status, restarts], ["stopped", 0]);
        assert.match(reason ?? "", /^its maximum duration of \d+ s ended$/);
        await box.remove();
        return;
      }
    }));

  Deno.test(`health checks tell that a box is ill, why, and that it is well again ${on}`, async () => {
    const events: EventOf<"box.health">[] = [];
    const plugin = definePlugin({
      name: "hear",
      on: { "box.health": (event) => void events.push(event) },
    });
    await withRuntime(async (runtime) => {
      await using box = await runtime.create({
        ...{ ...BOX, name: "patient" },
        health: {
          command: [
            "sh",
            "-c",
            "test -e /hang && sleep 7777; test -e /sick || exit 0; echo it hurts >&2; exit 3",
          ],
          ...{ intervalMs: 50, timeoutMs: 3000, retries: 2, startPeriodMs: 0 },
        },
      });
      await box.start();
      const become = (health: string) =>
        untilBox(() => box.info(), (info) => info.health === health);
      await become("healthy");
      await box.exec("touch", ["/sick"]);
      await become("unhealthy");
      await box.exec("rm", ["/sick"]);
      await become("healthy");
      await box.exec("touch", ["/hang"]);
      await become("unhealthy");
      await box.exec("rm", ["/hang"]);
      await become("healthy");
      const { stdout } = await box.exec("sh", ["-c", "ps | grep -c '[s]leep 7777'"]);
      assert.equal(stdout, "0\n", "a check that hung was killed");
      await until(
        () => Promise.resolve(events.length >= 5),
        () => Promise.resolve(JSON.stringify(events)),
      );
      assert.deepEqual(events.map(({ health, failures }) => [health, failures]), [
        ["healthy", 0],
        ["unhealthy", 2],
        ["healthy", 0],
        ["unhealthy", 2],
        ["healthy", 0],
      ]);
      assert.equal(events[1]?.message, "it ended with code 3: it hurts");
      assert.equal(events[3]?.message, "it did not end within 3000 ms");
      await box.stop();
      assert.equal((await box.info()).health, "none");
      await box.remove();
    }, { plugins: [plugin] });
  });
}
