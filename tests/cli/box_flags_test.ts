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
    },
  );
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
