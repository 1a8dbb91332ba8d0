import assert from "node:assert/strict";
import { join } from "node:path";
import runner from "../../plugins/engines/qemu_runner.ts";
import { TempFolder } from "../support/temp.ts";

/** Speaks as QEMU does to whoever listens at a path; `heard` gets the name of each command. */
async function playQemu(path: string, heard: (execute: string) => void): Promise<void> {
  using connection = await Deno.connect({ transport: "unix", path });
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

Deno.test("the runner of QEMU confines its process before a guest goes on from memory", async () => {
  await using home = new TempFolder();
  const path = (name: string) => join(home.path, name);
  await Deno.writeTextFile(path("qemu"), "#!/bin/sh\nexec sleep 60\n", { mode: 0o755 });
  await Deno.mkdir(path("memory"));
  await Deno.writeTextFile(path("memory/state"), "state");
  const steps: string[] = [];
  const starting = runner.start({
    ...{ id: "box", cpus: 1, memoryMiB: 64, kernel: { path: "/kernel", commandLine: "" } },
    ...{ disks: [], folder: home.path, consolePath: path("console") },
    ...{ channelPath: path("channel"), controlPath: path("control") },
    engine: { program: path("qemu"), setpriv: "setpriv", flock: "flock", accelerator: "tcg" },
    resume: {
      ...{ ramPath: path("memory/ram"), statePath: path("memory/state"), folder: path("memory") },
      marks: { version: "1.2.3", accelerator: "tcg" },
    },
  }, { confine: () => void steps.push("confine") });
  const talking = playQemu(path("control.own"), (execute) => {
    steps.push(execute);
    if (execute !== "cont") return;
    Deno.writeTextFileSync(path("console"), "hutch-agent: waiting for a host\n");
  });
  const machine = await starting;
  machine.kill();
  assert.equal((await machine.exited).signal, "SIGKILL");
  await talking;
  assert.equal(steps.filter((step) => step === "confine").length, 1);
  assert.ok(steps.indexOf("confine") < steps.indexOf("cont"), steps.join(" "));
});
