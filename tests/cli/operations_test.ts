/** Commands that need a home and the machine's busybox, but no virtual machine. */
import assert from "node:assert/strict";
import { main } from "../../src/cli/main.ts";
import { TempFolder } from "../support/temp.ts";
import { memoryIo } from "./helpers.ts";

type HutchIn = (...args: string[]) => Promise<{ code: number; stdout: string; stderr: string }>;

async function withHome(test: (hutch: HutchIn) => Promise<void>): Promise<void> {
  await using folder = new TempFolder();
  await test(async (...args) => {
    const io = memoryIo();
    const code = await main(["--home", folder.path, ...args], io);
    return { code, stdout: io.stdout.text, stderr: io.stderr.text };
  });
}

async function inspect(hutch: HutchIn, name: string): Promise<Record<string, unknown>> {
  return JSON.parse((await hutch("inspect", name)).stdout).config;
}

const IMAGE = "builtin:busybox";

Deno.test("hutch pause and resume say what would help where a box doesn't run", () =>
  withHome(async (hutch) => {
    await hutch("create", "--name", "web", IMAGE);
    for (const command of ["pause", "resume"]) {
      assert.deepEqual(await hutch(command, "web"), {
        code: 125,
        stdout: "",
        stderr:
          `hutch: Cannot ${command} box "web": it is configured; start it first (hutch start web)\n`,
      });
    }
  }));

Deno.test("hutch rename gives a box another name, and refuses bad and taken ones", () =>
  withHome(async (hutch) => {
    await hutch("create", "--name", "web", IMAGE);
    await hutch("create", "--name", "other", IMAGE);
    assert.deepEqual(await hutch("rename", "web", "shop"), {
      code: 0,
      stdout: "shop\n",
      stderr: "",
    });
    assert.match((await hutch("rename", "web", "x")).stderr, /Cannot find box "web"/);
    assert.match((await hutch("rename", "shop", "a b")).stderr, /Cannot name a box "a b"/);
    assert.deepEqual(await hutch("rename", "shop", "other"), {
      code: 125,
      stdout: "",
      stderr: 'hutch: Cannot rename box "shop" to "other": the name is taken; ' +
        "choose another name, or remove that box (hutch rm other)\n",
    });
    const { name, hostname, version } = await inspect(hutch, "shop");
    assert.deepEqual([name, hostname, version], ["shop", "web", 2]);
  }));

Deno.test("hutch update changes labels and limits, and nothing else", () =>
  withHome(async (hutch) => {
    await hutch("create", "--name", "web", "-l", "a=1", "-l", "b=2", "--max-duration", "1m", IMAGE);
    const before = await inspect(hutch, "web");
    const changes = ["-m", "1g", "-l", "c=3", "--label-rm", "a", "--max-duration", "0"];
    assert.equal((await hutch("update", ...changes, "--restart", "always", "web")).code, 0);
    assert.equal((await hutch("update", "--health-retries", "5", "web")).code, 0);
    const after = await inspect(hutch, "web");
    const { health } = after;
    assert.deepEqual(after, {
      ...before,
      version: 3,
      memoryMiB: 1024,
      labels: { b: "2", c: "3" },
      maxDurationMs: null,
      restart: "always",
      health,
    });
    assert.equal(Object(health).retries, 5);
    assert.equal((await hutch("update", "--no-health", "web")).code, 0);
    assert.equal((await inspect(hutch, "web")).health, null);
    assert.match((await hutch("update", "web")).stderr, /Cannot update: no option says what/);
    assert.match((await hutch("update", "--cpus", "0", "web")).stderr, /Cannot give a box 0 CPUs/);
    assert.match(
      (await hutch("update", "-l", "hutch.x=1", "web")).stderr,
      /Cannot set label "hutch.x"/,
    );
    assert.equal((await inspect(hutch, "web")).version, 4);
  }));

Deno.test("hutch wait prints at once how boxes are that don't run", () =>
  withHome(async (hutch) => {
    await hutch("create", "--name", "web", IMAGE);
    const { code, stdout, stderr } = await hutch("wait", "web", "nope");
    assert.deepEqual([code, stdout], [125, "web configured\n"]);
    assert.match(stderr, /Cannot find box "nope"/);
  }));

Deno.test("hutch create --replace removes the box that has the name", () =>
  withHome(async (hutch) => {
    const first = await hutch("create", "--name", "web", IMAGE);
    assert.match(
      (await hutch("create", "--name", "web", IMAGE)).stderr,
      /replace it \(--replace\)/,
    );
    const second = await hutch("create", "--name", "web", "--replace", IMAGE);
    assert.equal(second.code, 0, second.stderr);
    assert.notEqual(first.stdout, second.stdout);
    assert.equal((await hutch("ls", "-aq")).stdout, second.stdout);
    assert.match((await hutch("create", "--replace", IMAGE)).stderr, /no name is given; name the/);
    assert.equal((await hutch("create", "--replace", "--name", "new", IMAGE)).code, 0);
  }));
