import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, definePlugin, type Runtime, type VolumeSpec } from "../../mod.ts";
import { TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";
import {
  BOX,
  hutch,
  processesOf,
  ROOT,
  RUN,
  TEST_ENGINE,
  until,
  withHome,
  withRuntime,
} from "./support.ts";

const on = `on ${TEST_ENGINE}`;
// All of it once; in the emulated machine, where everything is slow, what depends on the engine.
const everywhere = TEST_ENGINE === "qemu";

/** What a script in a box prints, errors too; it has to end with 0. */
async function said(box: Box, script: string): Promise<string> {
  const { code, stdout, stderr } = await box.exec("sh", ["-c", `{ ${script}\n} 2>&1`]);
  assert.equal(code, 0, stdout + stderr);
  return stdout;
}

function withVolumes(
  volumes: (host: string) => Promise<readonly VolumeSpec[]>,
  run: (box: Box, host: string, runtime: Runtime, home: string) => Promise<void>,
): Promise<void> {
  return withRuntime(async (runtime, home) => {
    await using host = new TempFolder();
    const specs = await volumes(host.path);
    await using box = await runtime.create({ ...BOX, name: "box", volumes: specs });
    await run(box, host.path, runtime, home);
    await box.remove({ force: true });
  });
}

Deno.test(`a box and its host see each other's files, 16 folders and more, as far as they may ${on}`, () =>
  withVolumes(async (host) => {
    const specs: VolumeSpec[] = [];
    for (let n = 0; n < 16; n++) {
      await Deno.mkdir(join(host, `v${n}`));
      await Deno.writeTextFile(join(host, `v${n}`, "name"), `v${n}\n`);
      specs.push(`${host}/v${n}:/srv/v${n}`);
    }
    await Deno.symlink("/etc/hostname", join(host, "v0/absolute"));
    await Deno.symlink("../../../../../../etc/hostname", join(host, "v0/relative"));
    await Deno.symlink("/etc", join(host, "v0/folder"));
    await Deno.mkdir(join(host, "locked"));
    await Deno.writeTextFile(join(host, "locked/file"), "kept\n");
    await Deno.writeTextFile(join(host, "one"), "one file\n");
    return [
      { host: join(host, "locked"), guest: "/srv/v0/inside/locked", readOnly: true },
      `${host}/one:/etc/one`,
      // Leads to the box's /etc, though the link is one on the host.
      `${host}/v1:/srv/v0/folder/through`,
      ...specs,
    ];
  }, async (box, host) => {
    const all = Array.from({ length: 16 }, (_, n) => `v${n}`);
    const cat = "for n in $(seq 0 15); do cat /srv/v$n/name; done";
    assert.deepEqual((await said(box, cat)).trim().split("\n"), all);
    assert.equal(await said(box, "cat /etc/one; ls /etc/through"), "one file\nname\n");

    await said(box, "echo new > /srv/v3/made; mkdir /srv/v3/d; mv /srv/v3/made /srv/v3/d/moved");
    assert.equal(await Deno.readTextFile(join(host, "v3/d/moved")), "new\n");
    await said(box, "echo more >> /etc/one");
    assert.equal(await Deno.readTextFile(join(host, "one")), "one file\nmore\n");
    await Deno.writeTextFile(join(host, "v3/d/late"), "late\n");
    await Deno.writeTextFile(join(host, "v3/name"), "another name\n");
    assert.equal(await said(box, "cat /srv/v3/d/late"), "late\n");
    // What is known of a file may be a few seconds old.
    const wait = "for n in $(seq 100); do grep -q another /srv/v3/name && break; sleep 0.2; done";
    assert.equal(await said(box, `${wait}; cat /srv/v3/name`), "another name\n");

    const write =
      "cd /srv/v0/inside/locked; for f in file new; do (echo x >> $f); done; rm -f file";
    const force = "mount -o remount,rw /srv/v0/inside/locked; umount /srv/v0/inside/locked";
    const refused = await said(box, `(${write}); mount -o remount,rw . ; (${write}); true`);
    assert.equal(refused.match(/Read-only file system/g)?.length, 6, refused);
    assert.equal(await Deno.readTextFile(join(host, "locked/file")), "kept\n");
    assert.deepEqual([...Deno.readDirSync(join(host, "locked"))].map(({ name }) => name), ["file"]);
    assert.match(
      await said(box, `mount; ${force}; true`),
      / \/srv\/v0 type virtiofs \(rw,nosuid,nodev/,
    );

    // Links on the host, followed by the box, lead to the box's own files.
    const { config } = await box.info();
    assert.equal(
      await said(box, "cat /srv/v0/absolute /srv/v0/relative; ls /srv/v0/../../../srv | head -n 1"),
      `${config.hostname}\n${config.hostname}\nv0\n`,
    );
    await assert.rejects(Deno.stat("/etc/through"), Deno.errors.NotFound);

    // The last bytes of a box that is stopped reach the host.
    await said(box, "dd if=/dev/zero of=/srv/v9/big bs=64k count=64; echo end >> /srv/v9/big");
    await box.stop();
    assert.equal((await Deno.stat(join(host, "v9/big"))).size, 2 ** 22 + 4);
    assert.equal(await said(box, "cat /srv/v9/name; mount | grep -c virtiofs"), "v9\n19\n");
  }));

/** A disk with an ext4 file system that has a file `name`. */
async function makeDisk(path: string, name: string): Promise<void> {
  await using content = new TempFolder();
  await Deno.writeTextFile(join(content.path, name), `${name}\n`);
  await runTool("mke2fs", "-q", "-t", "ext4", "-d", content.path, path, "8M");
}

Deno.test(`a box has memory and disks as volumes, with their options ${on}`, () =>
  withVolumes(async (host) => {
    await makeDisk(join(host, "raw"), "raw");
    await makeDisk(join(host, "plain"), "converted");
    const converted = join(host, "a,b.qcow2");
    await runTool(
      "qemu-img",
      "convert",
      "-f",
      "raw",
      "-O",
      "qcow2",
      join(host, "plain"),
      converted,
    );
    await Deno.mkdir(join(host, "folder"));
    await Deno.writeTextFile(join(host, "folder/run"), "#!/bin/sh\necho ran\n", { mode: 0o755 });
    return [
      `disk:${join(host, "raw")}:/mnt/raw:format=raw`,
      `disk:${converted}:/mnt/raw/in/converted:ro`,
      "tmpfs:/mnt/small:size=8m,mode=0700",
      { tmpfs: true, guest: "/mnt/exec", noexec: false },
      `${host}/folder:/mnt/folder:noexec`,
    ];
  }, async (box, host, runtime) => {
    const mounts = await said(box, "cat /proc/mounts");
    for (
      const line of [
        /^\/dev\/vdc \/mnt\/raw ext4 rw,nosuid,nodev,/m,
        /^\/dev\/vdd \/mnt\/raw\/in\/converted ext4 ro,nosuid,nodev,/m,
        /^tmpfs \/mnt\/small tmpfs rw,nosuid,nodev,noexec,.*size=8192k,mode=700/m,
        /^tmpfs \/mnt\/exec tmpfs rw,nosuid,nodev,relatime/m,
        / \/mnt\/folder virtiofs rw,nosuid,nodev,noexec/,
      ]
    ) assert.match(mounts, line);
    assert.equal(
      await said(box, "cd /mnt/raw; cat raw in/converted/converted"),
      "raw\nconverted\n",
    );
    assert.equal(
      await said(box, "ls /dev/vd* | wc -l"),
      "ls: /dev/vd*: No such file or directory\n0\n",
    );
    const tried = await said(
      box,
      `cd /mnt; /mnt/folder/run; cp folder/run exec; cp folder/run small; exec/run; small/run
       dd if=/dev/zero of=small/big bs=1M count=9; (echo x > raw/in/converted/new); true`,
    );
    assert.equal(tried.match(/Permission denied/g)?.length, 2, tried);
    assert.equal(tried.match(/^ran$/gm)?.length, 1, tried);
    assert.match(tried, /No space left on device/);
    assert.match(tried, /new: Read-only file system/);

    // Of what nosuid and nodev keep off, the box's own disk has nothing.
    await said(
      box,
      `for d in /mnt/raw /mnt/folder /srv; do
         mkdir -p $d; chmod 755 $d; cp /bin/busybox $d; chmod 4755 $d/busybox; mknod $d/null c 1 3
       done; mount -o remount,exec /mnt/folder`,
    );
    const asUser = async (script: string) => {
      const { stdout, stderr } = await box.exec("sh", ["-c", script], { user: "5:6" });
      return stdout + stderr;
    };
    for (const path of ["/mnt/raw", "/mnt/folder"]) {
      assert.match(await asUser(`${path}/busybox su -c id`), /must be suid/);
      // libkrun makes no devices in folders of this machine at all.
      assert.match(await asUser(`cat ${path}/null`), /Permission denied|No such file/);
    }
    assert.doesNotMatch(await asUser("/srv/busybox su -c id; cat /srv/null"), /suid|denied/);
    // Nor does the box's root write to a disk that it may only read, by a device of its own making.
    const write = "mknod /d b $(tr : ' ' < /sys/class/block/vdd/dev); echo x > /d; rm /d";
    assert.match(await said(box, `(${write}); true`), /Operation not permitted/);

    const [raw, qcow2] = [join(host, "raw"), join(host, "a,b.qcow2")];
    const other = async (volumes: readonly VolumeSpec[]) => {
      await using second = await runtime.create({ ...BOX, volumes });
      return (await second.exec("ls", ["/d"])).stdout;
    };
    for (
      const [spec, why] of [[`${raw}:/d:format=raw`, /another box has it/], [
        `${qcow2}:/d`,
        /another box has it/,
      ]] as const
    ) {
      await assert.rejects(other([`disk:${spec}`]), why);
    }
    if (everywhere) {
      assert.match(await other([`disk:${qcow2}:/d:ro`]), /^converted\n/);
      // What can't be mounted is said, with the path.
      await Deno.writeFile(join(host, "empty"), new Uint8Array(2 ** 20));
      await assert.rejects(
        other([`disk:${host}/empty:/d:format=raw`]),
        /at \/d in the box: its disk has no/,
      );
    }

    await said(box, "echo kept > /mnt/raw/made");
    await box.stop();
    assert.equal(await runTool("debugfs", "-R", "cat /made", raw), "kept\n");
    await runTool("e2fsck", "-fn", raw);
    assert.equal(await said(box, "cat /mnt/raw/made; ls /mnt/small"), "kept\n");
  }));

Deno.test(`named volumes outlive their boxes, and hold no more than they may ${on}`, () =>
  withRuntime(async (runtime) => {
    const { path: disk } = await runtime.volumes.create({ name: "limited", size: "48m" });
    const volumes = ["data:/named", { volume: "limited", guest: "/limited" }];
    await using box = await runtime.create({ ...BOX, name: "box", volumes });
    const filled = await said(
      box,
      "cat /proc/mounts; dd if=/dev/zero of=/limited/a bs=1M; ls -s /limited/a",
    );
    assert.match(filled, /^\/dev\/vdc \/limited ext4 rw,nosuid,nodev,/m);
    const kib = Number(/^ *(\d+) \/limited\/a$/m.exec(filled)?.[1]);
    assert.ok(kib > 24 * 1024 && kib <= 48 * 1024, filled); // grown to its disk, and no further
    await said(box, "rm /limited/a; echo kept > /limited/b; echo kept > /named/b");
    await box.stop();
    await box.remove();
    const { path, boxes } = await runtime.volumes.get("data");
    assert.deepEqual(boxes, []);
    assert.equal(await Deno.readTextFile(join(path, "b")), "kept\n");
    await using next = await runtime.create({ ...BOX, name: "next", volumes, autoRemove: true });
    assert.equal(await said(next, "cat /named/b; ls /limited"), "kept\nb\n");
    await assert.rejects(runtime.volumes.remove("data"), { code: "volume_in_use" });
    await said(next, "echo last > /limited/c; echo last > /named/c");
    await next.stop(); // removes it, whose own disk is left as it is
    assert.equal(await Deno.readTextFile(join(path, "c")), "last\n");
    assert.equal(await runTool("debugfs", "-R", "cat /b", disk), "kept\n");
    assert.equal(await runTool("debugfs", "-R", "cat /c", disk), "last\n");
    await runTool("e2fsck", "-fn", disk);
    for (const pausing of [false, true]) {
      const file = pausing ? "paused" : "forced";
      await using box = await runtime.create({ ...BOX, name: file, volumes });
      await said(box, `echo ${file} > /limited/${file}`);
      if (pausing) await box.pause();
      await box.remove({ force: true });
      assert.equal(await runTool("debugfs", "-R", `cat /${file}`, disk), `${file}\n`);
      await runTool("e2fsck", "-fn", disk);
    }
  }));

/** A folder whose file system can map owners: the emulated machine's own files are an overlay, whose owners none maps. */
async function folderWithOwners(stack: AsyncDisposableStack): Promise<string> {
  const { path } = stack.use(new TempFolder());
  if (Deno.env.get("IN_KVM_LAB") !== "1") return path;
  const [disk, mounted] = [join(path, "disk"), join(path, "mounted")];
  await runTool("mke2fs", "-q", "-t", "ext4", disk, "8M");
  await Deno.mkdir(mounted);
  await runTool("mount", "-o", "loop", disk, mounted);
  stack.defer(async () => void await runTool("umount", mounted));
  return mounted;
}

Deno.test(`owners of a volume are mapped, watchers hear of their own side, kill -9 leaves nothing ${on}`, () =>
  withRuntime(async (runtime, home) => {
    await using stack = new AsyncDisposableStack();
    const owned = join(await folderWithOwners(stack), "owned");
    const mapsOwners = Deno.uid() === 0;
    await Deno.mkdir(owned);
    await Deno.writeTextFile(join(owned, "file"), "");
    if (mapsOwners) {
      for (const path of [owned, join(owned, "file")]) Deno.chownSync(path, 1000, 1000);
    }
    const volumes = mapsOwners
      ? [
        `${owned}:/owned`,
        { host: owned, guest: "/kept", owner: "keep" },
        `${owned}:/other:owner=5:6`,
        { host: owned, guest: "/third", owner: { uid: 7, gid: 8 } },
      ]
      : [`${owned}:/owned`];
    await using box = await runtime.create({ ...BOX, name: "box", volumes });
    await using changes = box.fs.watch("/owned");
    await changes.ready;
    using seen = Deno.watchFs(owned);
    await Deno.writeTextFile(join(owned, "by-host"), "x");
    // The kernel of the box is told of nothing that it didn't do itself.
    await said(box, "cat /owned/by-host; echo > /owned/by-box");
    for await (const { paths } of changes) {
      assert.deepEqual(paths, ["/owned/by-box"]);
      break;
    }
    for await (const { paths } of seen) {
      if (paths.some((path) => path.endsWith("/by-box"))) break;
    }
    if (mapsOwners) {
      const stat = "stat -c %u:%g /owned/file /kept/file /other/file /third/file";
      assert.equal(await said(box, stat), "0:0\n1000:1000\n5:6\n7:8\n");
      const { code, stderr } = await box.exec("touch", ["/other/by-user"], { user: "5:6" });
      assert.equal(code, 0, stderr);
      for (const name of ["by-box", "by-user"]) {
        const { uid, gid } = await Deno.stat(join(owned, name));
        assert.deepEqual([uid, gid], [1000, 1000], name);
      }
    }

    const { pid } = await box.info();
    assert.ok(pid);
    const server = TEST_ENGINE === "libkrun" ? undefined : await serverOf(pid);
    Deno.kill(pid, "SIGKILL");
    const left = async () => [
      ...await processesOf(home),
      ...server !== undefined && await lives(server) ? [server] : [],
    ];
    await until(
      async () => (await left()).length === 0,
      async () => `left: ${JSON.stringify(await left())}`,
    );
    // A process has no command line any more a moment before it lets go of its lock.
    await until(
      async () => (await box.info()).status === "crashed",
      async () => `it is ${(await box.info()).status}`,
    );
    assert.deepEqual(await mountsIn(home), []);
    await box.remove({ force: true });
  }));

if (TEST_ENGINE !== "libkrun") {
  Deno.test(`a box whose virtiofsd dies is crashed, with the reason ${on}`, () =>
    withVolumes((host) => Promise.resolve([`${host}:/srv`]), async (box) => {
      const execution = box.exec("sh", ["-c", "sleep 1; exec ls /srv"]);
      await execution.started;
      const { pid } = await box.info();
      Deno.kill(await serverOf(pid ?? 0), "SIGKILL");
      await assert.rejects(async () => await execution, { code: "connection_lost" });
      const info = await box.wait();
      assert.equal(info.status, "crashed");
      assert.match(info.reason ?? "", /virtiofsd, which serves its volumes, ended with SIGKILL/);
      assert.equal((await box.exec("ls", ["-d", "/srv"])).stdout, "/srv\n");
    }));
}

if (everywhere) {
  Deno.test(`a virtiofsd that fails is a boot_failed with its words ${on}`, () =>
    withVolumes((host) => Promise.resolve([`${host}:/srv`]), async (box, host) => {
      const program = join(host, "virtiofsd");
      Deno.env.set("HUTCH_VIRTIOFSD", program);
      // The second has QEMU fail before it does.
      const failures = ["echo no luck today >&2", "exec 3>&-; sleep 0.1; echo no luck today >&2"];
      try {
        for (const failure of failures) {
          const script = `#!/bin/sh\n${failure}; exit 3\n`;
          await Deno.writeTextFile(program, script, { mode: 0o755 });
          await assert.rejects(box.start(), (error: unknown) => {
            assert.ok(error instanceof Error && "code" in error);
            assert.equal(error.code, "boot_failed");
            assert.match(error.message, /virtiofsd, which serves its volumes.*no luck today/);
            return true;
          });
        }
        Deno.env.set("HUTCH_SHARE", "/nowhere");
        await assert.rejects(box.start(), /there is no \/nowhere/);
        Deno.env.delete("HUTCH_SHARE");
        Deno.env.set("HUTCH_VIRTIOFSD", "/nowhere");
        await assert.rejects(box.start(), /virtiofsd, which volumes need on QEMU, is missing/);
      } finally {
        Deno.env.delete("HUTCH_SHARE");
        Deno.env.delete("HUTCH_VIRTIOFSD");
      }
      await box.exec("true");
    }));

  Deno.test(`hutch run -v and --mount share folders, and a restart finds them from anywhere ${on}`, () =>
    withHome(async (home) => {
      await using host = new TempFolder();
      await Deno.writeTextFile(join(host.path, "file"), "found\n");
      const back = Deno.cwd();
      Deno.chdir(host.path);
      try {
        const mount = "type=bind,source=./file,target=/one,readonly";
        const volumes = ["-v", ".:/here:ro", "--mount", mount];
        const first = await hutch(home, [
          ...["run", "--name", "box", ...RUN, ...volumes, "builtin:busybox"],
          ...["cat", "/here/file", "/one"],
        ]);
        assert.deepEqual([first.stdout, first.stderr], ["found\nfound\n", ""]);
      } finally {
        Deno.chdir(back);
      }
      const again = await hutch(home, ["exec", "box", "sh", "-c", "cat /here/file; echo > /one"]);
      assert.equal(again.stdout, "found\n");
      assert.match(again.stderr, /can't create \/one: Read-only file system/);
      await Deno.remove(join(host.path, "file"));
      assert.equal((await hutch(home, ["stop", "box"])).code, 0);
      const gone = await hutch(home, ["start", "box"]);
      assert.equal(gone.code, 125);
      assert.match(gone.stderr, /stage volumes.*Cannot use volume "\/one": .*file is not there/);
      assert.equal((await hutch(home, ["rm", "box"])).code, 0);
    }));

  Deno.test(`a volume that can't be is refused before anything is made ${on}`, () =>
    withRuntime(async (runtime, home) => {
      const image = "registry.invalid/never:asked";
      for (
        const [spec, why] of [
          ["/nowhere:/srv", /"\/nowhere:\/srv": \/nowhere is not there/],
          ["/tmp:srv", /has no "\/" first/],
          ["/tmp:/", /can't be at \//],
          ["/tmp:/a/../b", /has a "\.\."/],
          ["git:x:/srv", /no plugin knows this kind/],
          ["/tmp:/srv:x", /"x" is not one of its options/],
          ["disk:/tmp:/srv:format=raw", /\/tmp is not a file/],
          ["disk:/nowhere.img:/srv", /\/nowhere.img is not there/],
        ] as const
      ) {
        await assert.rejects(runtime.create({ image, volumes: [spec] }), why);
      }
      assert.deepEqual(await runtime.list({ all: true }), []);
      assert.deepEqual([...Deno.readDirSync(join(home, "boxes"))], []);
    }));

  for (const plugin of ["plugins/git_volume.ts", "plugins/volumes/host.ts"]) {
    Deno.test(`the example of ${plugin} shows the working folder's files ${on}`, () =>
      withHome(async (home) => {
        await using folder = new TempFolder();
        const git = (...args: string[]) =>
          runTool("git", "-C", folder.path, "-c", "user.name=n", "-c", "user.email=e", ...args);
        await git("init", "--quiet");
        await Deno.writeTextFile(join(folder.path, "readme"), "");
        await git("add", ".");
        await git("commit", "--quiet", "-m", "one");
        const source = await Deno.readTextFile(join(ROOT, plugin));
        const example = /```ts\n([^`]*)```/.exec(source)?.[1] ?? assert.fail("there is none");
        const program = join(folder.path, ".example.ts");
        const lines = example.replaceAll(/^ \* ?/gm, "").replaceAll(
          /from "(\.[^"]*)"/g,
          (_, path) => `from ${JSON.stringify(join(ROOT, plugin, "..", path))}`,
        );
        await Deno.writeTextFile(program, lines);
        const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["run", "-A", "--quiet", program],
          cwd: folder.path,
          env: { HUTCH_HOME: home },
        }).output();
        const decoder = new TextDecoder();
        assert.equal(decoder.decode(stdout), "readme\n\n", decoder.decode(stderr));
      }));
  }

  Deno.test(`links in a box's image don't lead its volumes out of the box ${on}`, () => {
    let guestPath = "/mnt/here";
    const moving = definePlugin({
      name: "moving",
      stages: {
        configure: {
          before: (input) => ({
            ...input,
            volumes: input.volumes.map((volume) => ({ ...volume, guestPath })),
          }),
        },
      },
    });
    return withRuntime(async (runtime) => {
      await using host = new TempFolder();
      await Deno.writeTextFile(join(host.path, "mark"), "");
      const volumes = [`${host.path}:/mnt/here`];
      await using box = await runtime.create({ ...BOX, name: "box", volumes });
      const links = {
        "/out": "../../../../../../var",
        "/magic": "/proc/self/cwd",
        "/nothing": "/nowhere",
        "/file": "/etc/passwd",
      };
      await said(box, Object.entries(links).map(([at, to]) => `ln -s ${to} ${at}`).join(";"));
      await box.stop();
      guestPath = "/out/in";
      assert.equal(await said(box, "ls /out/in /var/in"), "/out/in:\nmark\n\n/var/in:\nmark\n");
      await box.stop();
      for (
        const [place, why] of [
          ["/magic/in", /Too many levels of symbolic links/],
          ["/nothing/in", /at \/nothing\/in in the box: No such file/],
          ["/file", /Not a directory/],
        ] as const
      ) {
        guestPath = place;
        await assert.rejects(box.start(), (error: unknown) => {
          assert.ok(error instanceof Error);
          assert.match(error.message, /stage configure.*mount a volume at/);
          assert.match(error.message, why);
          return true;
        });
      }
      await box.remove({ force: true });
    }, { plugins: [moving] });
  });
}

/** The virtiofsd of a box process. */
async function serverOf(pid: number): Promise<number> {
  const children = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
  for (const child of children.trim().split(" ").map(Number)) {
    const command = await Deno.readTextFile(`/proc/${child}/cmdline`);
    if (command.includes("virtiofsd")) return child;
  }
  assert.fail(`no virtiofsd among ${children}`);
}

async function lives(pid: number): Promise<boolean> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
  return stat !== "" && !/\) [ZX] /.test(stat);
}

/** What is mounted below a home, as this process sees it. */
async function mountsIn(home: string): Promise<string[]> {
  const mounts = await Deno.readTextFile("/proc/self/mounts");
  return mounts.split("\n").filter((line) => line.includes(home));
}
