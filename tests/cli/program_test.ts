import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { parseCommandLine } from "../../src/cli/program.ts";

async function parsed(line: readonly string[]) {
  const result = await parseCommandLine(line);
  assert(result.kind === "command", `${line.join(" ")} gave a text`);
  const { name, command, args, globals } = result;
  return { name, args, options: command.opts(), globals };
}

async function refused(line: readonly string[]): Promise<HutchError> {
  try {
    await parseCommandLine(line);
  } catch (error) {
    assert(error instanceof HutchError, String(error));
    assert.equal(error.code, "invalid_option");
    return error;
  }
  assert.fail(`accepted: ${line.join(" ")}`);
}

Deno.test("parseCommandLine reads every command's options and operands", async () => {
  const table: [string[], string, string[], Record<string, unknown>][] = [
    [["run", "debian:12"], "run", ["debian:12"], {}],
    [["run", "--rm", "-i", "debian", "ls"], "run", ["debian", "ls"], {
      rm: true,
      interactive: true,
    }],
    [["run", "-di", "debian"], "run", ["debian"], { detach: true, interactive: true }],
    [["run", "-im512m", "x"], "run", ["x"], { interactive: true, memory: 512 }],
    [["run", "-m", "2g", "--cpus", "2", "--disk=1.5g", "x"], "run", ["x"], {
      memory: 2048,
      cpus: 2,
      disk: 1536,
    }],
    [["run", "-e", "A=1", "-eB", "--env=C=x=y", "x"], "run", ["x"], { env: ["A=1", "B", "C=x=y"] }],
    [["run", "--env-file", "a", "--env-file=b", "x"], "run", ["x"], { envFile: ["a", "b"] }],
    [["run", "-l", "a=b", "--label", "c", "x"], "run", ["x"], { label: ["a=b", "c"] }],
    [["run", "-w", "/tmp", "-u", "1:2", "x"], "run", ["x"], { workdir: "/tmp", user: "1:2" }],
    [["run", "--entrypoint", "", "x"], "run", ["x"], { entrypoint: "" }],
    [["run", "--entrypoint=", "x"], "run", ["x"], { entrypoint: "" }],
    [["run", "--boot-timeout", "1.5", "x"], "run", ["x"], { bootTimeout: 1500 }],
    [["run", "--boot-timeout", "2m", "x"], "run", ["x"], { bootTimeout: 120_000 }],
    [["create", "--max-duration", "5m", "x"], "create", ["x"], { maxDuration: 300_000 }],
    [["create", "--idle-timeout", "30s", "x"], "create", ["x"], { idleTimeout: 30_000 }],
    [["run", "--restart", "on-failure:3", "x"], "run", ["x"], { restart: "on-failure:3" }],
    [["run", "--health-cmd", "true", "--health-start-period", "0", "x"], "run", ["x"], {
      healthCmd: "true",
      healthStartPeriod: 0,
    }],
    [["run", "--health-interval", "1s", "--health-retries", "2", "x"], "run", ["x"], {
      healthInterval: 1000,
      healthRetries: 2,
    }],
    [["run", "--hostname", "h", "--engine", "qemu", "--name", "n", "x"], "run", ["x"], {
      hostname: "h",
      engine: "qemu",
      name: "n",
    }],
    [["create", "--name", "n", "x"], "create", ["x"], { name: "n" }],
    [["start", "a", "b"], "start", ["a", "b"], {}],
    [["exec", "-i", "box", "cat"], "exec", ["box", "cat"], { interactive: true }],
    [["exec", "-w/", "-ux", "-eA", "box", "id"], "exec", ["box", "id"], {
      workdir: "/",
      user: "x",
      env: ["A"],
    }],
    [["stop", "-t", "0", "a"], "stop", ["a"], { time: 0 }],
    [["stop", "a", "-t2", "b"], "stop", ["a", "b"], { time: 2000 }],
    [["kill", "a"], "kill", ["a"], {}],
    [["rm", "-f", "a", "b"], "rm", ["a", "b"], { force: true }],
    [["rm", "a", "-f"], "rm", ["a"], { force: true }],
    [["rm", "--", "-f"], "rm", ["-f"], {}],
    [["ls"], "ls", [], {}],
    [["ps", "-aq"], "ls", [], { all: true, quiet: true }],
    [["ls", "--json", "--filter", "label=a"], "ls", [], { json: true, filter: ["label=a"] }],
    [["inspect", "a"], "inspect", ["a"], {}],
    [["pull", "debian:12"], "pull", ["debian:12"], {}],
    [["images", "--json"], "images", [], { json: true }],
    [["rmi", "-f", "a", "b"], "rmi", ["a", "b"], { force: true }],
    [["image", "ls", "-a"], "ls", [], { all: true }],
    [["image", "list", "-q"], "ls", [], { quiet: true }],
    [["image", "rm", "a"], "rm", ["a"], {}],
    [["image", "tag", "a", "b:1"], "tag", ["a", "b:1"], {}],
    [["image", "save", "-o", "x", "a", "--format", "oci"], "save", ["a"], {
      output: "x",
      format: "oci",
    }],
    [["image", "prune", "-an"], "prune", [], { all: true, dryRun: true }],
    [["run", "--pull", "newer", "x"], "run", ["x"], { pull: "newer" }],
    [["doctor", "--json"], "doctor", [], { json: true }],
    [["completion", "zsh"], "completion", ["zsh"], {}],
    [["version"], "version", [], {}],
  ];
  for (const [line, name, args, options] of table) {
    const found = await parsed(line);
    assert.equal(found.name, name, line.join(" "));
    assert.deepEqual(found.args, args, line.join(" "));
    assert.deepEqual({ ...found.options }, options, line.join(" "));
  }
});

Deno.test("parseCommandLine leaves what follows IMAGE and BOX to the box's command", async () => {
  const table: [string[], string[]][] = [
    [["run", "x", "ls", "-la", "--rm"], ["x", "ls", "-la", "--rm"]],
    [["run", "x", "--help"], ["x", "--help"]],
    [["run", "x", "-e", "A=1"], ["x", "-e", "A=1"]],
    [["run", "x", "--", "a"], ["x", "--", "a"]],
    [["run", "--", "x", "--rm"], ["x", "--rm"]],
    [["run", "x", "sh", "-c", "echo $0 -- --debug", ""], [
      "x",
      "sh",
      "-c",
      "echo $0 -- --debug",
      "",
    ]],
    [["exec", "b", "run", "--home", "x"], ["b", "run", "--home", "x"]],
    [["exec", "b", "--", "ls"], ["b", "--", "ls"]],
    [["exec", "--", "b", "-i", "-v"], ["b", "-i", "-v"]],
    [["exec", "b", "help", "version"], ["b", "help", "version"]],
  ];
  for (const [line, args] of table) {
    const found = await parsed(line);
    assert.deepEqual(found.args, args, line.join(" "));
    assert.deepEqual({ ...found.options }, {}, line.join(" "));
    assert.equal(found.globals.debug, false);
  }
});

Deno.test("parseCommandLine takes global options before and after the command", async () => {
  for (
    const line of [
      ["--home", "/h", "--insecure-registry", "a", "--insecure-registry=b:1", "--debug", "ls"],
      ["ls", "--home=/h", "--insecure-registry", "a", "--insecure-registry", "b:1", "--debug"],
      ["--home", "/other", "--insecure-registry", "a", "ls", "--home", "/h", "--debug"].concat(
        ["--insecure-registry", "b:1"],
      ),
    ]
  ) {
    const { globals } = await parsed(line);
    assert.deepEqual(globals, {
      home: "/h",
      insecureRegistries: ["a", "b:1"],
      plugins: [],
      config: undefined,
      debug: true,
    });
  }
  assert.equal((await parsed(["--home", "h", "ls"])).globals.home, `${Deno.cwd()}/h`);
  assert.equal((await parsed(["ls"])).globals.home, undefined);
});

Deno.test("parseCommandLine refuses bad values and names the option and the value", async () => {
  const table: [string[], RegExp][] = [
    [["run", "--cpus", "two", "x"], /--cpus: "two"/],
    [["run", "--cpus", "1.5", "x"], /--cpus: "1.5"/],
    [["run", "--cpus", "-1", "x"], /--cpus: "-1"/],
    [["run", "--cpus=", "x"], /--cpus: ""/],
    [["run", "-m", "lots", "x"], /--memory: "lots"/],
    [["run", "-m", "512", "x"], /--memory: "512"/],
    [["create", "--disk", "-1g", "x"], /--disk: "-1g"/],
    [["run", "--boot-timeout", "soon", "x"], /--boot-timeout: "soon"/],
    [["run", "--restart", "sometimes", "x"], /--restart: "sometimes"/],
    [["run", "--health-timeout", "soon", "x"], /--health-timeout: "soon"/],
    [["stop", "-t", "-1", "x"], /--time: "-1"/],
    [["stop", "-t", "99999999", "x"], /--time: "99999999"/],
    [["--home=", "ls"], /--home: ""/],
  ];
  for (const [line, pattern] of table) assert.match((await refused(line)).message, pattern);
});

Deno.test("parseCommandLine refuses what it doesn't understand, with a near miss", async () => {
  const table: [string[], RegExp, RegExp][] = [
    [["rnu"], /unknown command 'rnu'/, /did you mean run\?/],
    [["help", "inspct"], /unknown command 'inspct'/, /did you mean inspect\?/],
    [["zzzzz"], /unknown command 'zzzzz'/, /hutch --help/],
    [["image", "histry"], /unknown command 'histry'/, /did you mean history\?/],
    [["help", "image", "histry"], /unknown command 'histry'/, /did you mean history\?/],
    [["image", "zzzzz"], /unknown command 'zzzzz'/, /hutch image --help/],
    [["image", "tag", "a"], /missing required argument 'NAME'/, /hutch image tag --help/],
    [["image", "save", "--format", "zip", "a"], /--format: "zip" is not one of oci, /, /^$/],
    [["run", "--pull", "allways", "x"], /--pull: "allways" is not one of missing, /, /always/],
    [["run", "--nmae", "n", "x"], /unknown option '--nmae'/, /did you mean --name\?/],
    [["run", "-Z", "x"], /unknown option '-Z'/, /hutch run --help/],
    [["--hme", "x", "ls"], /unknown option '--hme'/, /--home/],
    [["run"], /missing required argument 'IMAGE'/, /hutch run --help/],
    [["exec"], /missing required argument 'BOX'/, /hutch exec --help/],
    [["exec", "b"], /missing required argument 'COMMAND'/, /hutch exec --help/],
    [["rm"], /missing required argument 'BOX'/, /hutch rm --help/],
    [["ls", "x"], /too many arguments/, /hutch ls --help/],
    [["pull", "a", "b"], /too many arguments/, /hutch pull --help/],
    [["run", "--name"], /'--name <NAME>' argument missing/, /hutch run --help/],
    [["--home"], /'--home <DIR>' argument missing/, /hutch --help/],
  ];
  for (const [line, message, hint] of table) {
    const error = await refused(line);
    assert.match(error.message, message, line.join(" "));
    assert.match(error.hint ?? "", hint, line.join(" "));
    assert(!error.message.includes("\n"), error.message);
  }
});

Deno.test("parseCommandLine gives help for the program and each command", async () => {
  for (const line of [["--help"], ["-h"], ["help"]]) {
    const result = await parseCommandLine(line);
    assert(result.kind === "text");
    for (const { name, summary, hidden } of COMMANDS) {
      assert.equal(result.text.includes(`  ${name} `), hidden !== true, name);
      if (!hidden) assert(result.text.includes(summary.slice(0, 30)), name);
    }
  }
  const names = COMMANDS.flatMap(({ name, commands = [] }) => [
    [name],
    ...commands.map((nested) => [name, nested.name]),
  ]);
  for (const name of names) {
    for (const line of [[...name, "--help"], ["help", ...name], ["--debug", ...name, "-h"]]) {
      const result = await parseCommandLine(line);
      assert(result.kind === "text", line.join(" "));
      assert.match(result.text, new RegExp(`^Usage: hutch ${name.join(" ")}[ |]`));
    }
  }
});

Deno.test("parseCommandLine wraps help at the columns asked for", async () => {
  const result = await parseCommandLine(["run", "--help"], { columns: 60 });
  assert(result.kind === "text");
  const longest = Math.max(...result.text.split("\n").map((line) => line.length));
  assert(longest <= 60, `${longest}`);
});

Deno.test("parseCommandLine does the same each time", async () => {
  for (let i = 0; i < 2; i++) {
    assert.deepEqual((await parsed(["run", "-e", "A=1", "x"])).options, { env: ["A=1"] });
  }
});

Deno.test("parseCommandLine takes plugins and the configuration before and after the command", async () => {
  const table: [string[], readonly string[], string | false | undefined][] = [
    [["ls"], [], undefined],
    [["--plugin", "./a.ts", "ls", "--plugin=jsr:@b/c"], ["./a.ts", "jsr:@b/c"], undefined],
    [["--config", "c.ts", "ls"], [], "c.ts"],
    [["ls", "--no-config"], [], false],
    [["--config", "c.ts", "ls", "--no-config"], [], false],
    [["--no-config", "run", "--config=c.ts", "x", "--no-config", "--plugin", "p"], [], "c.ts"],
  ];
  for (const [line, plugins, config] of table) {
    const { globals } = await parsed(line);
    assert.deepEqual([globals.plugins, globals.config], [plugins, config], line.join(" "));
  }
  for (const option of ["--plugin", "--config", "--home"]) {
    assert.match(
      (await refused([option, "", "ls"])).message,
      new RegExp(`Cannot use ${option}: ""`),
    );
  }
});
