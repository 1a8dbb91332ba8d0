import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, HutchError, type Plugin } from "../../mod.ts";
import { filesIn } from "../box/snapshot_model.ts";
import { killWhileStill } from "../box/quiesce_kill.ts";
import { FREE_DISK, STICK_DISK } from "../support/stuck_disk.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { BOX, ENGINE, until, withRuntime } from "./support.ts";

const tools = needs("qemu-img", "e2fsck");

/** The box's file system, as it is in a disk: whole after its journal was replayed, as a mount does. */
async function checkDisk(home: string, path: string): Promise<void> {
  await runTool("qemu-img", "check", "-q", path);
  const flat = join(home, "flat.img");
  await runTool("qemu-img", "convert", "-U", "-O", "raw", path, flat);
  await new Deno.Command("e2fsck", { args: ["-fp", flat] }).output();
  await runTool("e2fsck", "-fn", flat);
  await Deno.remove(flat);
}

/** Counts up in a file of fixed lines, each brought to the disk before the next. */
const WRITER =
  `i=0; while :; do i=$((i+1)); printf '%08d\\n' $i >> /log; sync /log 2>/dev/null || sync
  printf x > /tmp/one; cp /tmp/one /tmp/two; done`;

/** Makes a key where there is none, as the real one with `-A`. */
const KEYGEN = `#!/bin/sh
[ -e /etc/ssh/ssh_host_rsa_key ] || echo "made by $*" > /etc/ssh/ssh_host_rsa_key
`;

/** The lines count up without a gap. */
async function checkLog(box: Box): Promise<number> {
  const program = `$0 != sprintf("%08d", NR) { print "bad " NR ": " $0; exit } END { print NR }`;
  const said = await box.sh`awk ${program} /log`.text();
  assert.match(said, /^\d+$/);
  return Number(said);
}

Deno.test(`snapshots and clones of a box under load are whole${tools.note}`, {
  ignore: tools.ignore,
}, () =>
  withRuntime(async (runtime, home) => {
    const box = await runtime.create({ ...BOX, name: "loaded", disk: 256 });
    await box
      .sh`mkdir -p /etc/ssh /var/lib/systemd; echo 0123456789abcdef0123456789abcdef > /etc/machine-id
      echo key > /etc/ssh/ssh_host_ed25519_key; echo pub > /etc/ssh/ssh_host_ed25519_key.pub
      echo seed > /var/lib/systemd/random-seed`;
    await box.fs.writeTextFile("/usr/bin/ssh-keygen", KEYGEN, { mode: 0o755 });
    const mac = async (of: Box) => await of.sh`cat /sys/class/net/eth0/address`.text();
    const own = await mac(box);
    await using _writer = box.exec("sh", ["-c", WRITER]);
    const lines = async () => Number(await box.sh`cat /log 2>/dev/null | wc -l`.text());
    const stuck = () => Promise.resolve("nothing is written");
    await until(async () => await lines() > 3, stuck);
    for (let n = 1; n <= 3; n++) {
      const { consistency, reason } = await box.snapshots.create(`s${n}`);
      assert.deepEqual([consistency, reason], ["filesystem", null]);
    }
    const [live] = await box.clone({ name: "live" });
    assert.ok(live);
    assert.equal((await box.info()).status, "running");
    await box.sh`sync; echo 3 > /proc/sys/vm/drop_caches`; // what is read now comes from the disks
    const before = await checkLog(box);
    await until(async () => await lines() > before, stuck); // it goes on
    await box.stop();
    for (const { backing } of await box.snapshots.list()) {
      await checkDisk(home, join(home, "backing", String(backing), "disk.qcow2"));
    }
    await checkDisk(home, join(home, "boxes", box.id, "disk.qcow2"));
    assert.ok(await checkLog(live) > 3);
    assert.notEqual(await mac(live), own);
    const identity = await live
      .sh`hostname; cat /etc/machine-id; ls /etc/ssh; cat /etc/ssh/ssh_host_*
      cat /var/lib/systemd/random-seed | wc -c`.text();
    const [host, machine, ...more] = identity.split("\n");
    assert.deepEqual([host, more], ["live", ["ssh_host_rsa_key", "made by -A", "512"]], identity);
    assert.match(machine ?? "", /^[0-9a-f]{32}$/);
    assert.notEqual(machine, "0123456789abcdef0123456789abcdef");
    await live.restart();
    assert.equal((await live.sh`cat /etc/machine-id`.text()).trim(), machine);
    await live.remove({ force: true });
    const { safety } = await box.snapshots.restore("s1", { stop: true });
    assert.ok(safety);
    const then = await checkLog(box);
    assert.ok(then < before);
    await box.remove({ force: true });
    assert.deepEqual(filesIn(join(home, "backing")), []);
  }));

Deno.test("quiesce freezes, goes on whatever happens, and says when it couldn't", () => {
  const told: unknown[] = [];
  const watch: Plugin = {
    name: "watch",
    on: {
      "box.quiesced": ({ consistency, reason }) => void told.push([consistency, reason !== null]),
    },
  };
  return withRuntime(async (runtime) => {
    const box = await runtime.create({ ...BOX, name: "still" });
    await box.start();
    let writing: PromiseLike<unknown> | undefined;
    const failing = box.quiesce(async () => {
      writing = box.exec("sh", ["-c", "echo x > /file; sync"]);
      const late = Promise.withResolvers<string>();
      setTimeout(() => late.resolve("nothing moves"), 500);
      const first = await Promise.race([writing.then(() => "it ran"), late.promise]);
      assert.equal(first, "nothing moves");
      throw new Error("of the caller");
    });
    await assert.rejects(failing, { message: "of the caller" });
    await writing;
    assert.equal(await box.sh`echo on > /file; sync; cat /file`.text(), "on");
    const crash = async (words: RegExp) => {
      const report = await box.quiesce(() => 1);
      assert.equal(report.consistency, "crash");
      assert.match(report.reason ?? "", words);
      await assert.rejects(
        box.quiesce(() => 1, { consistency: "required" }),
        (error) =>
          error instanceof HutchError && error.code === "freeze_failed" &&
          words.test(error.message),
      );
    };
    await box.sh`fsfreeze --freeze /`; // by somebody else, who has a reason
    await crash(/frozen already/);
    await box.sh`fsfreeze --unfreeze /`;
    await box.pause();
    await crash(/paused/);
    await box.resume();
    const run = async (script: string) => {
      const signal = AbortSignal.timeout(60_000); // what waits for a disk can't be killed
      const { success, stderr } = await box.exec("sh", ["-c", script], { signal });
      assert.ok(success, stderr);
    };
    await run(STICK_DISK);
    const late = await box.quiesce(() => 1);
    assert.deepEqual([late.consistency, late.reason], ["crash", "it took longer than 5000 ms"]);
    await run("echo on > /file; echo on > /c/file");
    await run(`${FREE_DISK}; echo on > /a/file; echo on > /b/file; sync`);
    assert.equal((await box.quiesce(() => 1)).consistency, "filesystem");
    assert.equal(await box.sh`echo still > /file; sync; cat /file`.text(), "still");
    const all = () => Promise.resolve(told.length === 4);
    await until(all, () => Promise.resolve(JSON.stringify(told)));
    assert.deepEqual(told, [
      ...[["crash", true], ["crash", true], ["crash", true], ["filesystem", false]],
    ]);
    await box.remove({ force: true });
  }, { plugins: [watch] });
});

Deno.test("memory is refused where the engine can't keep it, or the box has what can't be kept", () =>
  withRuntime(async (runtime) => {
    await using folder = new TempFolder();
    const box = await runtime.create({ ...BOX, name: "has", volumes: [`${folder.path}:/shared`] });
    await box.exec("true");
    const words = ENGINE === "libkrun" ? /no snapshots of memory.*warm_pool/ : /as volumes.*tmpfs/;
    await assert.rejects(box.snapshots.create("a", { memory: true }), (error) => {
      assert.ok(error instanceof HutchError);
      assert.equal(error.code, "invalid_option");
      assert.match(`${error.message} ${error.hint}`, words);
      return true;
    });
    assert.deepEqual(await box.snapshots.list(), []);
    await box.remove({ force: true });
  }));

Deno.test("a box whose program dies while it stands still goes on", () =>
  withRuntime(async (runtime, home) => {
    await killWhileStill(home, { ...BOX, name: "held" });
    const box = await runtime.get("held");
    assert.equal(await box.sh`echo on > /file; sync; cat /file`.text(), "on");
    assert.equal((await box.info()).status, "running");
    await box.remove({ force: true });
  }));
