import assert from "node:assert/strict";
import { join } from "node:path";
import { buildTarget } from "../../ffi/build.ts";
import { PARTS, targetOf } from "../../ffi/parts.ts";
import { PROTOCOL_VERSION } from "../../src/guest/protocol.ts";
import { missingTools, runTool } from "../support/tools.ts";
import { testKernel } from "../support/kernel.ts";
import { FREE_DISK, STICK_DISK } from "../support/stuck_disk.ts";
import { TempFolder } from "../support/temp.ts";
import { projectRoot } from "./native.ts";
import { Peer } from "./peer.ts";

// What runs a guest here: the test's own machine, so that only the agent can be at fault.
const kernel = await testKernel();
const missing = [
  ...missingTools("cc", "qemu-system-x86_64", "mke2fs", "e2fsck", "dumpe2fs", "busybox"),
  ...kernel ? [] : ["libkrunfw"],
];
const ignore = missing.length > 0;
const note = ignore ? ` (needs ${missing.join(", ")})` : "";

const DISK_BYTES = 2 * 1024 ** 3;

/** A running guest. */
class Guest implements AsyncDisposable {
  readonly peer: Peer;
  readonly folder: TempFolder;
  readonly #child: Deno.ChildProcess;
  #ended = false;

  constructor(peer: Peer, child: Deno.ChildProcess, folder: TempFolder) {
    this.peer = peer;
    this.folder = folder;
    this.#child = child;
  }

  /** What the guest's console showed. */
  get console(): string {
    return Deno.readTextFileSync(join(this.folder.path, "console"));
  }

  /** Resolves when the machine has ended by itself. */
  async end(): Promise<Deno.CommandStatus> {
    const status = await this.#child.status;
    this.#ended = true;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.peer.ended;
    this.peer[Symbol.dispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}

/**
 * Boots a guest whose box's disk has busybox and what `prepare` puts beside it; `spoil` may change
 * the finished disk.
 */
async function boot(
  prepare: (root: string) => void = () => {},
  spoil: (disk: string) => void = () => {},
): Promise<Guest> {
  const folder = new TempFolder();
  const at = (name: string) => join(folder.path, name);
  await systemDisk(at("system"), at("system.img"));
  await boxDisk(at("box"), at("box.img"), prepare);
  spoil(at("box.img"));
  using listener = Deno.listen({ transport: "unix", path: at("agent.sock") });
  const child = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...["-M", "microvm,acpi=off", "-accel", "tcg", "-cpu", "max,-erms,-fsrm", "-m", "192"],
      ...["-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-kernel", kernel ?? ""],
      ...["-append", "console=hvc0 root=/dev/vda ro init=/init quiet panic=-1 reboot=t"],
      ...["-drive", `id=d0,file=${at("system.img")},format=raw,if=none,readonly=on`],
      ...["-device", "virtio-blk-device,drive=d0"],
      ...["-drive", `id=d1,file=${at("box.img")},format=raw,if=none`],
      ...["-device", "virtio-blk-device,drive=d1", "-device", "virtio-serial-device"],
      ...["-chardev", `file,id=c0,path=${at("console")}`, "-device", "virtconsole,chardev=c0"],
      ...["-chardev", `socket,id=a,path=${at("agent.sock")}`],
      ...["-device", "virtserialport,chardev=a,name=hutch.agent"],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return new Guest(new Peer(await listener.accept()), child, folder);
}

async function systemDisk(root: string, image: string): Promise<void> {
  const output = join(projectRoot, "build", PARTS.agent.file);
  const target = targetOf(PARTS.agent, join(projectRoot, "ffi"), { output, strict: true });
  await buildTarget(target);
  for (const name of ["box", "dev", "proc", "run", "sys"]) {
    Deno.mkdirSync(join(root, name), { recursive: true });
  }
  Deno.copyFileSync(target.output, join(root, "init"));
  await runTool("mke2fs", "-q", "-t", "ext4", "-d", root, image, "4M");
}

async function boxDisk(
  root: string,
  image: string,
  prepare: (root: string) => void,
): Promise<void> {
  Deno.mkdirSync(join(root, "bin"), { recursive: true });
  const busybox = (await runTool("sh", "-c", "command -v busybox")).trim();
  Deno.copyFileSync(busybox, join(root, "bin", "busybox"));
  for (const name of (await runTool("busybox", "--list")).trim().split("\n")) {
    if (name !== "busybox") Deno.symlinkSync("busybox", join(root, "bin", name));
  }
  prepare(root);
  await runTool("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", root, image, "16M");
  Deno.truncateSync(image, DISK_BYTES);
}

function etc(root: string): void {
  Deno.mkdirSync(join(root, "etc"));
}

async function configured(guest: Guest): Promise<void> {
  const hello = await guest.peer.hello;
  assert.partialDeepStrictEqual(hello, { protocol: PROTOCOL_VERSION });
  const outcome = await guest.peer.open({
    op: "configure",
    hostname: "nest",
    grow: true,
    mounts: [],
  })
    .outcome();
  assert.equal(outcome.error, undefined);
  assert.deepEqual(outcome.order, ["REPLY", "CLOSE"]);
}

async function said(guest: Guest, script: string): Promise<string> {
  const outcome = await guest.peer.shell(script, { user: "0" });
  assert.equal(outcome.error, undefined);
  return (outcome.stdout + outcome.stderr).trimEnd();
}

async function shutDown(guest: Guest, graceMs: number, discard = false): Promise<void> {
  const outcome = await guest.peer.open({ op: "shutdown", graceMs, discard }).outcome();
  assert.deepEqual(outcome.order, ["REPLY", "CLOSE"]);
  assert.deepEqual(await guest.peer.goodbye, { reason: "shutdown", message: "" });
  assert.equal((await guest.end()).code, 0);
  if (!discard) await isClean(guest);
}

/** The box's disk is whole, and nothing waits in its journal. */
async function isClean(guest: Guest): Promise<void> {
  const disk = join(guest.folder.path, "box.img");
  await runTool("e2fsck", "-fn", disk);
  assert.doesNotMatch(await runTool("dumpe2fs", "-h", disk), /needs_recovery/);
}

Deno.test(
  `the agent gives a box a view of its own, and ends cleanly${note}`,
  { ignore },
  async () => {
    await using guest = await boot();
    await guest.peer.hello;
    const early = await guest.peer.exec(["true"]).outcome();
    assert.partialDeepStrictEqual(early.error, { kind: "bad_request" });
    await configured(guest);
    const again = await guest.peer.open({ op: "configure", hostname: "x", grow: false, mounts: [] })
      .outcome();
    assert.partialDeepStrictEqual(again.error, { kind: "bad_request" });

    assert.equal(await said(guest, "hostname; cat /etc/hostname"), "nest\nnest");
    assert.match(await said(guest, "cat /etc/hosts"), /127\.0\.0\.1\s+localhost[^]*nest/);
    assert.equal(
      await said(guest, "ls /dev/vd* /dev/vport* /dev/hvc* /dev/kmsg /dev/mem 2>/dev/null"),
      "",
    );
    const mounts = (await said(guest, "cut -d' ' -f1-3 /proc/mounts")).split("\n").sort();
    assert.deepEqual(mounts, [
      "/dev/vdb / ext4",
      "cgroup2 /sys/fs/cgroup cgroup2",
      "devpts /dev/pts devpts",
      "mqueue /dev/mqueue mqueue",
      "proc /proc proc",
      "sysfs /sys sysfs",
      "tmpfs /dev tmpfs",
      "tmpfs /dev/shm tmpfs",
      "tmpfs /run tmpfs",
    ]);
    assert.equal(await said(guest, "ls -d /init /box 2>/dev/null"), "");
    assert.match(
      await said(guest, "ps -o pid,args"),
      /^PID +COMMAND\n +1 \/init\n +\d+ [^\n]*ps -o pid,args$/,
    );
    assert.equal(
      await said(guest, "echo kept > /file && cat /file && echo x > /dev/null && ls /dev/shm /run"),
      "kept\n/dev/shm:\n\n/run:",
    );
    // The first GiB is there at once, the rest a moment later: 30 s at most, else it never comes.
    const bytes = await said(
      guest,
      `n=0; while [ $(stat -f -c %b /) -lt ${Math.floor(0.9 * DISK_BYTES / 4096)} ]; do ` +
        `n=$((n + 1)); [ $n -lt 300 ] || break; sleep 0.1; done; stat -f -c '%b %S' /`,
    );
    const [blocks = 0, size = 0] = bytes.split(" ").map(Number);
    assert(blocks * size > 0.9 * DISK_BYTES, `the file system has grown: ${bytes}`);
    assert.equal(
      await said(guest, "cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn; umask"),
      "0\n1024\n1048576\n0022",
    );
    assert.match(await said(guest, "ip address show lo"), /127\.0\.0\.1/);
    assert.equal(
      await said(guest, "mkdir /m && mount -t tmpfs none /m && umount /m && echo may mount"),
      "may mount",
    );
    assert.equal(
      await said(guest, "(sleep 0 &) ; sleep 0.1; grep -l ') Z ' /proc/[0-9]*/stat"),
      "",
    );
    await shutDown(guest, 5000);
  },
);

Deno.test(`the agent stops what runs: asked, then forced${note}`, { ignore }, async () => {
  await using guest = await boot(etc);
  await configured(guest);
  const polite = guest.peer.shell(
    "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.02; done",
    { user: "0" },
  );
  const stubborn = guest.peer.shell("trap '' TERM; echo ready; while :; do sleep 1; done", {
    user: "0",
  });
  await said(guest, "(trap '' TERM; sleep 1000) >/dev/null 2>&1 &");
  while (!(await said(guest, "ps")).includes("sleep 1000")) continue;
  await shutDown(guest, 300);
  assert.partialDeepStrictEqual(await polite, {
    stdout: "ready\nbye\n",
    exit: { code: 9, signal: null, timedOut: false },
  });
  assert.partialDeepStrictEqual(await stubborn, {
    exit: { code: null, signal: "SIGKILL", timedOut: false },
  });
});

Deno.test(
  `the agent ends the guest when the box powers itself off${note}`,
  { ignore },
  async () => {
    await using guest = await boot();
    await configured(guest);
    guest.peer.exec(["poweroff", "-f"], { user: "0" });
    assert.partialDeepStrictEqual(await guest.peer.goodbye, {
      reason: "shutdown",
      message: "the box asked for it",
    });
    assert.equal((await guest.end()).code, 0);
    await isClean(guest);
  },
);

Deno.test(
  `the agent withstands an image whose names lead elsewhere${note}`,
  { ignore },
  async () => {
    await using guest = await boot((root) => {
      etc(root);
      Deno.mkdirSync(join(root, "target"));
      Deno.symlinkSync("/proc/sysrq-trigger", join(root, "etc", "hostname"));
      Deno.symlinkSync("../../../../init", join(root, "etc", "hosts"));
      Deno.symlinkSync("../../../../target", join(root, "run"));
      Deno.writeTextFileSync(join(root, "etc", "group"), "x".repeat(100_000) + ":::\n\0\n::::::\n");
      Deno.mkdirSync(join(root, "etc", "passwd"));
    });
    await configured(guest);
    assert.equal(
      await said(guest, "hostname; readlink /etc/hostname; ls /target"),
      "nest\n/proc/sysrq-trigger",
    );
    assert.match(await said(guest, "grep target /proc/mounts"), /^tmpfs \/target tmpfs/);
    const named = await guest.peer.exec(["true"], { user: "daemon" }).outcome();
    assert.partialDeepStrictEqual(named.error, { kind: "failed" });
    assert.match(guest.console, /write \/etc\/hostname in the box/);
    await shutDown(guest, 1000);
  },
);

Deno.test(`the agent says why a box's disk can't be mounted${note}`, { ignore }, async () => {
  await using guest = await boot(undefined, (disk) => {
    using file = Deno.openSync(disk, { write: true });
    file.writeSync(new Uint8Array(64 * 1024));
  });
  await guest.peer.hello;
  const outcome = await guest.peer.open({
    op: "configure",
    hostname: "nest",
    grow: true,
    mounts: [],
  })
    .outcome();
  assert.partialDeepStrictEqual(outcome.error, { kind: "failed" });
  assert.match(JSON.stringify(outcome.error), /mount the box's disk/);
  await guest.peer.open({ op: "shutdown", graceMs: 1000 }).outcome();
  assert.partialDeepStrictEqual(await guest.peer.goodbye, { reason: "shutdown" });
  assert.equal((await guest.end()).code, 0);
});

Deno.test(`the agent leaves a disk as it is that nobody wants${note}`, { ignore }, async () => {
  await using guest = await boot();
  await configured(guest);
  assert.equal(await said(guest, "echo bye > /file"), "");
  await shutDown(guest, 1000, true);
  const disk = join(guest.folder.path, "box.img");
  assert.match(await runTool("dumpe2fs", "-h", disk), /needs_recovery/);
});

Deno.test(`the agent waits for orphans of a box that nobody wants${note}`, { ignore }, async () => {
  await using guest = await boot();
  await configured(guest);
  const orphan = "trap 'sleep 0.3; echo late; exit' TERM; touch /up; while :; do sleep 0.05; done";
  const outcome = guest.peer.exec(["sh", "-c", `(${orphan}) &`]).outcome();
  await said(guest, "until [ -e /up ]; do sleep 0.05; done");
  await shutDown(guest, 20_000, true);
  assert.equal((await outcome).stdout, "late\n");
});

Deno.test(
  `the agent leaves the disk clean when the box was never configured${note}`,
  { ignore },
  async () => {
    await using guest = await boot();
    await guest.peer.hello;
    await shutDown(guest, 1000);
  },
);

Deno.test(
  `the agent ends the guest when the host is gone, or raves${note}`,
  { ignore },
  async () => {
    for (const rave of [false, true]) {
      await using guest = await boot();
      await configured(guest);
      await said(guest, "echo kept > /file; sleep 1000 >/dev/null 2>&1 &");
      if (rave) guest.peer.raw(new Uint8Array(100));
      else guest.peer[Symbol.dispose]();
      assert.equal((await guest.end()).code, 0);
      if (rave) assert.partialDeepStrictEqual(await guest.peer.goodbye, { reason: "lost" });
      await isClean(guest);
    }
  },
);

Deno.test(
  `the agent freezes no longer than it may, and lets go what it has by then${note}`,
  { ignore },
  async () => {
    await using guest = await boot();
    await configured(guest);
    const freeze = (limit: number) =>
      guest.peer.exec(["freeze", `${limit}`, "10000"], {
        ...{ stdin: true, user: "0", env: [], more: { builtin: "freeze" } },
      });
    // 30 s at most, else it never comes.
    const written = (path: string) =>
      said(
        guest,
        `(echo on > ${path}) >/dev/null 2>&1 & n=0; while [ ! -s ${path} ]; do ` +
          `n=$((n + 1)); [ $n -lt 300 ] || break; sleep 0.1; done; cat ${path}`,
      );
    assert.equal(await said(guest, STICK_DISK), "");
    await said(guest, `(sleep 60; ${FREE_DISK}) >/dev/null 2>&1 &`); // an end, should there be no limit
    const late = await freeze(1000).outcome(); // of /c, and then of /b
    assert.deepEqual([...late.raw], [110]); // ETIMEDOUT
    assert.deepEqual(late.exit, { code: 1, signal: null, timedOut: false });
    for (const path of ["/c/file", "/file"]) assert.equal(await written(path), "on", path);
    await said(guest, FREE_DISK);
    for (const path of ["/b/file", "/a/file"]) assert.equal(await written(path), "on", path);
    const good = freeze(60_000);
    good.input("", true);
    const { raw, exit } = await good.outcome();
    assert.deepEqual([[...raw], exit], [[0], { code: 0, signal: null, timedOut: false }]);
    const end = "umount /$2 && losetup -d /dev/loop$1";
    const ends = `for disk in "1 b" "0 a" "2 c"; do set -- $disk; ${end}; done`;
    assert.equal(await said(guest, ends), "");
    await shutDown(guest, 5000);
  },
);
