import assert from "node:assert/strict";
import { join } from "node:path";
import { boxLibraryPath } from "../../ffi/library.ts";
import type { MachineSpec, RunnerProgram } from "../../mod.ts";
import { qemu } from "../../plugins/engines/qemu.ts";
import { machineArguments } from "../../plugins/engines/qemu_arguments.ts";
import runner from "../../plugins/engines/qemu_runner.ts";
import { startProgram } from "../../src/vmm/program.ts";
import { TempFolder } from "../support/temp.ts";

const SPEC: MachineSpec = {
  ...{ id: "box", cpus: 1, memoryMiB: 64, kernel: { path: "/kernel", commandLine: "quiet" } },
  ...{ disks: [], folder: "/folder", consolePath: "/console" },
  ...{ channelPath: "/channel", controlPath: "/control", engine: {} },
};

/** Speaks as QEMU does on a connection; `heard` gets the name of each command. */
async function playQemu(
  connecting: Promise<Deno.UnixConn>,
  heard: (execute: string) => void,
): Promise<void> {
  using connection = await connecting;
  const say = (value: unknown) =>
    connection.write(new TextEncoder().encode(`${JSON.stringify(value)}\n`));
  const answers: Readonly<Record<string, unknown>> = {
    "query-version": { qemu: { major: 1, minor: 2, micro: 3 } },
    "query-status": { status: "paused" },
  };
  await say({ QMP: {} });
  let rest = "";
  for (let left = true; left;) {
    const bytes = new Uint8Array(4096);
    const count = await connection.read(bytes);
    const lines = (rest + new TextDecoder().decode(bytes.subarray(0, count ?? 0))).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const { execute } = JSON.parse(line);
      heard(execute);
      await say({ return: answers[execute] ?? {} });
    }
    left = count !== null;
  }
}

/**
 * Starts a machine that goes on from memory that this one kept; QEMU is played.
 *
 * @param isBeside Whether it runs already when its runner is called.
 */
async function goOn(
  home: TempFolder,
  marks: Readonly<Record<string, string>>,
  { confine, heard, isBeside = false }: {
    readonly confine: () => void;
    readonly heard: (execute: string) => void;
    readonly isBeside?: boolean;
  },
): Promise<void> {
  const path = (name: string) => join(home.path, name);
  await Deno.writeTextFile(path("qemu"), "#!/bin/sh\nexec sleep 60\n", { mode: 0o755 });
  await Deno.mkdir(path("memory"));
  await Deno.writeTextFile(path("memory/state"), "state");
  const own = { transport: "unix", path: path("control.own") } as const;
  using listener = isBeside ? Deno.listen(own) : undefined;
  const start = (program: RunnerProgram) => startProgram(boxLibraryPath(), program);
  const beside = isBeside ? await start({ command: [path("qemu")] }) : undefined;
  const starting = runner.start({
    ...SPEC,
    ...{ folder: home.path, consolePath: path("console") },
    ...{ channelPath: path("channel"), controlPath: path("control") },
    engine: { program: path("qemu"), accelerator: "tcg" },
    resume: {
      ...{ ramPath: path("memory/ram"), statePath: path("memory/state"), folder: path("memory") },
      marks,
    },
  }, {
    confine,
    counterKhz: () => Promise.resolve(undefined),
    beside,
    spawn: isBeside ? () => assert.fail("it runs already") : start,
  });
  const talking = playQemu(listener ? listener.accept() : Deno.connect(own), (execute) => {
    heard(execute);
    if (execute !== "cont") return;
    Deno.writeTextFileSync(path("console"), "hutch-agent: waiting for a host\n");
  });
  try {
    const machine = await starting;
    machine.kill();
    assert.equal((await machine.exited).signal, "SIGKILL");
  } finally {
    await talking;
  }
}

Deno.test("the runner of QEMU confines its process before a guest goes on from memory", async () => {
  await using home = new TempFolder();
  const steps: string[] = [];
  await goOn(home, { version: "1.2.3", accelerator: "tcg", smap: "off" }, {
    confine: () => void steps.push("confine"),
    heard: (execute) => void steps.push(execute),
  });
  assert.equal(steps.filter((step) => step === "confine").length, 1);
  assert.ok(steps.indexOf("confine") < steps.indexOf("cont"), steps.join(" "));
});

Deno.test("the runner of QEMU takes over a machine that was started beside its process", async () => {
  await using home = new TempFolder();
  const steps: string[] = [];
  await goOn(home, { version: "1.2.3", accelerator: "tcg", smap: "off" }, {
    ...{ confine: () => void steps.push("confine"), heard: (execute) => void steps.push(execute) },
    isBeside: true,
  });
  assert.ok(steps.indexOf("confine") < steps.indexOf("cont"), steps.join(" "));
  assert.ok(steps.includes("chardev-change"), steps.join(" "));
});

Deno.test("only a machine that goes on from memory is started beside its process", () => {
  const [engine] = qemu().engines ?? [];
  const options = { listener: 3, transferPath: "/transfer" };
  const resume = { ramPath: "/ram", statePath: "/state", folder: "/memory", marks: {} };
  const spec = { ...SPEC, engine: { program: "/qemu", accelerator: "tcg" } };
  assert.equal(engine?.beside?.(spec, options), undefined);
  const { command, input, lock } = engine?.beside?.({ ...spec, resume }, options) ?? assert.fail();
  assert.deepEqual([command[0], input, lock], ["/qemu", "/state", "/folder/qemu.lock"]);
  assert.ok(command.includes("socket,id=own,fd=3,server=on,wait=off"), command.join(" "));
  assert.ok(command.some((word) => word.includes('"filename":"/transfer"')), command.join(" "));
});

Deno.test("memory of a guest that was built for another processor is refused, in words", async () => {
  const steps: string[] = [];
  for (const smap of ["on", undefined]) {
    await using home = new TempFolder();
    const marks = { version: "1.2.3", accelerator: "tcg", ...smap ? { smap } : {} };
    await assert.rejects(
      goOn(home, marks, { confine: () => {}, heard: (execute) => void steps.push(execute) }),
      /its memory was kept by QEMU 1.2.3 with tcg, SMAP .*, and this is .*, SMAP off/,
    );
  }
  assert.ok(!steps.includes("cont"), steps.join(" "));
});

Deno.test("only an emulated guest goes without what guards its kernel, and is told of its counter", () => {
  const asked = (accelerator: string) => {
    const all = machineArguments({ ...SPEC, engine: { accelerator } }, { counterKhz: 2_000_000 });
    return { processor: all[all.indexOf("-cpu") + 1], kernel: all[all.indexOf("-append") + 1] };
  };
  assert.deepEqual(asked("kvm"), { processor: "host", kernel: "quiet" });
  const { processor, kernel } = asked("tcg");
  assert.match(processor ?? "", /^max,.*-smap/);
  assert.equal(kernel, "quiet mitigations=off tsc=reliable tsc_early_khz=2000000");
});

Deno.test("a guest's transfer disk is its last one, which it can only read; many disks leave no room", () => {
  const asked = (count: number) => {
    const disks = Array.from({ length: count }, (_, index) => (
      { path: `/disk${index}`, format: "qcow2", readOnly: false } as const
    ));
    const spec = { ...SPEC, disks, engine: { accelerator: "kvm" } };
    const all = machineArguments(spec, { transferPath: "/transfer" });
    const file = all.filter((each) => each.includes('"/transfer"')).map((each) => JSON.parse(each));
    return { kernel: all[all.indexOf("-append") + 1], file, all };
  };
  const { kernel, file, all } = asked(2);
  assert.equal(kernel, "quiet HUTCH_TRANSFER=/dev/vdc");
  assert.partialDeepStrictEqual(file, [{ driver: "file", "read-only": true }]);
  const devices = all.filter((each) => each.includes('"virtio-blk-device"'));
  assert.match(devices.at(-1) ?? "", /"drive":"disk2"/);
  assert.equal(devices.length, 3);
  assert.deepEqual([asked(4).kernel, asked(4).file], ["quiet", []]);
});
