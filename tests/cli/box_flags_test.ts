import assert from "node:assert/strict";
import { boxOptionsOf, commandOf } from "../../src/cli/box_flags.ts";

const lookup = () => undefined;

Deno.test("boxOptionsOf passes on what was given and nothing else", async () => {
  assert.deepEqual(await boxOptionsOf("x", {}, lookup), {
    image: "x",
    env: {},
    labels: {},
    autoRemove: false,
  });
  assert.deepEqual(
    await boxOptionsOf("x", {
      name: "n",
      cpus: 2,
      memory: 512,
      disk: 1024,
      env: ["A=1"],
      workdir: "/w",
      user: "u",
      entrypoint: "/bin/x y",
      hostname: "h",
      label: ["a=b"],
      engine: "qemu",
      bootTimeout: 5,
      rm: true,
      maxDuration: 6,
      idleTimeout: 7,
      allowNet: ["a.test,*.b.test:443", ""],
      denyNet: ["private"],
      secret: ["TOKEN:a.test,*.b.test"],
      logConnections: true,
    }, lookup),
    {
      image: "x",
      name: "n",
      cpus: 2,
      memory: 512,
      disk: 1024,
      env: { A: "1" },
      cwd: "/w",
      user: "u",
      entrypoint: ["/bin/x y"],
      hostname: "h",
      labels: { a: "b" },
      engine: "qemu",
      bootTimeoutMs: 5,
      autoRemove: true,
      maxDurationMs: 6,
      idleTimeoutMs: 7,
      allowNet: ["a.test", "*.b.test:443"],
      denyNet: ["private"],
      secrets: { TOKEN: { from: "env", hosts: ["a.test", "*.b.test"] } },
      logConnections: true,
    },
  );
});

Deno.test("boxOptionsOf gives a secret that is named several times the hosts of all", async () => {
  const secret = ["TOKEN:a.test", "KEY:c.test", "TOKEN:b.test,a.test", "TOKEN:*.d.test"];
  assert.deepEqual((await boxOptionsOf("x", { secret }, lookup)).secrets, {
    TOKEN: { from: "env", hosts: ["a.test", "b.test", "*.d.test"] },
    KEY: { from: "env", hosts: ["c.test"] },
  });
  // Also one that is good is no reason to let another pass.
  await assert.rejects(boxOptionsOf("x", { secret: ["TOKEN:a.test", "TOKEN"] }, lookup), {
    code: "invalid_option",
    message: /"TOKEN": it is no NAME:HOST/,
  });
});

Deno.test("boxOptionsOf gives the health command to a shell, and asks the agent without one", async () => {
  const whole = {
    healthCmd: "test -e /ok",
    healthInterval: 1,
    healthTimeout: 2,
    healthRetries: 4,
    healthStartPeriod: 0,
  };
  assert.deepEqual((await boxOptionsOf("x", whole, lookup)).health, {
    command: ["/bin/sh", "-c", "test -e /ok"],
    intervalMs: 1,
    timeoutMs: 2,
    retries: 4,
    startPeriodMs: 0,
  });
  assert.deepEqual((await boxOptionsOf("x", { healthRetries: 1 }, lookup)).health, { retries: 1 });
  await assert.rejects(boxOptionsOf("x", { healthCmd: " " }, lookup), { code: "invalid_option" });
});

Deno.test("boxOptionsOf refuses to restart a box that goes when it ends", async () => {
  const both = { rm: true, restart: "always" } as const;
  await assert.rejects(boxOptionsOf("x", both, lookup), /--rm with --restart/);
  const { restart } = await boxOptionsOf("x", { rm: true, restart: "no" }, lookup);
  assert.equal(restart, "no");
});

Deno.test("boxOptionsOf takes the entrypoint away when it is empty", async () => {
  assert.deepEqual((await boxOptionsOf("x", { entrypoint: "" }, lookup)).entrypoint, []);
});

Deno.test("commandOf joins entrypoint and words, or the image's command", () => {
  const table: [string[], string[], string[], string[]][] = [
    [[], ["sh"], [], ["sh"]],
    [[], ["sh"], ["ls", "-l"], ["ls", "-l"]],
    [["/ep"], ["a"], [], ["/ep", "a"]],
    [["/ep"], ["a"], ["b", ""], ["/ep", "b", ""]],
    [["/ep"], [], [], ["/ep"]],
    [[], [], [], []],
  ];
  for (const [entrypoint, command, words, expected] of table) {
    assert.deepEqual(commandOf({ entrypoint, command }, words), expected);
  }
});
