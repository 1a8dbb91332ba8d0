import assert from "node:assert/strict";
import { join } from "node:path";
import { SCRIPTS } from "../../src/cli/completion_scripts.ts";

/** A `hutch` that answers a script as `hutch __complete` would, and shows what it was asked. */
const FAKE = `#!/bin/sh
printf '%s\\n' "$@" > "$ASKED"
printf '%b' "$ANSWER"
`;

interface Shell {
  readonly folder: string;
  run(program: string, args: readonly string[], answer?: string): Promise<string>;
  asked(): Promise<string[]>;
}

async function withShell(name: string, test: (shell: Shell) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "script"), SCRIPTS.get(name) ?? "");
    await Deno.writeTextFile(join(folder, "hutch"), FAKE, { mode: 0o755 });
    await Deno.writeTextFile(join(folder, "some.env"), "");
    await Deno.mkdir(join(folder, "some.folder"));
    const env = {
      PATH: `${folder}:${Deno.env.get("PATH")}`,
      ASKED: join(folder, "asked"),
      HOME: folder,
    };
    await test({
      folder,
      async run(program, args, answer = "") {
        const command = new Deno.Command(program, {
          args: [...args],
          cwd: folder,
          env: { ...env, ANSWER: answer },
        });
        const { code, stdout, stderr } = await command.output();
        const decoder = new TextDecoder();
        assert.equal(code, 0, decoder.decode(stderr));
        assert.equal(decoder.decode(stderr), "");
        return decoder.decode(stdout);
      },
      async asked() {
        return (await Deno.readTextFile(join(folder, "asked"))).split("\n").slice(0, -1);
      },
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function has(program: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => {
    try {
      return Deno.statSync(join(folder, program)).isFile;
    } catch {
      return false;
    }
  });
}

/** Runs the completion function as bash does, with the words as bash splits them. */
function bashCompletion(words: readonly string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(" ");
  return [
    "--norc",
    "-c",
    `source ./script && complete -p hutch >/dev/null && COMP_WORDS=(${quoted}) ` +
    `COMP_CWORD=${words.length - 1} && _hutch 2>&1 && printf '%s\\n' "\${COMPREPLY[@]}"`,
  ];
}

Deno.test("the bash script parses and registers itself", () =>
  withShell("bash", async ({ run }) => {
    await run("bash", ["-n", "script"]);
    const said = await run("bash", ["--norc", "-c", "source ./script; complete -p hutch"]);
    assert.equal(said, "complete -F _hutch hutch\n");
  }));

Deno.test("the bash script asks for the words joined again, and cuts what bash keeps", () =>
  withShell("bash", async ({ run, asked }) => {
    const table: [string[], string, string[], string][] = [
      [["hutch", "r"], "run\\tRun it\\nrm\\n", ["r"], "run\nrm\n"],
      [["hutch", "run", ""], "a\\n", ["run", ""], "a\n"],
      [["hutch"], "", [], "\n"],
      [
        ["hutch", "run", "--engine", "=", "q"],
        "--engine=qemu\\n",
        ["run", "--engine=q"],
        "qemu\n",
      ],
      [["hutch", "run", "--engine", "="], "--engine=auto\\n", ["run", "--engine="], "auto\n"],
      [["hutch", "run", "debian", ":", "1"], "debian:12\\n", ["run", "debian:1"], "12\n"],
      [
        ["hutch", "--home", "=", "/x", "run", "localhost", ":", "5000/a", ":"],
        "localhost:5000/a:b\\n",
        ["--home=/x", "run", "localhost:5000/a:"],
        "b\n",
      ],
    ];
    for (const [words, answer, question, expected] of table) {
      assert.equal(await run("bash", bashCompletion(words), answer), expected, words.join(" "));
      assert.deepEqual(await asked(), ["__complete", "--", ...question], words.join(" "));
    }
  }));

Deno.test("the bash script completes files and folders itself", () =>
  withShell("bash", async ({ run }) => {
    // `compopt` fails outside of a real completion, quietly.
    const table: [string[], string, string[]][] = [
      [["hutch", "run", "--env-file", "=", "some"], ":files\\n", ["some.env", "some.folder"]],
      [["hutch", "run", "--env-file", "some.e"], ":files\\n", ["some.env"]],
      [["hutch", "--home", "some"], ":folders\\n", ["some.folder"]],
    ];
    for (const [words, answer, expected] of table) {
      const found = (await run("bash", bashCompletion(words), answer)).split("\n").slice(0, -1);
      assert.deepEqual(found.toSorted(), expected, words.join(" "));
    }
  }));

Deno.test({
  name: "the zsh script parses and registers itself",
  ignore: !has("zsh"),
  fn: () =>
    withShell("zsh", async ({ run }) => {
      await run("zsh", ["-f", "-n", "script"]);
      const said = await run("zsh", [
        "-f",
        "-c",
        "autoload -U compinit; compinit -u -d ./dump; source ./script; print $_comps[hutch]",
      ]);
      assert.equal(said, "_hutch\n");
    }),
});

Deno.test({
  name: "the fish script completes names and paths",
  ignore: !has("fish"),
  fn: () =>
    withShell("fish", async ({ run, asked }) => {
      await run("fish", ["--no-execute", "script"]);
      const at = (line: string) => ["-N", "-c", `source script; complete -C '${line}'`];
      assert.equal(
        await run("fish", at("hutch ins"), "inspect\\tShow it\\n"),
        "inspect\tShow it\n",
      );
      assert.deepEqual(await asked(), ["__complete", "--", "ins"]);
      assert.equal(
        await run("fish", at("hutch run --env-file=some.e"), ":files\\n"),
        "--env-file=some.env\n",
      );
      assert.equal(await run("fish", at("hutch --home some"), ":folders\\n"), "some.folder/\n");
    }),
});
