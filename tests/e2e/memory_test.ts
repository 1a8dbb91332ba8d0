import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { type Box, HutchError, type Runtime } from "../../mod.ts";
import { needs, runTool } from "../support/tools.ts";
import { BOX, ENGINE, hutch, until, withRuntime } from "./support.ts";

const VICTIM = fileURLToPath(new URL("../box/memory_victim.ts", import.meta.url));
const ignore = ENGINE !== "qemu";
const tools = needs("mount", "umount");
const MACHINE_ID = "0123456789abcdef0123456789abcdef";

function code(expected: string, words: RegExp = /^/): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, expected, error.message);
    assert.match(error.message, words);
    return true;
  };
}

/** Counts up in memory, and says so. */
const COUNTER =
  `i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; echo "at $i"; sleep 0.1; done`;

async function countOf(box: Box): Promise<number> {
  return Number(await box.sh`cat /dev/shm/count`.text());
}

/** What tells boxes from one another. */
async function identityOf(box: Box): Promise<Record<string, string>> {
  const said = await box.sh`hostname; cat /etc/hostname /etc/machine-id; ls /etc/ssh | wc -l
    head -c 16 /dev/urandom | od -An -tx1; date +%s; cat /sys/class/net/eth0/address`.text();
  const [host = "", file = "", machine = "", keys = "", random = "", now = "", mac = ""] = said
    .split("\n");
  return { host, file, machine, keys: keys.trim(), random, now, mac };
}

Deno.test(
  "boxes go on from one snapshot's memory, each as somebody else",
  { ignore },
  () =>
    withRuntime(async (runtime, home) => {
      await using server = Deno.serve(
        { port: 0, onListen() {} },
        () => new Response("of the host"),
      );
      const url = `http://host.hutch.internal:${server.addr.port}/`;
      const options = { ...BOX, name: "warm", network: "open" as const, disk: 256 };
      const warm = await runtime.create({ ...options, volumes: ["tmpfs:/scratch"] });
      await warm.sh`mkdir -p /etc/ssh; echo ${MACHINE_ID} > /etc/machine-id; echo disk > /note
      echo key > /etc/ssh/ssh_host_ed25519_key; echo memory > /scratch/note; echo hello > /tmp/note`;
      await warm.exec("sh", ["-c", COUNTER], { detached: true }).started;
      await warm.exec("httpd", ["-f", "-p", "8000", "-h", "/tmp"], { detached: true }).started;
      const attached = warm.exec("sh", ["-c", "exec sleep 12345"]);
      await attached.started;
      await until(async () => await countOf(warm) > 2, () => Promise.resolve("nothing counts"));
      const before = await countOf(warm);
      const made = await warm.snapshots.create("ready", { memory: true });
      assert.deepEqual([made.memory, made.consistency], [true, "filesystem"]);
      assert.ok(made.memoryBytes > 2 ** 20 && made.memoryBytes < 128 * 2 ** 20);
      const folder = join(home, "boxes", warm.id, "snapshots", `${made.id}.memory`);
      for (const name of ["ram", "state", "memory.json"]) {
        assert.equal((await Deno.stat(join(folder, name))).mode ?? 0 & 0o077, 0o100600, name);
      }
      assert.equal((await Deno.stat(folder)).mode ?? 0, 0o40700);
      // It goes on, and so does who waits for its command.
      const then = await countOf(warm);
      await until(
        async () => await countOf(warm) > then,
        () => Promise.resolve("warm stands still"),
      );
      const pending = await runtime.create({ from: { box: "warm", snapshot: "ready" } });
      const forks = await Promise.all(["one", "two", "three"].map(async (name) => {
        const fork = await runtime.create({ from: "warm/ready", name, labels: { is: name } });
        await fork.start();
        return fork;
      }));
      for (const fork of forks) checkBeside(home, fork.id);
      // What runs needs neither the snapshot nor the other box; what is yet to be started neither.
      await warm.snapshots.remove("ready");
      assert.deepEqual([...Deno.readDirSync(join(home, "boxes", warm.id, "snapshots"))], []);
      const identities = [await identityOf(warm), ...await Promise.all(forks.map(identityOf))];
      for (const key of ["host", "file", "machine", "random", "mac"]) {
        const all = identities.map((identity) => identity[key]);
        assert.equal(new Set(all).size, all.length, `${key}: ${all}`);
      }
      for (const [index, identity] of identities.slice(1).entries()) {
        assert.equal(identity.host, forks[index]?.name);
        assert.equal(identity.keys, "0"); // it has no ssh-keygen
        assert.match(identity.machine ?? "", /^[0-9a-f]{32}$/);
        assert.ok(Math.abs(Number(identity.now) - Date.now() / 1000) < 30, identity.now);
      }
      const [one, two] = forks;
      assert.ok(one && two);
      const [counter] = await warm.executions();
      assert.ok(counter);
      await checkGoesOn(one, { before, counter: counter.id, url });
      // What one writes, no other one has.
      await one.sh`echo changed > /scratch/note; echo changed > /note`;
      assert.equal(await two.sh`cat /scratch/note /note`.text(), "memory\ndisk");
      assert.equal(await pending.sh`cat /scratch/note /note`.text(), "memory\ndisk");
      await attached.kill("SIGKILL");
      await checkInputs([warm, pending, ...forks]);
      await goesOnFromFork(runtime, one);
      await checkLinkLocal(two);
      // Later starts boot, from what the disk has by then.
      const { machine } = await identityOf(two);
      await until(
        () => Promise.resolve(!renewalsOf(home).includes(two.id)),
        () => Promise.resolve("its new identity isn't on the disk"),
      );
      await two.restart();
      assert.equal(await two.sh`cat /note; ls /scratch | wc -l`.text(), "disk\n0");
      assert.equal((await identityOf(two)).machine, machine);
      for (const box of [warm, pending, ...forks]) await box.remove({ force: true });
    }),
);

/** Its machine was started beside its box process, and is that's. */
function checkBeside(home: string, id: string): void {
  const { beside } = JSON.parse(Deno.readTextFileSync(join(home, "boxes", id, "machine.json")));
  assert.equal(beside, true);
  const isBox = (pid: string) => {
    const plan = JSON.stringify(join(home, "boxes", id));
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes(plan);
  };
  const pids = [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) =>
    /^\d+$/.test(name)
  );
  const machine = pids.find((pid) => {
    try {
      return Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes(`\0hutch-${id}\0`);
    } catch {
      return false; // it has ended
    }
  });
  const parent = /^PPid:\s+(\d+)/m.exec(Deno.readTextFileSync(`/proc/${machine}/status`))?.[1];
  assert.ok(parent !== undefined && isBox(parent), `${machine} of ${parent}`);
}

/** Each gets what is sent to it and not to another one: by its own transfer disk, if it has one. */
async function checkInputs(boxes: readonly Box[]): Promise<void> {
  await Promise.all(boxes.map(async (box) => {
    const bytes = new Uint8Array(3_000_000);
    for (let at = 0; at < bytes.length; at += 60_000) {
      crypto.getRandomValues(bytes.subarray(at, at + 60_000));
    }
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    assert.equal((await box.exec("sha256sum", [], { stdin: bytes })).stdout, `${sum}  -\n`);
  }));
}

/** Its link-local address becomes the one that goes with its hardware address, which takes a moment. */
async function checkLinkLocal(box: Box): Promise<void> {
  const present = linkLocal((await identityOf(box)).mac ?? "");
  const found = async () =>
    (await box.sh`grep eth0 /proc/net/if_inet6`.text()).match(/^fe80[0-9a-f]{28}/gm) ?? [];
  await until(
    async () => (await found()).join() === present,
    async () => `has ${await found()}, not ${present}`,
  );
}

/** RFC 4291, appendix A, as the kernel writes it down. */
function linkLocal(mac: string): string {
  const [first = 0, ...rest] = mac.split(":").map((byte) => parseInt(byte, 16));
  const [b = 0, c = 0, d = 0, e = 0, f = 0] = rest;
  return `fe80000000000000${new Uint8Array([first ^ 2, b, c, 0xff, 0xfe, d, e, f]).toHex()}`;
}

async function checkGoesOn(
  box: Box,
  { before, counter, url }: {
    readonly before: number;
    readonly counter: string;
    readonly url: string;
  },
): Promise<void> {
  const now = await countOf(box);
  assert.ok(now >= before, `${now} before ${before}`);
  await until(
    async () => await countOf(box) > now,
    () => Promise.resolve("its command stands still"),
  );
  const held = (await box.executions()).map(({ id, command }) => [id, command[0]]);
  assert.deepEqual(held.map(([, command]) => command), ["sh", "httpd"]);
  assert.equal(held[0]?.[0], counter);
  // Its output is heard, and it is told to end, as where it was started.
  const execution = box.execution(counter);
  await using attached = execution.attach();
  for await (const line of attached.lines()) {
    assert.match(line, /^at \d+$/);
    break;
  }
  await execution.kill("SIGTERM");
  assert.equal((await execution.status()).signal, "SIGTERM");
  assert.equal(await box.sh`ps | grep -c "[s]leep 12345" || true`.text(), "0");
  assert.equal(await (await box.fetch(8000, "/note")).text(), "hello\n");
  assert.equal(await box.sh`wget -q -O - ${url}`.text(), "of the host");
}

/** One that goes on can be kept in turn. */
async function goesOnFromFork(runtime: Runtime, one: Box): Promise<void> {
  await one.snapshots.create("again", { memory: true });
  await using next = await runtime.create({ from: "one/again", env: { GREETING: "hi" } });
  assert.equal(await next.sh`cat /scratch/note; echo $GREETING`.text(), "changed\nhi");
  assert.deepEqual((await next.executions()).map(({ command }) => command[0]), ["httpd"]);
  await checkLinkLocal(next); // also if the other's was as it had been before it went on
}

function renewalsOf(home: string): string[] {
  const database = new DatabaseSync(join(home, "state.db"), { readOnly: true });
  try {
    return database.prepare("SELECT box_id FROM renewals").all().map((row) => String(row.box_id));
  } finally {
    database.close();
  }
}

Deno.test("memory that can't be kept, or gone on from, is refused with a word", {
  ignore: ignore || tools.ignore || Deno.uid() !== 0,
}, () =>
  withRuntime(async (runtime, home) => {
    const warm = await runtime.create({ ...BOX, name: "warm", disk: 256 });
    const keep = (name: string, signal?: AbortSignal) =>
      warm.snapshots.create(name, { memory: true, ...signal ? { signal } : {} });
    await assert.rejects(keep("a"), code("box_state", /configured/));
    await warm.exec("true");
    await warm.pause();
    await assert.rejects(keep("a"), code("box_state", /paused/));
    await warm.resume();
    const snapshots = join(home, "boxes", warm.id, "snapshots");
    const nothingKept = async (what: string) => {
      assert.deepEqual(await warm.snapshots.list(), [], what);
      assert.deepEqual(namesIn(snapshots), [], what);
      assert.equal(await warm.sh`echo on > /file; sync; cat /file`.text(), "on", what);
    };
    await assert.rejects(keep("a", AbortSignal.abort(new HutchError("cancelled", "by hand"))));
    const cancelling = new AbortController();
    const ram = () => namesIn(snapshots).some((name) => name.endsWith(".new"));
    const cancelled = keep("a", cancelling.signal);
    await until(() => Promise.resolve(ram()), () => Promise.resolve("nothing is written"));
    cancelling.abort(new HutchError("cancelled", "by hand"));
    await assert.rejects(cancelled, /by hand|cancelled/);
    await nothingKept("after it was cancelled");
    await killWhileKeeping(home, ram);
    assert.equal((await runtime.get("warm")).id, warm.id);
    await until(
      async () => (await warm.info()).status === "running",
      async () => `it is ${(await warm.info()).status}`,
    );
    assert.equal(await warm.sh`echo on > /file; sync; cat /file`.text(), "on");
    await Deno.mkdir(snapshots, { recursive: true });
    await runTool("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", snapshots);
    try {
      await assert.rejects(keep("a"), code("no_space"));
      await nothingKept("after the disk was full");
    } finally {
      await runTool("umount", snapshots);
    }
    await keep("a");
    assert.equal(namesIn(snapshots).length, 2); // what the killed one left is gone
    await warm.snapshots.create("disk");
    const from = (more: object, snapshot = "a") =>
      runtime.create({ from: `warm/${snapshot}`, ...more });
    await assert.rejects(from({}, "disk"), code("snapshot_unusable", /disk alone/));
    await assert.rejects(from({}, "none"), code("snapshot_not_found"));
    await assert.rejects(from({ cpus: 2 }), code("invalid_option", /another cpus.*1, not 2/));
    await assert.rejects(from({ memory: "256m" }), code("invalid_option", /another memory/));
    await assert.rejects(from({ engine: "libkrun" }), code("invalid_option", /another engine/));
    await assert.rejects(from({ volumes: ["/tmp:/x"] }), code("invalid_option", /with volumes/));
    await assert.rejects(from({ name: "warm" }), code("name_taken"));
    const boxes = namesIn(join(home, "boxes")).length;
    assert.equal(boxes, 1, "folders of refused boxes are left");
    await checkDamage(runtime, home, { ...BOX });
    const said = await hutch(home, ["run", "--rm", "--from", "warm/a", "cat", "/file"]);
    assert.deepEqual([said.stdout, said.stderr, said.code], ["on\n", "", 0]);
    await warm.remove({ force: true });
    assert.deepEqual(namesIn(join(home, "backing")), []);
  }));

/** A start doesn't trust what is in the files, and one that fails can be tried again. */
async function checkDamage(
  runtime: Runtime,
  home: string,
  { memory }: { readonly memory: number },
): Promise<void> {
  const fork = await runtime.create({ from: "warm/a", name: "hurt", memory, cpus: 1 });
  const folder = join(home, "boxes", fork.id, "memory");
  // Links are of the snapshot's own files: a copy is what gets hurt.
  for (const name of ["state", "memory.json"]) {
    const bytes = await Deno.readFile(join(folder, name));
    await Deno.remove(join(folder, name));
    await Deno.writeFile(join(folder, name), bytes);
  }
  const record = JSON.parse(await Deno.readTextFile(join(folder, "memory.json")));
  const tell = (more: object) =>
    Deno.writeTextFile(join(folder, "memory.json"), JSON.stringify({ ...record, ...more }));
  const { marks, machine, ram } = record;
  await tell({ marks: { ...marks, version: "0.0.1" } });
  await assert.rejects(fork.start(), code("boot_failed", /kept by QEMU 0\.0\.1 .*this is QEMU/));
  await tell({ machine: { ...machine, kernel: "/other" } });
  await assert.rejects(fork.start(), code("snapshot_unusable", /another kernel/));
  await tell({ ram: { ...ram, bytes: 4096 } });
  await assert.rejects(fork.start(), code("snapshot_unusable", /damaged/));
  await tell({ ram: { ...ram, modifiedMs: 1, digest: "0".repeat(64) } });
  await assert.rejects(fork.start(), code("snapshot_unusable", /damaged/));
  await Deno.writeTextFile(join(folder, "memory.json"), "{");
  await assert.rejects(fork.start(), code("snapshot_unusable"));
  const state = await Deno.readFile(join(folder, "state"));
  await Deno.writeFile(join(folder, "state"), state.map((byte, at) => at === 99 ? byte ^ 1 : byte));
  await tell({});
  await assert.rejects(fork.start(), code("snapshot_unusable", /damaged.*devices/));
  await Deno.writeFile(join(folder, "state"), state);
  await tell({ ram: { ...ram, modifiedMs: 1 } }); // as after a copy: it is read through, and good
  await fork.start();
  assert.equal(await fork.sh`cat /file`.text(), "on");
  await assert.rejects(Deno.stat(folder), Deno.errors.NotFound);
  await fork.remove({ force: true });
}

async function killWhileKeeping(home: string, writes: () => boolean): Promise<void> {
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", VICTIM, "warm", "killed"],
    env: { HUTCH_HOME: home },
    stdin: "null",
  }).spawn();
  await until(() => Promise.resolve(writes()), () => Promise.resolve("nothing is written"));
  child.kill("SIGKILL");
  assert.equal((await child.status).signal, "SIGKILL");
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
