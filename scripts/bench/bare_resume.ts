/**
 * The floor of going on from kept memory: the same QEMU, with the same machine, resumed from the same
 * files, and nothing else around it but, if asked for, an empty Deno program each, as every box has a
 * process of its own.
 *
 * @module
 */
import { join } from "node:path";
import type { Runtime } from "../../mod.ts";
import { memoryFiles, readMemory } from "../../src/vmm/kept_memory.ts";
import { isObject, QemuTalk } from "../../plugins/engines/qemu_control.ts";
import { resumeArguments } from "../../plugins/engines/qemu_arguments.ts";

/** The first that a guest's agent says, on the console, when it goes on. */
const LEFT = "hutch-agent: waiting for a host";
const STEP_MS = 4;

/** Times of one go, in `ms`. */
export interface Resumed {
  /** From its start until the last of the machines has said its first word. */
  readonly elapsed: number;
  /** Processor time of all QEMU processes together until then. */
  readonly processor: number;
}

/** Machines that go on from the memory of a box's snapshot, without hutch. */
export class BareResume {
  readonly #arguments: readonly string[];
  readonly #statePath: string;
  readonly #folder: string;
  readonly #disk: string;

  private constructor(
    options: {
      readonly arguments: readonly string[];
      readonly statePath: string;
      readonly folder: string;
      readonly disk: string;
    },
  ) {
    this.#arguments = options.arguments;
    this.#statePath = options.statePath;
    this.#folder = options.folder;
    this.#disk = options.disk;
  }

  /** Takes the command line of the box, which runs on QEMU. */
  static async of(runtime: Runtime, id: string, snapshot: string): Promise<BareResume> {
    const kept = join(runtime.home, "boxes", id, "snapshots", `${snapshot}.memory`);
    const { ramPath, statePath } = memoryFiles(kept);
    const { machine } = await readMemory(kept);
    const [program = "", ...args] = commandLineOf(`hutch-${id}`);
    return new BareResume({
      arguments: [
        program,
        ...args.map((arg) => arg.replace(/^(microvm,acpi=off)$/, "$1,memory-backend=microvm.ram")),
        ...resumeArguments(
          { ...{ ramPath, statePath, folder: kept, marks: {} } },
          machine.memoryMiB,
        ),
      ],
      statePath,
      // At the same depth as its box's: what its disk says of the one below is relative.
      folder: join(runtime.home, "bare"),
      disk: join(runtime.home, "boxes", id, "disk.qcow2"),
    });
  }

  /**
   * Has so many go on at once, and ends them.
   *
   * @param options `beside`: with an empty Deno program each.
   */
  async run(count: number, { beside }: { readonly beside: boolean }): Promise<Resumed> {
    const from = performance.now();
    const programs = Array.from(
      { length: beside ? count : 0 },
      () => new Deno.Command(Deno.execPath(), { args: ["eval", "1"] }).output(),
    );
    const machines = await Promise.all(
      Array.from({ length: count }, (_, number) => this.#start(join(this.#folder, `${number}`))),
    );
    try {
      await Promise.all(machines.map(({ resume }) => resume()));
      await Promise.all(machines.map(({ said }) => said()));
      await Promise.all(programs);
      const elapsed = performance.now() - from;
      return { elapsed, processor: machines.reduce((sum, { pid }) => sum + processorMs(pid), 0) };
    } finally {
      for (const { end } of machines) await end();
      await Deno.remove(this.#folder, { recursive: true });
    }
  }

  async #start(folder: string) {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.copyFile(this.#disk, join(folder, "disk.qcow2"));
    const [console, control] = [join(folder, "console"), join(folder, "control")];
    const listener = Deno.listen({ transport: "unix", path: control });
    const [program = "", ...args] = this.#arguments.map((arg) =>
      arg.replace(this.#disk, join(folder, "disk.qcow2"))
        .replace(/^file,id=console,path=.*?,append/, `file,id=console,path=${console},append`)
        .replace(/^socket,id=control,.*/, `socket,id=control,path=${control}`)
        .replace(/^socket,id=(own|agent),.*/, "null,id=$1")
        .replace(/^stream,id=network,.*/, `socket,id=network,udp=127.0.0.1:9,localaddr=127.0.0.1:0`)
    );
    const child = new Deno.Command(program, {
      args,
      stdin: "piped",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const talk = new QemuTalk(await listener.accept());
    listener.close();
    return {
      pid: child.pid,
      resume: async () => {
        const stdin = child.stdin.getWriter();
        await stdin.write(await Deno.readFile(this.#statePath));
        await stdin.close();
        await until(async () => {
          const answer = await talk.ask({ execute: "query-status" });
          return isObject(answer) && answer.status !== "inmigrate";
        });
        await talk.ask({ execute: "cont" });
      },
      said: () => until(async () => (await Deno.readTextFile(console)).includes(LEFT)),
      end: async () => {
        child.kill("SIGKILL");
        await child.status;
        talk[Symbol.dispose]();
      },
    };
  }
}

/** The command line of the process that has this text among its arguments. */
function commandLineOf(name: string): string[] {
  for (const { name: pid } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const line = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
      if (line.includes(name) && /qemu-system/.test(line[0] ?? "")) return line;
    } catch {
      // It ended.
    }
  }
  throw new Error(`no process of QEMU has ${name}`);
}

/** Processor time of a process so far, in `ms`. */
function processorMs(pid: number): number {
  const threads = [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => {
    const [nanoseconds] = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ");
    return Number(nanoseconds) / 1e6;
  });
  return threads.reduce((sum, each) => sum + each, 0);
}

async function until(done: () => Promise<boolean>): Promise<void> {
  while (!await done()) await new Promise((resolve) => setTimeout(resolve, STEP_MS));
}
