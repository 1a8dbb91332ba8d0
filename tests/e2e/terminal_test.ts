/** Terminals, by the command line, on a real one: programs of this machine's Debian in a box. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError, Runtime } from "../../mod.ts";
import { OnTerminal, ptyTools } from "../support/pty.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { hutch, ROOT, RUN, TEST_ENGINE, until, withHome } from "./support.ts";

const PROGRAMS = ["bash", "cat", "dash", "ls", "sleep", "stty", "top", "tty"];
const inBox = needs(...PROGRAMS, "ldd", "cp");
const ignore = ptyTools.ignore || inBox.ignore;
const SIZE = { rows: 24, columns: 80 };
const PROMPT = /# $/;

Deno.test(
  `hutch on a terminal on ${TEST_ENGINE}${ptyTools.note}${inBox.note}`,
  { ignore },
  (test) =>
    withHome(async (home) => {
      await using image = new TempFolder();
      await makeImage(image.path);
      for (const [name, body] of cases) {
        await test.step(name, () => body(home, `dir:${image.path}?owner=root`));
      }
      assert.equal((await hutch(home, ["rm", "-f", "term"])).code, 0);
    }),
);

const cases: readonly (readonly [string, (home: string, image: string) => Promise<void>])[] = [
  [
    "hutch run -it has a terminal, jobs and keys, and leaves its box by the detach keys",
    async (home, image) => {
      const flags = ["-it", ...RUN, "--name", "term", "-e", "PS1=in box# "];
      await using terminal = onTerminal(home, "run", ...flags, image, "bash", "--norc");
      await terminal.until(PROMPT);
      await terminal.press("stty size; tty; echo $TERM\r");
      assert.match(
        await terminal.until(/xterm\r\n.*# $/s),
        /\r24 80\r\n\/dev\/pts\/\d+\r\nxterm\r\n/,
      );
      await terminal.resize(40, 132);
      await terminal.press("stty size\r");
      await terminal.until(/\r40 132\r\n.*# $/s);
      await terminal.press("sleep 600\r");
      await running(home, "sleep 600");
      await terminal.press("\x1a"); // Ctrl-Z
      await terminal.until(/Stopped.*# $/s);
      await terminal.press("fg\r");
      await terminal.until(/sleep 600\r\n/);
      await terminal.press("\x03"); // Ctrl-C
      await terminal.until(/\^C.*# $/s);
      await terminal.press("\x10\x11"); // Ctrl-P, Ctrl-Q
      await ended(terminal, 0, /Left it running; hutch attach -it term [0-9a-f]{12}\r\n/);
      assert.match((await hutch(home, ["ls"])).stdout, /term .* running/);
      // The shell goes on, and is joined again.
      await using again = onTerminal(home, "attach", "-it", "term", await held(home));
      await again.until(/in box# .*# $/s);
      await again.press("stty size; exit 6\r");
      await ended(again, 6, /\r24 80\r\n/);
    },
  ],
  [
    "hutch exec -it runs top, which follows the terminal's size and quits by its key",
    async (home) => {
      await using terminal = onTerminal(home, "exec", "-it", "term", "top", "-d", "1");
      await terminal.until(/load average.*MiB Mem/s);
      await terminal.resize(10, 50);
      await terminal.until(/load average: .?␛.*␛\[10;1H/s);
      await terminal.press("\x10\x11");
      await ended(terminal, 0, /Left it running; hutch attach -it term [0-9a-f]{12}\r\n/);
      await using again = onTerminal(home, "attach", "-it", "term", await held(home));
      await again.until(/load average.*MiB Mem/s);
      await again.press("q");
      await ended(again, 0, /␛\[\?25h|␛\[\?12l/);
    },
  ],
  ["hutch shell opens the box's bash, and its exit code is ours", async (home) => {
    await using terminal = onTerminal(home, "shell", "-e", "PS1=# ", "term");
    await terminal.until(PROMPT);
    await terminal.press("echo v=$BASH_VERSION; test -t 0 && exit 7\r");
    await ended(terminal, 7, /v=\d/);
    const { code, stdout } = await hutch(home, ["shell", "term", "echo $BASH_VERSION;", "exit 3"]);
    assert.match(stdout, /^\d.*\n$/);
    assert.equal(code, 3);
  }],
  ["hutch gives the terminal back when a signal ends it", async (home) => {
    await using terminal = onTerminal(home, "exec", "-it", "term", "top", "-d", "1");
    await terminal.until(/load average.*COMMAND/s);
    Deno.kill(terminal.pid, "SIGTERM");
    await ended(terminal, 143, /(?:␛\[\?25h)?(?:␛\[\?1l)?/);
    await running(home, "top", false);
  }],
  ["hutch gives the terminal back while it stands still", async (home) => {
    await using terminal = onTerminal(
      home,
      "exec",
      "-it",
      "-e",
      "PS1=# ",
      "term",
      "bash",
      "--norc",
    );
    await terminal.until(PROMPT);
    const pid = terminal.pid;
    const raw = await terminal.settings();
    Deno.kill(pid, "SIGTSTP");
    await until(() => Promise.resolve(stateOf(pid) === "T"), () => Promise.resolve("it goes on"));
    assert.equal(await terminal.settings(), terminal.before);
    Deno.kill(pid, "SIGCONT");
    await until(
      async () => await terminal.settings() === raw,
      () => Promise.resolve("it isn't raw again"),
    );
    await terminal.press("echo on; exit 4\r");
    await ended(terminal, 4, /\ron\r\n/);
  }],
  ["hutch gives the terminal back when the box is lost", async (home) => {
    await using terminal = onTerminal(
      home,
      "exec",
      "-it",
      "-e",
      "PS1=# ",
      "term",
      "bash",
      "--norc",
    );
    await terminal.until(PROMPT);
    await terminal.press("printf '\\e[?1049h\\e[?25l\\e[?1h'; echo set\r");
    await terminal.until(/set\r\n.*# $/s);
    await using runtime = await Runtime.open({ home });
    await (await runtime.get("term")).kill();
    await ended(terminal, 125, /␛\[\?1049l␛\[\?1l␛\[\?2004l␛\[\?25h.*hutch: .*box is gone/s);
  }],
  [
    "hutch exec -t without a terminal of its own gives the command one, -it says why not",
    async (home) => {
      const alone = await hutch(home, ["exec", "-t", "term", "sh", "-c", "tty; stty size"]);
      assert.match(alone.stdout, /^\/dev\/pts\/\d+\r\n24 80\r\n$/);
      const both = await hutch(home, ["exec", "-it", "term", "tty"]);
      assert.equal(both.code, 125);
      assert.match(both.stderr, /^hutch: Cannot use -it: the input device is not a TTY; /);
      const keys = await hutch(home, ["exec", "-it", "--detach-keys", "ctrl-1", "term", "tty"]);
      assert.equal(keys.code, 125);
    },
  ],
  ["Box.exec's tty reads what is typed, and is resized", async (home) => {
    await using runtime = await Runtime.open({ home });
    const box = await runtime.get("term");
    const script = "stty -echo; echo =$TERM $(stty size); cat; read x; echo =$x; stty size; exit 9";
    await using execution = box.exec("dash", ["-c", script], {
      tty: { rows: 5, columns: 20, term: "vt100" },
      ...{ stdin: "piped", clearEnv: true },
    });
    const writer = execution.stdin.getWriter();
    const type = (text: string) => writer.write(new TextEncoder().encode(text));
    const lines = execution.lines();
    assert.equal((await lines.next()).value, "=vt100 5 20");
    await execution.resize({ rows: 33, columns: 44 });
    await type("typed\x04\x04"); // a part of a line, then the end
    await type("on\n");
    assert.deepEqual(await Array.fromAsync(lines), ["typed=on", "33 44"]);
    assert.equal((await execution.status).code, 9);
    const fed = await box.exec("cat", [], { tty: true, stdin: "all of it\n" });
    assert.equal(fed.stdout, "all of it\r\nall of it\r\n");
    await assert.rejects(box.exec("sleep", ["9"]).resize({ rows: 1, columns: 1 }), /it has none/);
    await assert.rejects(
      async () => void await box.exec("true", [], { tty: { rows: 0 } }),
      (error) => error instanceof HutchError && error.code === "invalid_option",
    );
  }],
];

/** hutch on a terminal; what it is told has no spaces within a word. */
/** The id of what runs detached in the box. */
async function held(home: string): Promise<string> {
  const list: { id: string; endedAt: string | null }[] = JSON.parse(
    (await hutch(home, ["executions", "--json", "term"])).stdout,
  );
  return list.find(({ endedAt }) => endedAt === null)?.id ?? "none";
}

function onTerminal(home: string, ...args: readonly string[]): OnTerminal {
  const hutch = [Deno.execPath(), "run", "-A", "-q", "--no-check", join(ROOT, "src/cli/main.ts")];
  const env = { HUTCH_HOME: home };
  return OnTerminal.start([...hutch, "--no-config", ...args], { ...SIZE, env });
}

/** It ends, saying what it should, with the terminal as it was. */
async function ended(terminal: OnTerminal, code: number, says: RegExp): Promise<void> {
  assert.equal(await terminal.end(), code, terminal.raw);
  assert.match(terminal.fresh, says);
  assert.equal(terminal.after, terminal.before);
}

/** Waits until a program runs in the box, in a state as `ps` has it. */
async function running(home: string, command: string, wanted = true): Promise<void> {
  await using runtime = await Runtime.open({ home });
  const box = await runtime.get("term");
  const find =
    `for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q '^${command}' && exit 0; done; exit 1`;
  await until(
    async () => (await box.exec("bash", ["-c", find])).success === wanted,
    () => Promise.resolve(`${command} is${wanted ? "n't" : ""} there`),
  );
}

/** What `ps` calls a process's state. */
function stateOf(pid: number): string {
  return /\) (\w)/.exec(Deno.readTextFileSync(`/proc/${pid}/stat`))?.[1] ?? "";
}

/** An image of some of this machine's programs, with what they need. */
async function makeImage(folder: string): Promise<void> {
  const paths = await Promise.all([...PROGRAMS, "tr", "grep"].map(async (name) => {
    const path = (await runTool("sh", "-c", `command -v ${name}`)).trim();
    const libraries = (await runTool("ldd", path)).matchAll(/(\/\S+) \(0x/g);
    return [path, ...[...libraries].map(([, library = ""]) => library)];
  }));
  const terminfo = "/lib/terminfo/x/xterm";
  await runTool("cp", "-L", "--parents", ...new Set([...paths.flat(), terminfo]), folder);
  await Deno.mkdir(join(folder, "bin"), { recursive: true });
  await Deno.symlink("/usr/bin/dash", join(folder, "bin/sh"));
}
