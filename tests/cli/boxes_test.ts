/** Commands that need a home and the machine's busybox, but no virtual machine. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../src/cli/main.ts";
import { hutch, memoryIo } from "./helpers.ts";

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

type HutchIn = (...args: string[]) => Promise<Result>;

async function withHome(test: (hutch: HutchIn, home: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const home = join(folder, "home");
  try {
    await test(async (...args) => {
      const io = memoryIo();
      const code = await main(["--home", home, ...args], io);
      return { code, stdout: io.stdout.text, stderr: io.stderr.text };
    }, home);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const IMAGE = "builtin:busybox";

Deno.test("hutch ls prints only the header in an empty home", () =>
  withHome(async (hutch) => {
    const header = "ID   NAME   IMAGE   STATUS   CPUS   MEMORY   ENGINE\n";
    assert.deepEqual(await hutch("ls"), { code: 0, stdout: header, stderr: "" });
    assert.deepEqual(await hutch("ls", "-a", "--json"), { code: 0, stdout: "[]\n", stderr: "" });
    assert.deepEqual(await hutch("ls", "-aq"), { code: 0, stdout: "", stderr: "" });
    const images = await hutch("images");
    assert.deepEqual(images, {
      code: 0,
      stdout: "IMAGE   DIGEST   PULLED   SIZE   BOXES\n",
      stderr: "",
    });
    assert.equal((await hutch("images", "--json")).stdout, "[]\n");
  }));

Deno.test("hutch says that a box isn't there, for every command that takes one", () =>
  withHome(async (hutch) => {
    for (const command of ["start", "stop", "kill", "rm", "inspect"]) {
      const { code, stdout, stderr } = await hutch(command, "nope");
      assert.deepEqual([code, stdout], [125, ""], command);
      assert.match(stderr, /^hutch: Cannot find box "nope": .*; see `hutch ls -a`\n$/, command);
    }
    const { code, stderr } = await hutch("exec", "nope", "true");
    assert.equal(code, 125);
    assert.match(stderr, /^hutch: Cannot find box "nope"/);
  }));

Deno.test("hutch refuses a home that can't be used", async () => {
  const file = await Deno.makeTempFile();
  try {
    const io = memoryIo();
    assert.equal(await main(["--home", join(file, "home"), "ls"], io), 125);
    assert.match(io.stderr.text, /^hutch: Cannot use home .*: .*; make it writable/);
    assert.equal(io.stderr.text.split("\n").length, 2);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("hutch create, ls, inspect and rm agree on boxes", () =>
  withHome(async (hutch) => {
    const created = await hutch(
      "create",
      "--name",
      "web",
      "-m",
      "128m",
      "-e",
      "A=1",
      "-l",
      "team=x",
      "--rm",
      IMAGE,
    );
    assert.deepEqual([created.code, created.stderr], [0, ""]);
    assert.match(created.stdout, /^[0-9a-f]{12}\n$/);
    const id = created.stdout.trim();
    const other = (await hutch("create", "--entrypoint", "/bin/sh", IMAGE)).stdout.trim();

    assert.equal((await hutch("ls")).stdout.split("\n").length, 2, "none runs");
    const all = await hutch("ls", "-a");
    assert.match(
      all.stdout,
      new RegExp(`^${id} +web +builtin:busybox +configured .* ago +1 +128 MiB +auto$`, "m"),
    );
    assert.equal((await hutch("ls", "-aq")).stdout, `${id}\n${other}\n`);
    assert.equal((await hutch("ls", "-aq", "--filter", "label=team")).stdout, `${id}\n`);
    assert.equal((await hutch("ls", "-aq", "--filter", "label=team=x")).stdout, `${id}\n`);
    assert.equal((await hutch("ls", "-aq", "--filter", "label=team=y")).stdout, "");

    const inspected = await hutch("inspect", "web");
    assert.equal(inspected.code, 0);
    const info = JSON.parse(inspected.stdout);
    assert.equal(info.id, id);
    assert.equal(info.status, "configured");
    assert.equal(info.config.memoryMiB, 128);
    assert.equal(info.config.exec.env.A, "1");
    assert.equal(info.config.autoRemove, true);
    assert.deepEqual(JSON.parse((await hutch("ls", "-a", "--json")).stdout)[0], info);
    const several = await hutch("inspect", id.slice(0, 6), "nope", other);
    assert.equal(several.code, 125);
    assert.deepEqual(
      JSON.parse(several.stdout).map((one: { id: string }) => one.id),
      [id, other],
    );

    const taken = await hutch("create", "--name", "web", IMAGE);
    assert.equal(taken.code, 125);
    assert.match(taken.stderr, /^hutch: Cannot create box "web": the name is taken; /);
    const missed = await hutch("rm", "wbe");
    assert.match(missed.stderr, /did you mean "web"\?/);

    const removed = await hutch("rm", "web", "nope", other);
    assert.deepEqual([removed.code, removed.stdout], [125, `web\n${other}\n`]);
    assert.match(removed.stderr, /^hutch: Cannot find box "nope"[^\n]*\n$/);
    assert.equal((await hutch("ls", "-aq")).stdout, "");
  }));

Deno.test("hutch create leaves nothing behind when it refuses", () =>
  withHome(async (hutch, home) => {
    const table: [string[], RegExp][] = [
      [["--cpus", "0", IMAGE], /0 CPUs/],
      [["--cpus", "100000", IMAGE], /100000 CPUs/],
      [["-m", "63m", IMAGE], /63 MiB/],
      [["--name", "-x", IMAGE], /"-x"/],
      [["--name", "a".repeat(64), IMAGE], /a{64}/],
      [["--engine", "nope", IMAGE], /"nope".*; take one of auto/],
      [["--engine", "quemu", IMAGE], /did you mean "qemu"\?/],
      [["-w", "relative", IMAGE], /"relative"/],
      [["--hostname", "-", IMAGE], /"-"/],
      [["builtin:nope"], /nope/],
      [["oci:/nowhere"], /nowhere/],
      [["Upper:Case"], /Upper:Case/],
      [[""], /""/],
    ];
    for (const [args, pattern] of table) {
      const { code, stdout, stderr } = await hutch("create", ...args);
      assert.deepEqual([code, stdout], [125, ""], args.join(" "));
      assert.match(stderr, pattern);
      assert.match(stderr, /^hutch: Cannot [^\n]*\n$/);
    }
    assert.equal((await hutch("ls", "-aq")).stdout, "");
    assert.deepEqual([...Deno.readDirSync(join(home, "boxes"))], []);
  }));

Deno.test("hutch pull prints the digest on standard output, progress on standard error", () =>
  withHome(async (hutch) => {
    const { code, stdout, stderr } = await hutch("pull", IMAGE);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
    assert.match(stderr, /^builtin:busybox: sha256:[0-9a-f]{12}, 1 layer, /);
    assert.equal((await hutch("pull", IMAGE)).stdout, stdout);
    const images = await hutch("images");
    assert.match(images.stdout, new RegExp(`^builtin:busybox +${stdout.slice(0, 19)} +`, "m"));
    const [record] = JSON.parse((await hutch("images", "--json")).stdout);
    assert.equal(record.digest, stdout.trim());
  }));

Deno.test("hutch completes names of boxes and images", () =>
  withHome(async (hutch) => {
    assert.deepEqual(await hutch("__complete", "--", "rm", ""), {
      code: 0,
      stdout: "",
      stderr: "",
    });
    await hutch("create", "--name", "web", IMAGE);
    assert.equal((await hutch("__complete", "--", "rm", "w")).stdout, "web\tconfigured\n");
    assert.equal((await hutch("__complete", "--", "run", "b")).stdout, "builtin:busybox\n");
  }));

Deno.test("hutch completes without making a home", () =>
  withHome(async (hutch, home) => {
    await hutch("__complete", "--", "rm", "");
    await assert.rejects(Deno.stat(home), Deno.errors.NotFound);
  }));

Deno.test("hutch doctor prints what it found, and its exit code says whether boxes can run", () =>
  withHome(async (_, home) => {
    // In processes of their own: the probe loads the helper library, which stays loaded.
    const [json, text] = await Promise.all([
      hutch(["doctor", "--json"], { HUTCH_HOME: home }),
      hutch(["doctor"], { HUTCH_HOME: home }),
    ]);
    const report = JSON.parse(json.stdout);
    assert.equal(report.home, home);
    assert.equal(json.code, report.ok ? 0 : 1);
    assert.equal(text.code, json.code);
    for (const { name } of report.engines) {
      assert.match(text.stdout, new RegExp(`^engine ${name}: `, "m"));
    }
  }));
