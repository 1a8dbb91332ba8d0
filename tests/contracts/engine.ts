/**
 * What every engine must do. A test file calls {@link engineContract} with the engine and its
 * accelerator; the suite drives it as the product does, through a box process.
 */
import assert from "node:assert/strict";
import { timingSafeEqual } from "node:crypto";
import { join } from "node:path";
import { counterKhz } from "../../ffi/clock.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import type { Engine, EngineReport, KvmReport, MachineDisk } from "../../mod.ts";
import { errorText } from "../../src/errors.ts";
import { createOverlay } from "../../src/disk/qcow2.ts";
import { GuestClient } from "../../src/guest/client.ts";
import { killBoxProcess, startBoxProcess } from "../../src/vmm/machine.ts";
import { readExitFile } from "../../src/vmm/machine_file.ts";
import { processPauser } from "../../src/vmm/pauser.ts";

/** How long a test may take once its machine runs: an emulated processor can lose a wake-up. */
const LONGEST_MS = 240_000;
const MIB = 2 ** 20;
/** What is streamed both ways: eight windows of the protocol. */
const STREAMED = 2 ** 21;

/** What a machine of the suite boots from. */
export interface ContractParts {
  readonly kernelPath: string;
  readonly commandLine: string;
  readonly systemDisk: string;
  readonly baseDisk: string;
}

/** Runs the suite. */
export function engineContract(
  name: string,
  engine: Engine,
  kvm: () => Promise<KvmReport>,
  parts: () => Promise<ContractParts>,
): void {
  /** Boots a machine for a test; the steps of one share it. */
  const test = (
    title: string,
    run: (machine: Started, step: Deno.TestContext["step"]) => Promise<void>,
    { cpus = 1, quiet = true } = {},
  ) =>
    Deno.test(`engine ${name} ${title}`, async ({ step }) => {
      const given = await parts();
      const commandLine = quiet ? given.commandLine : given.commandLine.replace(" quiet", "");
      await using machine = await start(engine, kvm, { ...given, commandLine }, cpus);
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        machine.process.kill(); // which ends whatever waits for it
      }, LONGEST_MS);
      await run(machine, step).finally(() => clearTimeout(timer)).catch((error: unknown) => {
        if (!late) throw error;
      });
      assert.ok(!late, `the guest stood still, or took over ${LONGEST_MS / 1000} s`);
    });

  Deno.test(`engine ${name} says what it found`, async () => {
    const report = await engine.probe({ kvm, versions: true });
    assert.ok(report.usable, JSON.stringify(report.found));
    assert.ok(report.found.length > 0);
    for (const part of report.found) assert.ok(part.path && part.version, JSON.stringify(part));
  });

  test("serves its guest", async (machine, step) => {
    const { client } = machine;
    await step("connects its channel and runs commands, on a terminal too", async () => {
      assert.match(client.hello.kernel, /^\d+\.\d+/);
      assert.equal(await output(client, "echo hello"), "hello\n");
      const script = "stty -echo; tty; stty size; read x; echo $x; stty size";
      const stream = client.open({ ...request(script, true), tty: [24, 80] });
      const writer = stream.stdin.getWriter();
      let shown = "";
      for await (const text of stream.stdout.pipeThrough(new TextDecoderStream())) {
        shown += text;
        if (!shown.endsWith("24 80\r\n")) continue;
        stream.control({ op: "resize", tty: [50, 132] });
        await writer.write(new TextEncoder().encode("typed\n"));
      }
      assert.match(shown, /^\/dev\/pts\/\d+\r\n24 80\r\ntyped\r\n50 132\r\n$/);
      assert.equal((await stream.exit).code, 0);
      await stream.close();
    });
    await step("gives it the CPUs and memory asked for", async () => {
      assert.equal(await output(client, "grep -c ^processor /proc/cpuinfo"), "2\n");
      const kib = Number((await output(client, "awk '/MemTotal/{print $2}' /proc/meminfo")).trim());
      assert.ok(kib > 80 * 1024 && kib <= 128 * 1024, `${kib} KiB`);
    });
    await step("puts its memory where it can be of huge pages", () => {
      if (Deno.build.os !== "linux") return;
      const ends = memoryEnds(machine.process.pid, 128 * MIB);
      assert.ok(ends.length > 0, "no mapping is as large as the guest's memory");
      for (const end of ends) assert.equal(end % (2 * MIB), 0, end.toString(16));
    });
    await step(
      "gives it a clock that is finer than its ticks, if this machine has one",
      async () => {
        if (await counterKhz(boxLibraryPath()) === undefined) return;
        const path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        assert.doesNotMatch(await output(client, `cat ${path}`), /jiffies/);
      },
    );
    await step("moves a large stream both ways unchanged", async () => {
      const disk = "sed -n 's/.*HUTCH_TRANSFER=.dev.\\(vd.\\).*/\\1/p' /proc/cmdline";
      const read = `disk=$(${disk}); test -z $disk || awk '{print $3 * 512}' /sys/block/$disk/stat`;
      const before = await output(client, read);
      const stream = client.open(request("cat > /streamed; cat /streamed", true));
      const sent = new Uint8Array(STREAMED);
      for (let at = 0; at < STREAMED; at += 2 ** 16) {
        crypto.getRandomValues(sent.subarray(at, at + 2 ** 16));
      }
      const writer = stream.stdin.getWriter();
      await writer.write(sent);
      await writer.close();
      const received = await new Response(stream.stdout).bytes();
      assert.equal(received.length, STREAMED);
      assert.ok(timingSafeEqual(received, sent), "other bytes came back");
      await stream.close();
      // By its transfer disk, where the engine has said that there is one.
      const byDisk = Number(await output(client, read)) - Number(before);
      if (before !== "") assert.ok(byDisk >= STREAMED / 2, `${byDisk} bytes`);
    });
    await step("stands still while it is paused, and goes on where it was", async () => {
      const pauser = engine.pauser ?? processPauser;
      const handle = { pid: machine.process.pid, controlPath: join(machine.folder, "control") };
      const count = "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.01; done";
      const stream = machine.client.open(request(count, false));
      const lines = stream.stdout.pipeThrough(new TextDecoderStream()).getReader();
      await lines.read();
      assert.equal(await pauser.isPaused(handle), false);
      await pauser.pause(handle);
      assert.equal(await pauser.isPaused(handle), true);
      await pauser.pause(handle); // changes nothing
      // What was on its way comes; then nothing more does.
      let next = lines.read();
      for (;;) {
        const quiet = Promise.withResolvers<"quiet">();
        const timer = setTimeout(() => quiet.resolve("quiet"), 300);
        const first = await Promise.race([next, quiet.promise]);
        clearTimeout(timer);
        if (first === "quiet") break;
        next = lines.read();
      }
      await pauser.resume(handle);
      assert.equal(await pauser.isPaused(handle), false);
      assert.equal((await next).done, false);
      await pauser.resume(handle); // changes nothing
      assert.equal(await output(machine.client, "echo on"), "on\n");
      await lines.cancel();
      await stream.close();
    });
    await step("ends at once when it is killed while it is paused", async () => {
      const pauser = engine.pauser ?? processPauser;
      await pauser.pause({
        pid: machine.process.pid,
        controlPath: join(machine.folder, "control"),
      });
      await killBoxProcess(machine.process.pid, {
        lockPath: join(machine.folder, "running.lock"),
        exitPath: machine.exitPath,
      });
      assert.equal(readExitFile(machine.exitPath)?.reason, "killed");
    });
  }, { cpus: 2 });

  test("keeps what the guest wrote until it shuts down, and the disk below as it was", async (machine) => {
    const before = await digest(machine.baseDisk);
    await output(machine.client, "dd if=/dev/urandom of=/file bs=64k count=32 2>/dev/null; sync");
    await machine.client.request({ op: "shutdown", graceMs: 0 });
    await machine.process.ended();
    assert.equal(readExitFile(machine.exitPath)?.reason, "shutdown");
    assert.equal(await digest(machine.baseDisk), before);
    const { code, stdout } = await new Deno.Command("qemu-img", {
      args: ["check", machine.disk],
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stdout));
  });

  test(
    "writes the console to its file, and ends when the guest ends by itself",
    async (machine) => {
      const console = await Deno.readTextFile(join(machine.folder, "console.log"));
      assert.match(console, /Run \/init as init process/);
      await output(machine.client, "reboot -f; sleep 1000").catch(() => {});
      await machine.process.ended();
      assert.notEqual(readExitFile(machine.exitPath)?.reason, "killed");
    },
    { quiet: false },
  );

  test("ends at once when it is killed", async (machine) => {
    machine.process.kill();
    await machine.process.ended();
    assert.equal(readExitFile(machine.exitPath)?.reason, "killed");
  });
}

/** Where the mappings end that may be a guest's memory, of a process and those that it has started. */
function memoryEnds(pid: number, bytes: number): number[] {
  const ends: number[] = [];
  for (const of of [pid, ...childrenOf(pid)]) {
    for (const line of Deno.readTextFileSync(`/proc/${of}/maps`).split("\n")) {
      const [, from = "", to = ""] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      const [start, end] = [parseInt(from, 16), parseInt(to, 16)];
      // What is mapped below it later may have become one with it.
      if (end - start >= bytes && end - start < bytes * 1.25) ends.push(end);
    }
  }
  return ends;
}

function childrenOf(pid: number): number[] {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].flatMap(({ name }) => {
    const list = Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`).trim();
    return list === "" ? [] : list.split(" ").map(Number);
  });
}

interface Started extends AsyncDisposable {
  readonly client: GuestClient;
  readonly process: Awaited<ReturnType<typeof startBoxProcess>>;
  readonly folder: string;
  readonly exitPath: string;
  readonly disk: string;
  readonly baseDisk: string;
}

async function start(
  engine: Engine,
  kvm: () => Promise<KvmReport>,
  parts: ContractParts,
  cpus: number,
): Promise<Started> {
  await using kept = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "hutch-engine-" });
  kept.defer(() => Deno.remove(folder, { recursive: true }));
  const report: EngineReport = await engine.probe({ kvm, versions: false });
  const disk = join(folder, "disk.qcow2");
  await createOverlay({
    path: disk,
    backingPath: parts.baseDisk,
    backingFormat: "raw",
    sizeBytes: 2 ** 30,
  });
  const disks: MachineDisk[] = [
    { path: parts.systemDisk, format: "raw", readOnly: true },
    { path: disk, format: "qcow2", readOnly: false, below: [parts.baseDisk] },
  ];
  const exitPath = join(folder, "exit.json");
  const consolePath = join(folder, "console.log");
  const channelPath = join(folder, "guest");
  const controlPath = join(folder, "control");
  const process = await startBoxProcess({
    plan: {
      ...{ folder, channelPath, controlPath, consolePath, exitPath },
      library: boxLibraryPath(),
      runner: engine.runner,
      engine: report.parts,
      socketPath: join(folder, "sock"),
      lockPath: join(folder, "running.lock"),
      log: { folder: join(folder, "log"), maxBytes: 10 * 2 ** 20, files: 3 },
    },
    permissions: report.permissions,
  }, {
    spec: {
      ...{ folder, channelPath, controlPath, consolePath },
      id: "contract",
      cpus,
      memoryMiB: 128,
      kernel: { path: parts.kernelPath, commandLine: parts.commandLine },
      disks,
      engine: report.parts,
    },
    limits: { maxDurationMs: null, idleTimeoutMs: null },
    orders: [],
    signal: new AbortController().signal,
  });
  kept.defer(async () => {
    process.kill();
    await process.ended();
  });
  const client = await connected(join(folder, "sock")).catch(async (error: unknown) => {
    const said = (await Deno.readTextFile(consolePath)).trim();
    const end = said === ""
      ? "its console is empty"
      : `its console ends with:\n${said.slice(-1000)}`;
    throw new Error(`The machine didn't start: ${errorText(error)}; ${end}`, { cause: error });
  });
  kept.defer(() => client.close());
  const all = kept.move();
  return {
    client,
    process,
    folder,
    exitPath,
    disk,
    baseDisk: parts.baseDisk,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** A client of a machine that has been set up. */
async function connected(socketPath: string): Promise<GuestClient> {
  const client = await GuestClient.connect(socketPath, { timeoutMs: 180_000 });
  try {
    await client.request({ op: "configure", hostname: "contract", grow: true, mounts: [] });
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
}

async function output(client: GuestClient, script: string): Promise<string> {
  const stream = client.open(request(script, false));
  let text = "";
  for await (const bytes of stream.stdout) text += new TextDecoder().decode(bytes);
  await stream.exit;
  await stream.close();
  return text;
}

function request(script: string, stdin: boolean) {
  const env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
  return { op: "exec", argv: ["sh", "-c", script], env, cwd: "/", user: "", stdin } as const;
}

async function digest(path: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))));
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
