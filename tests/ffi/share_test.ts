import assert from "node:assert/strict";
import { join } from "node:path";
import { BoxLibrary } from "../../ffi/box_library.ts";
import { ChildProcess } from "../../ffi/child.ts";
import { boxLibraryPath, sharePath } from "../../ffi/library.ts";
import { FileLock } from "../../src/file_lock.ts";
import { isRunning, until } from "../support/processes.ts";
import { TempFolder } from "../support/temp.ts";

// As root, and as somebody who gets a user namespace: what files they have is the same.
const users = Deno.uid() === 0 ? [0, 65534] : [Deno.uid() ?? 0];

/** Runs a command by `hutch-share`, as a user. */
async function share(
  uid: number,
  args: readonly string[],
  cwd = "/",
): Promise<{ code: number; out: string }> {
  // It must be found by whoever can't look into the checkout's folder.
  await using folder = new TempFolder();
  await Deno.chmod(folder.path, 0o755);
  const program = join(folder.path, "hutch-share");
  await Deno.copyFile(sharePath(), program);
  const as = uid === Deno.uid()
    ? []
    : ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--"];
  const [first = "", ...rest] = [...as, program, ...args];
  const { code, stdout, stderr } = await new Deno.Command(first, { args: rest, cwd }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** A folder of the user's with a folder and a file in it. */
async function tree(uid: number): Promise<TempFolder & AsyncDisposable> {
  const temp = new TempFolder();
  for (const name of ["rw", "ro", "shares"]) await Deno.mkdir(join(temp.path, name));
  await Deno.writeTextFile(join(temp.path, "rw", "file"), "words\n");
  for (const name of ["", "rw", "ro", "shares", "rw/file"]) {
    if (Deno.uid() === 0) await Deno.chown(join(temp.path, name), uid, uid);
  }
  return temp;
}

const sh = (script: string, ...args: readonly string[]) => ["--", "/bin/sh", "-c", script, ...args];

for (const uid of users) {
  Deno.test(`hutch-share shows shares under their tags, for user ${uid}`, async () => {
    await using temp = await tree(uid);
    const at = (name: string) => join(temp.path, name);
    const { code, out } = await share(uid, [
      ...[
        "enter",
        at("shares"),
        "rw",
        "a",
        at("rw"),
        "ro",
        "b",
        at("ro"),
        "ro",
        "c",
        at("rw/file"),
      ],
      ...sh(`cd ${at("shares")} && ls && cat c && echo made > a/new && cat ${at("rw/new")}`),
    ]);
    assert.deepEqual({ code, out }, { code: 0, out: "a\nb\nc\nwords\nmade\n" });
    assert.equal(await Deno.readTextFile(at("rw/new")), "made\n");
    assert.deepEqual([...Deno.readDirSync(at("shares"))], [], "the host sees nothing of it");
  });

  Deno.test(`hutch-share lets nobody write to a read-only share or beside the shares, for user ${uid}`, async () => {
    await using temp = await tree(uid);
    const at = (name: string) => join(temp.path, name);
    const { out } = await share(uid, [
      ...["enter", at("shares"), "ro", "a", at("rw"), "ro", "c", at("rw/file")],
      ...sh(
        `cd ${at("shares")}; for f in a/new a/file c beside; do (echo x >> $f) 2>&1; done; ` +
          `ln a/file a/link; rm -f a/file; chmod 777 a; true`,
      ),
    ]);
    assert.equal(out.match(/Read-only file system/g)?.length, 7, out);
    assert.equal(await Deno.readTextFile(at("rw/file")), "words\n");
  });
}

// What is mounted below a share is a mount of its own. Root alone can mount here.
Deno.test({
  name: "hutch-share makes what is mounted below a read-only share read-only too",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using temp = await tree(0);
    const at = (name: string) => join(temp.path, name);
    await Deno.mkdir(at("rw/below"));
    const inner = `${sharePath()} enter ${at("shares")} ro a ${at("rw")} -- /bin/sh -c '` +
      `ls ${at("shares/a/below")}; touch ${at("shares/a/below/new")}'`;
    const { out } = await share(0, [
      "enter",
      at("ro"),
      ...sh(`mount -t tmpfs below ${at("rw/below")} && touch ${at("rw/below/there")} && ${inner}`),
    ]);
    assert.match(out, /^there\ntouch: .*Read-only file system\n$/);
  },
});

Deno.test({
  name: "hutch-share gives a share's owner's files to another, and back",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using temp = await tree(1234);
    const at = (name: string) => join(temp.path, name);
    await Deno.writeTextFile(at("rw/roots"), "");
    const { code, out } = await share(0, [
      ...["enter", at("shares"), "rw,map=1234:0:1234:0", "a", at("rw")],
      ...["rw,try=1234:77:1234:88", "b", at("rw"), "rw,map=1234:1234:1234:88", "c", at("rw")],
      ...sh(
        `cd ${at("shares")} && stat -c %u:%g a/file a/roots b/file b/roots c/file && ` +
          `echo made > a/new && setpriv --reuid=77 --regid=88 --clear-groups touch b/new && ` +
          `setpriv --reuid=1234 --clear-groups sh -c 'touch a/never || echo refused' 2>/dev/null`,
      ),
    ]);
    const owners = "0:0\n65534:65534\n77:88\n0:0\n1234:88\n";
    assert.deepEqual({ code, out }, { code: 0, out: `${owners}refused\n` });
    for (const name of ["rw/new", "rw/file"]) {
      assert.partialDeepStrictEqual(await Deno.stat(at(name)), { uid: 1234, gid: 1234 });
    }
  },
});

Deno.test({
  name: "hutch-share keeps owners without the right to change them, unless it must",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using temp = await tree(65534);
    const at = (name: string) => join(temp.path, name);
    const enter = (mode: string) =>
      share(65534, [
        ...["enter", at("shares"), `rw,${mode}=65534:7:65534:7`, "a", at("rw")],
        ...sh(`stat -c %u ${at("shares/a/file")}`),
      ]);
    assert.deepEqual(await enter("try"), { code: 0, out: "0\n" });
    const { code, out } = await enter("map");
    assert.equal(code, 125);
    assert.match(out, /^Cannot give .* another owner: .*takes root.*owner=keep/);
  },
});

Deno.test("hutch-share locks files against others for as long as its program lives", async () => {
  await using temp = await tree(Deno.uid() ?? 0);
  const file = join(temp.path, "rw/file");
  const inner = (mode: string) => [sharePath(), "lock", mode, file, "--", "/bin/echo", mode];
  const { code, out } = await share(Deno.uid() ?? 0, [
    ...["lock", "sh", file],
    ...sh(`${inner("sh").join(" ")}; ${inner("ex").join(" ")}; echo $?`),
  ]);
  assert.equal(code, 0);
  assert.match(out, /^sh\n125\nCannot use disk .*file: another box has it/);
  assert.deepEqual(await share(Deno.uid() ?? 0, inner("ex").slice(1)), { code: 0, out: "ex\n" });
});

for (
  const [name, args, why] of [
    ["a share that isn't there", ["rw", "a", "/nowhere"], /Cannot share \/nowhere: No such file/],
    ["a device", ["rw", "a", "/dev/null"], /\/dev\/null: it is neither a folder nor a file/],
    ["a tag twice", ["rw", "a", "/usr", "rw", "a", "/usr"], /Cannot mount volume a: File exists/],
    ["a tag that leads elsewhere", ["rw", "../a", "/usr"], /"\.\.\/a" is no tag/],
    ["a hidden tag", ["rw", ".", "/usr"], /"\." is no tag/],
    ["an unknown mode", ["rx", "a", "/usr"], /"rx" is neither ro nor rw/],
    ["an owner of letters", ["rw,map=a:0:0:0", "a", "/usr"], /neither ro nor rw, with or/],
    ["half an owner", ["rw,map=1:2:3", "a", "/usr"], /neither ro nor rw, with or/],
    ["the id that is none", ["rw,map=1:2:3:4294967295", "a", "/usr"], /neither ro nor rw, with/],
    ["a missing path", ["rw", "a"], /is missing/],
  ] as const
) {
  Deno.test(`hutch-share refuses ${name}`, async () => {
    await using temp = await tree(Deno.uid() ?? 0);
    const folder = join(temp.path, "shares");
    const more = name === "a missing path" ? [] : ["--", "/bin/true"];
    const { code, out } = await share(Deno.uid() ?? 0, ["enter", folder, ...args, ...more]);
    assert.equal(code, 125);
    assert.match(out, why);
  });
}

Deno.test("hutch-share says what would help where it gets no namespace", async () => {
  const { code, stderr } = await new Deno.Command("unshare", {
    args: [
      ...["--user", "--map-root-user", "sh", "-c"],
      'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all "$@"',
      ...["sh", sharePath(), "enter", "/tmp", "--", "/bin/true"],
    ],
  }).output();
  assert.equal(code, 125);
  assert.match(
    new TextDecoder().decode(stderr),
    /a namespace is refused: .*run as root, or allow user namespaces: sysctl/,
  );
});

Deno.test("hutch-share refuses a link in place of a share", async () => {
  await using temp = await tree(Deno.uid() ?? 0);
  const link = join(temp.path, "link");
  await Deno.symlink("/etc", link);
  const folder = join(temp.path, "shares");
  const { code, out } = await share(Deno.uid() ?? 0, [
    ...["enter", folder, "rw", "a", link, "--", "/bin/true"],
  ]);
  assert.deepEqual([code, /neither a folder nor a file/.test(out)], [125, true], out);
});

Deno.test("hutch-share listens for a program, in its working folder", async () => {
  await using temp = await tree(Deno.uid() ?? 0);
  const socket = join(temp.path, "s");
  await Deno.writeTextFile(socket, "what an earlier one left");
  const look = "readlink /proc/self/fd/4; readlink /proc/self/fd/3";
  const { code, out } = await share(
    Deno.uid() ?? 0,
    ["listen", socket, ...sh(look)],
    join(temp.path, "rw"),
  );
  assert.equal(code, 0, out);
  const real = await Deno.realPath(temp.path);
  assert.match(out, new RegExp(`^\n${real}/rw\nsocket:\\[\\d+\\]\n$`));
  assert.equal((await Deno.stat(socket)).isSocket, true);
  assert.equal(((await Deno.stat(socket)).mode ?? 0) & 0o777, 0o700);
});

Deno.test("hutch-share says what it can't listen at or run", async () => {
  const long = `/tmp/${"x".repeat(120)}`;
  const uid = Deno.uid() ?? 0;
  for (
    const [args, why] of [
      [["listen", long, "--", "/bin/true"], /the path is too long/],
      [["listen", "/nowhere/s", "--", "/bin/true"], /Cannot listen at \/nowhere\/s: No such file/],
      [["listen", "/nowhere/s"], /an argument is missing/],
      [["beside", "/nowhere/life", "--", "/bin/true"], /two or three paths/],
      [["beside", "/nowhere/life", "/nowhere/own", "--", "/bin/true"], /Cannot listen at/],
      [["fly"], /usage/],
    ] as const
  ) {
    const { code, out } = await share(uid, args);
    assert.equal(code, 125);
    assert.match(out, why);
  }
  await using temp = await tree(uid);
  const args = ["enter", join(temp.path, "shares"), "--", "/nowhere"];
  assert.match((await share(uid, args)).out, /Cannot run \/nowhere: No such file/);
});

/** An order for what waits beside, as the box process's starter writes it. */
function order(lock: string, ...command: readonly string[]): string {
  return ["/dev/null", lock, "WORD=told", "", ...command, ""].map((text) => `${text}\0`).join("");
}

/** Starts a program by `hutch-share beside`; it says what it found, and then the first lines that the other says. */
function besideProgram(folder: string): ChildProcess {
  const path = (name: string) => join(folder, name);
  const script = `echo "$HUTCH_BESIDE"; set -- $HUTCH_BESIDE; read -r _
    head -n 4 /proc/$$/fd/$2 | tr '\\n' ' '; echo; read -r _`;
  return ChildProcess.start(new BoxLibrary(boxLibraryPath()), {
    command: [
      ...[sharePath(), "beside", path("life"), path("own"), path("network"), "--"] as const,
      ...["/bin/sh", "-c", script],
    ],
    ...{ asked: true, third: "told" },
  }) ?? assert.fail("it is locked");
}

/** Waits until a process has ended. */
async function untilOver(pid: number): Promise<void> {
  await until(() => Promise.resolve(!isRunning(pid)), () => Promise.resolve(`${pid} lives on`));
}

Deno.test("hutch-share starts what it is told to beside a program, which it dies with", async () => {
  await using temp = new TempFolder();
  const lock = join(temp.path, "lock");
  const program = besideProgram(temp.path);
  const [pid = 0, , transfer, network] = (await program.ask() ?? "").split(" ").map(Number);
  const made = await Deno.readLink(`/proc/${program.pid}/fd/${transfer}`);
  assert.equal(made, "/memfd:transfer (deleted)");
  const script =
    `exec >&2; echo $WORD; for fd in 0 3 4; do readlink /proc/$$/fd/$fd; done; exec sleep 600`;
  assert.equal(program.tellThird(order(lock, "/bin/sh", "-c", script)), true);
  const said = await program.ask("go") ?? "";
  assert.match(said, /^told \/dev\/null socket:\[\d+\] \/memfd:transfer \(deleted\) $/);
  assert.equal(FileLock.isHeld(lock), true);
  // Its sockets listen: one has somebody who isn't asked here, the other this program's.
  for (const name of ["own", "network"]) {
    using _connection = await Deno.connect({ transport: "unix", path: join(temp.path, name) });
  }
  assert.notEqual(network, -1);
  program.kill();
  await program.ended;
  await untilOver(pid);
  await until(
    () => Promise.resolve(!FileLock.isHeld(lock)),
    () => Promise.resolve("its lock is held"),
  );
});

Deno.test("what waits beside a program ends without an order, and with one that isn't whole", async () => {
  for (const text of ["", order("", "/bin/sleep", "600").slice(0, -1)]) {
    await using temp = new TempFolder();
    const program = besideProgram(temp.path);
    const [pid = 0] = (await program.ask() ?? "").split(" ").map(Number);
    program.tellThird(text);
    await untilOver(pid);
    assert.equal(await program.ask("go"), "");
    program.kill();
    await program.ended;
  }
});

Deno.test("what waits beside a program says why it can't start what it is told to", async () => {
  await using temp = new TempFolder();
  const program = besideProgram(temp.path);
  await program.ask();
  assert.ok(program.tellThird(order("", "/nowhere/program")));
  assert.equal(await program.ask("go"), "Cannot run /nowhere/program: No such file or directory ");
  program.kill();
  await program.ended;
});

Deno.test("nothing is started beside a program whose box has one that is just ending", async () => {
  await using temp = new TempFolder();
  const life = join(temp.path, "life");
  using _held = FileLock.try(life) ?? assert.fail("it is locked");
  const program = besideProgram(temp.path);
  assert.equal(await program.ask(), "");
  assert.equal(program.tellThird(order("", "/bin/sleep", "600")), false);
  assert.deepEqual([...Deno.readDirSync(temp.path)].map((entry) => entry.name), ["life"]);
  program.kill();
  await program.ended;
});
