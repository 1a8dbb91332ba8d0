import assert from "node:assert/strict";
import { complete, type NameSource } from "../../src/cli/completer.ts";

const homes: (string | undefined)[] = [];
const names: NameSource = {
  boxes(home) {
    homes.push(home);
    return Promise.resolve([
      { value: "web", description: "running" },
      { value: "worker", description: "stopped" },
      { value: "odd name", description: "" },
      { value: "x\x1b[2J", description: "" },
    ]);
  },
  images: () =>
    Promise.resolve([
      { value: "debian:12", description: "" },
      { value: "builtin:busybox", description: "" },
    ]),
  snapshots: (_home, box) => Promise.resolve([{ value: `of-${box}`, description: "" }]),
};

Deno.test("complete knows what can come next", async () => {
  const table: [string[], string[]][] = [
    [["ru"], ["run"]],
    [["--de"], ["--debug"]],
    [["--debug", "ver"], ["version"]],
    [["--home", "/x", "ins"], ["inspect"]],
    [["--home=/x", "ins"], ["inspect"]],
    [["help", "co"], ["commit", "completion"]],
    [["completions", "z"], ["zsh"]],
    [["run", "--en"], ["--env", "--env-file", "--entrypoint", "--engine"].sort()],
    [["run", "--engine", ""], ["auto", "libkrun", "qemu"]],
    [["run", "--engine", "q"], ["qemu"]],
    [["run", "--engine=q"], ["--engine=qemu"]],
    [["run", "--name", ""], []],
    [["run", "-"], ["--boot-timeout", "--cpus", "-m", "--rm"]],
    [["run", "de"], ["debian:12"]],
    [["run", "--rm", "-m", "1g", "de"], ["debian:12"]],
    [["run", "-ie", "A=1", "de"], ["debian:12"]],
    [["run", "-eA=1", "de"], ["debian:12"]],
    [["run", "-e", "de"], []],
    [["run", "debian:12", "de"], []],
    [["run", "debian:12", "--rm", "--na"], []],
    [["exec", "w"], ["web", "worker"]],
    [["snapshot", "restore", "web", ""], ["of-web"]],
    [["snapshot", "rm", "web", "of-web", ""], []],
    [["cp", "-a", "file", "w"], ["web:", "worker:"]],
    [["exec", "-i", "--", "w"], ["web", "worker"]],
    [["exec", "--", "-"], []],
    [["exec", "web", "w"], []],
    [["ps", "--js"], ["--json"]],
    [["rm", "web", "w"], ["worker"]],
    [["rm", "-f", "w"], ["web", "worker"]],
    [["stop", "-t", "1", "wo"], ["worker"]],
    [["pull", "bui"], ["builtin:busybox"]],
    [["rmi", "-f", "bui"], ["builtin:busybox"]],
    [["image", "hi"], ["history"]],
    [["image", "rm", "debian:12", ""], ["builtin:busybox"]],
    [["image", "--home", "/x", "inspect", "de"], ["debian:12"]],
    [["image", "save", "--format", ""], ["docker-archive", "oci"]],
    [["image", "nope", ""], []],
    [["run", "--pull", "n"], ["never", "newer"]],
    [["run", "--pull=n"], ["--pull=never", "--pull=newer"]],
    [["pull", "a", "bui"], []],
    [["completion", ""], ["bash", "fish", "zsh"]],
    [["nope", ""], []],
    [["__complete", "r"], []],
    [["version", ""], []],
  ];
  for (const [words, expected] of table) {
    const found = (await complete(words, names)).candidates.map(({ value }) => value);
    const all = words.at(-1) === "-" && expected.length > 0;
    if (all) assert(expected.every((value) => found.includes(value)), found.join(" "));
    else assert.deepEqual(found.toSorted(), expected, words.join(" "));
  }
});

Deno.test("complete offers every command but the hidden ones, each with its summary", async () => {
  const { candidates } = await complete([""], names);
  const values = candidates.map(({ value }) => value);
  assert(values.includes("run") && values.includes("help"));
  assert(!values.includes("__complete"));
  assert(candidates.every(({ description }) => description !== ""));
});

Deno.test("complete leaves paths to the shell", async () => {
  const table: [string[], "files" | "folders" | undefined][] = [
    [["run", "--env-file", "x"], "files"],
    [["run", "--env-file=x"], "files"],
    [["--home", ""], "folders"],
    [["ls", "--home="], "folders"],
    [["run", "-w", "/"], undefined],
  ];
  for (const [words, paths] of table) {
    assert.equal((await complete(words, names)).paths, paths, words.join(" "));
  }
});

Deno.test("complete asks the home that the words name", async () => {
  for (
    const words of [
      ["--home", "/h", "rm", ""],
      ["--home=/h", "rm", ""],
      ["rm", "--home", "/h", ""],
    ]
  ) {
    homes.length = 0;
    await complete(words, names);
    assert.deepEqual(homes, ["/h"]);
  }
});
