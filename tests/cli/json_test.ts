import assert from "node:assert/strict";
import { join } from "node:path";
import type { Command } from "../../src/deps.ts";
import type { CommandEntry, CommandModule } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { main } from "../../src/cli/main.ts";
import { buildProgram } from "../../src/cli/program.ts";
import "../support/native.ts";
import { makeDoubleHome } from "../doubles/home.ts";
import { assertShapes, type Printed } from "../support/json_shapes.ts";
import { UploadRegistry } from "../support/upload_registry.ts";
import { memoryIo } from "./helpers.ts";

/** Commands that print nothing but JSON, without the option. */
const ALWAYS = ["image inspect", "inspect", "volume inspect"];
/** Those that are another command's names, or further shapes of one. */
const SAME: Readonly<Record<string, string>> = {
  "rmi": "image rm",
  "image ls": "images",
  "image pull": "pull",
  "image push": "push",
};

/** The names of all commands that have `--json`. */
async function commandsWithJson(): Promise<string[]> {
  const loaded = new Map<CommandEntry, CommandModule>();
  const load = async (entries: readonly CommandEntry[]): Promise<void> => {
    for (const entry of entries) {
      const module = await entry.load?.();
      if (module) loaded.set(entry, module);
      await load(entry.commands ?? []);
    }
  };
  await load(COMMANDS);
  const { program } = await buildProgram(loaded);
  const walk = (command: Command, name: string): string[] => [
    ...command.options.some(({ long }) => long === "--json") ? [SAME[name] ?? name] : [],
    ...command.commands.flatMap((each) => walk(each, `${name} ${each.name()}`.trim())),
  ];
  return [...new Set(walk(program, ""))].sort();
}

Deno.test("JsonOutput has each command with --json, and no other", async () => {
  const source = await Deno.readTextFile(new URL("../../src/cli/json.ts", import.meta.url));
  const [, body = ""] = /^export interface JsonOutput \{\n(.*?)^\}/ms.exec(source) ?? [];
  const keys = [...body.matchAll(/^ {2}readonly "([^"]+)":/gm)].map(([, key = ""]) => key);
  assert.deepEqual(keys, keys.toSorted());
  const commands = new Set(keys.map((key) => key.replace(/ \(line\)$| --repair$/, "")));
  assert.deepEqual(
    [...commands].filter((name) => !ALWAYS.includes(name)),
    await commandsWithJson(),
  );
});

Deno.test("commands that need no machine print what JsonOutput says", async () => {
  const home = await makeDoubleHome();
  await using registry = new UploadRegistry();
  const printed: Printed[] = [];
  const hutch = async (...args: string[]) => {
    const io = memoryIo();
    const code = await main(["--home", home, "--no-config", ...args], io);
    return { code, stdout: io.stdout.text, stderr: io.stderr.text };
  };
  const json = async (name: string, ...args: string[]) => {
    const { stdout, stderr } = await hutch(...args);
    assert.ok(stdout !== "", `${args.join(" ")}: ${stderr}`);
    printed.push({ name, text: stdout });
  };
  const file = join(home, "file");
  try {
    await json(
      "create",
      "create",
      "--json",
      "--name",
      "web",
      "-l",
      "a=b",
      "-v",
      "data:/data",
      "builtin:busybox",
    );
    await json("rename", "rename", "--json", "web", "www");
    await json("ls", "ls", "-a", "--json");
    await json("inspect", "inspect", "www");
    await json("inspect", "inspect", "www", "www");
    await json("snapshot create", "snapshot", "create", "--json", "www", "first");
    await json("snapshot ls", "snapshot", "ls", "--json", "www");
    await json("snapshot diff", "snapshot", "diff", "--json", "www", "first");
    await json("snapshot restore", "snapshot", "restore", "--json", "www", "first");
    await json("snapshot rm", "snapshot", "rm", "--json", "www", "first");
    await json("clone", "clone", "--json", "www", "copy");
    await json("commit", "commit", "--json", "www", "team/app:1");
    await json("image history", "image", "history", "--json", "team/app:1");
    await json("image inspect", "image", "inspect", "team/app:1");
    await json("push", "push", "--json", "team/app:1", `${registry.host}/app:1`);
    await hutch("image", "save", "-o", file, "team/app:1");
    await json("image rm", "rmi", "--json", "team/app:1");
    await json("image load", "image", "load", "--json", "-i", file);
    await json("image prune", "image", "prune", "--json");
    await json("images", "images", "--json");
    await json("pull", "pull", "--json", "builtin:busybox");
    await Deno.remove(file);
    await hutch("export", "-o", file, "copy");
    await json("import", "import", "--json", "--name", "back", file);
    await json("volume create", "volume", "create", "--json", "--size", "64m", "other");
    await json("volume ls", "volume", "ls", "--json");
    await json("volume inspect", "volume", "inspect", "data", "other");
    await json("volume rm", "volume", "rm", "--json", "other", "nope");
    await json("volume prune", "volume", "prune", "--json");
    await json("stats", "stats", "-a", "--json");
    await json("events (line)", "events", "--no-follow", "--json");
    await json("doctor", "doctor", "--json");
    await json("doctor --repair", "doctor", "--repair", "--json");
    await json("version", "version", "--json");
    await assertShapes(printed);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
