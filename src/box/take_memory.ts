/**
 * Keeping a running box's memory as a part of a snapshot.
 *
 * It is written while the box stands still, right after its disk was left, so that both are of one
 * moment; what takes time besides is done when the box goes on. A folder `ID.memory.new` beside the
 * snapshots' records holds it until it is whole, then it is `ID.memory`; one without a record is nobody's.
 *
 * @module
 */
import { join } from "node:path";
import { asNoSpace, removeIfThere } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import type { EngineParts, MachineMemory } from "../vmm/engine.ts";
import {
  isShape,
  type KeptCommand,
  type MachineShape,
  memoryFiles,
  sealMemory,
  shapeOf,
} from "../vmm/kept_memory.ts";
import { machineOf } from "./box_machine.ts";
import type { BoxContext } from "./context.ts";
import type { BoxConfig } from "./options.ts";

/** The system's and the box's own. */
const OWN_DISKS = 2;
const FOLDER = /^([0-9a-f]{12})\.memory(\.new)?$/;

/** Where a snapshot's memory is. */
export function memoryFolder(context: Pick<BoxContext, "paths">, box: string, id: string): string {
  return join(boxPaths(context.paths, box).snapshotsFolder, `${id}.memory`);
}

/** Memory that is being kept; removed when disposed of, unless it is {@link MemoryTake.done}. */
export class MemoryTake implements AsyncDisposable {
  readonly #context: BoxContext;
  readonly #record: BoxRecord;
  readonly #folder: string;
  readonly #memory: MachineMemory;
  readonly #machine: MachineShape;
  readonly #client: GuestClient;
  readonly #signal: AbortSignal;
  #marks: EngineParts = {};
  #held: readonly KeptCommand[] = [];
  #done = false;

  private constructor(
    context: BoxContext,
    record: BoxRecord,
    parts: {
      readonly folder: string;
      readonly memory: MachineMemory;
      readonly machine: MachineShape;
      readonly client: GuestClient;
      readonly signal: AbortSignal;
    },
  ) {
    this.#context = context;
    this.#record = record;
    this.#folder = parts.folder;
    this.#memory = parts.memory;
    this.#machine = parts.machine;
    this.#client = parts.client;
    this.#signal = parts.signal;
  }

  /**
   * Prepares it, for whoever holds the box.
   *
   * @param id The snapshot's.
   * @throws HutchError `box_state`, `invalid_option` where this box's memory can't be kept.
   */
  static async begin(
    context: BoxContext,
    record: BoxRecord,
    { id, signal }: { readonly id: string; readonly signal: AbortSignal },
  ): Promise<MemoryTake> {
    const memory = memoryOf(context, record);
    const own = boxPaths(context.paths, record.config.id);
    const folder = memoryFolder(context, record.config.id, id);
    const machine = await shapeOfRunning(record.config, own.folder);
    const client = await GuestClient.connect(own.socketPath, { signal, timeoutMs: 5_000 });
    try {
      await Deno.mkdir(`${folder}.new`, { recursive: true, mode: 0o700 });
    } catch (error) {
      await client.close();
      throw asNoSpace(error, folder);
    }
    return new MemoryTake(context, record, { folder, memory, machine, client, signal });
  }

  /** Writes it; the box stands still. */
  async save(): Promise<void> {
    const list = await this.#client.held({ background: true });
    this.#held = list.filter(({ endedMs }) => endedMs === null)
      .map(({ id, command, tty }) => ({ id, command, tty }));
    const { machine } = machineOf(this.#context, this.#record);
    const { ramPath, statePath } = memoryFiles(`${this.#folder}.new`);
    try {
      this.#marks = await this.#memory.save(machine, {
        ...{ ramPath, statePath, signal: this.#signal },
        memoryMiB: this.#machine.memoryMiB,
      });
    } catch (error) {
      throw asNoSpace(deepest(error), this.#folder);
    }
  }

  /** Makes it whole; the box goes on. */
  async finish(): Promise<void> {
    const about = { marks: this.#marks, machine: this.#machine, held: this.#held };
    try {
      await sealMemory(`${this.#folder}.new`, {
        ...{ engine: this.#record.state.engine ?? "", ...about },
      });
      await Deno.rename(`${this.#folder}.new`, this.#folder);
    } catch (error) {
      throw asNoSpace(error, this.#folder);
    }
  }

  /** The snapshot is recorded. */
  done(): void {
    this.#done = true;
  }

  /** See the class. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
    if (this.#done) return;
    await removeIfThere(`${this.#folder}.new`);
    await removeIfThere(this.#folder);
  }
}

/** Removes memory that no snapshot has: of programs that died at work, for whoever holds the box. */
export async function sweepMemory(context: BoxContext, box: string): Promise<void> {
  const { snapshotsFolder } = boxPaths(context.paths, box);
  const found: { readonly name: string; readonly id: string }[] = [];
  try {
    for await (const { name } of Deno.readDir(snapshotsFolder)) {
      const [, id] = FOLDER.exec(name) ?? [];
      if (id !== undefined) found.push({ name, id });
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (found.length === 0) return;
  const known = new Set(context.disks.snapshots(box).map(({ id }) => id));
  for (const { name, id } of found) {
    if (!known.has(id) || name.endsWith(".new")) await removeIfThere(join(snapshotsFolder, name));
  }
}

/** Whose cause it is, where an engine wrapped it. */
function deepest(error: unknown): unknown {
  return error instanceof HutchError && error.cause !== undefined &&
      asNoSpace(error.cause, "") !== error.cause
    ? error.cause
    : error;
}

function memoryOf({ engines }: BoxContext, { config, state }: BoxRecord): MachineMemory {
  const { name } = config;
  if (state.status !== "running") {
    throw new HutchError(
      "box_state",
      `Cannot keep the memory of box "${name}": it is ${state.status}`,
      {
        hint: state.status === "paused"
          ? `resume it first (hutch resume ${name})`
          : `start it first (hutch start ${name})`,
      },
    );
  }
  const memory = engines.find((engine) => engine.name === state.engine)?.memory;
  if (memory) return memory;
  throw new HutchError(
    "invalid_option",
    `Cannot keep the memory of box "${name}": the engine ${state.engine} has no snapshots of memory`,
    { hint: "the plugin warm_pool has boxes ready there; or run the box with --engine qemu" },
  );
}

/**
 * The machine as it was started.
 *
 * @throws HutchError `invalid_option` when it has what can't be of the moment that memory is of.
 */
async function shapeOfRunning({ name }: BoxConfig, folder: string): Promise<MachineShape> {
  const path = join(folder, "machine.json");
  let shape: unknown;
  let shares = false;
  try {
    const { spec } = JSON.parse(await Deno.readTextFile(path));
    shape = shapeOf(spec);
    shares = "shares" in spec;
  } catch (error) {
    throw unreadable(path, errorText(error));
  }
  if (!isShape(shape)) throw unreadable(path, "it isn't a machine's description");
  if (!shares && shape.disks <= OWN_DISKS) return shape;
  throw new HutchError(
    "invalid_option",
    `Cannot keep the memory of box "${name}": it has ${
      shares ? "folders or files of this machine" : "disks"
    } as volumes, which go on without it`,
    { hint: "copy in what it needs; volumes that are memory (tmpfs) are kept" },
  );
}

function unreadable(path: string, why: string): HutchError {
  return new HutchError("state_corrupt", `Cannot read ${path}: ${why}`);
}
