/**
 * A box's start, from its record to a guest that takes commands. Stages that don't need each
 * other run side by side, and the box process makes itself ready beside them (`ahead.ts`):
 *
 *     layout, image ‖ system, disk ‖ volumes ‖ network, boot, connect, configure, main
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { asPermissionError } from "../permissions.ts";
import type { GuestClient } from "../guest/client.ts";
import type { Stages } from "../plugin/contract.ts";
import { type StartScope, withinStart } from "../plugin/scope.ts";
import { type BoxProcess, untilEnded } from "../vmm/machine.ts";
import { ProcessAhead } from "./ahead.ts";
import type { StartContext } from "./context.ts";
import { deviceOf, network as networkOf } from "./network_stage.ts";
import { keptMemory } from "./kept.ts";
import type { Preboot } from "./preboot.ts";
import * as stages from "./stages.ts";

/** A box that runs. */
export interface StartedBox {
  readonly engine: string;
  readonly process: BoxProcess;
  readonly client: GuestClient;
  /** Time of each stage, in `ms`. */
  readonly stages: Readonly<Record<string, number>>;
}

/** A failure of a start, with the stage it happened in; the cause is the stage's own error. */
export class StartError extends HutchError {
  /** Tells it from other errors by name. */
  override readonly name: string = "StartError";
  /** The stage's name. */
  readonly stage: keyof Stages;

  /** Keeps the cause's code and hint. */
  constructor(box: string, stage: keyof Stages, cause: unknown) {
    const known = cause instanceof HutchError ? cause : undefined;
    super(
      known?.code ?? "boot_failed",
      `Cannot start box "${box}" (stage ${stage}): ${errorText(cause)}`,
      { cause, ...(known?.hint === undefined ? {} : { hint: known.hint }) },
    );
    this.stage = stage;
  }
}

/**
 * Starts a box. When a stage fails, the machine (if there is one) is stopped and the box's files
 * stay as they are.
 *
 * @throws StartError that names the stage.
 */
export async function startBox(context: StartContext): Promise<StartedBox> {
  const scope: StartScope = { box: context.box.id, guest: undefined, over: false };
  try {
    return await withinStart(scope, () => run(context, scope));
  } finally {
    scope.over = true;
  }
}

async function run(context: StartContext, scope: StartScope): Promise<StartedBox> {
  const { box } = context;
  const times: Record<string, number> = {};
  const stage = runner(context, times);
  await using guard = new AsyncDisposableStack();

  const own = await stage("layout", { box }, () => stages.layout(context));
  await using ahead = new ProcessAhead(context, own);
  const [image, system] = await all([
    stage("image", { box }, () => stages.image(context)),
    stage("system", {}, () => stages.system(context)),
  ]);
  const [disk, volumes, network] = await all([
    stage("disk", { layout: own, image, box }, (input) => stages.disk(context, input)),
    stage("volumes", { layout: own, box }, (input) => stages.volumes(context, input)),
    stage("network", { layout: own, box }, () => networkOf(context)),
  ]);

  let process: BoxProcess | undefined;
  let preboot: Preboot | undefined;
  const { disks, locks } = stages.disksOf(volumes);
  const kept = await keptMemory(own);
  const spec = {
    id: box.id,
    cpus: box.cpus,
    memoryMiB: box.memoryMiB,
    kernel: { path: system.kernelPath, commandLine: system.commandLine },
    disks: [system.disk, disk, ...disks],
    locks,
    consolePath: own.consolePath,
    channelPath: own.channelPath,
    shares: stages.sharesOf(volumes, own),
    network: deviceOf(box.id, network, own),
    controlPath: own.controlPath,
    folder: own.folder,
    ...kept ? { resume: kept.resume } : {},
  };
  const booted = await stage("boot", { spec, engine: box.engine, network }, async (input) => {
    const made = await stages.boot(context, input, own, { ahead, kept });
    process = made.process;
    preboot = made.preboot;
    guard.defer(async () => {
      made.process.kill();
      await made.process.ended();
      await untilEnded(own.lockPath); // an engine that ends its own process leaves the lock's file
    });
    return { engine: made.engine, pid: made.pid, ports: made.ports };
  });
  if (!process) {
    throw new StartError(
      box.name,
      "boot",
      new Error("a plugin answered it and started no machine"),
    );
  }
  const running = process;
  await context.booted(booted);

  let client: GuestClient | undefined;
  await stage("connect", { timeoutMs: box.bootTimeoutMs }, async (input) => {
    const made = await stages.connect(context, input, own, running);
    client = made.client;
    guard.use(made.client);
    return made.hello;
  });
  if (!client) {
    throw new StartError(box.name, "connect", new Error("a plugin answered it without a guest"));
  }
  const guest = client;

  await stage(
    "configure",
    { hostname: box.hostname, grow: true, volumes, network },
    async (input) => {
      const done = await stages.configure(context, input, guest, { kept, preboot });
      scope.guest = guest; // from here on hooks may run commands in the box
      return done;
    },
  );
  if (box.main && !kept) { // what runs goes on
    const { argv: [command = "", ...args], stdin, ...limits } = box.main;
    const options = { ...limits, stdin: stdin ? "piped" : "null" } as const;
    await stage("main", { command, args, options }, (input) => context.startMain(guest, input));
  }
  await preboot?.booted();
  guard.move(); // from here on the box lives
  return { engine: booted.engine, process: running, client: guest, stages: times };
}

/** Runs one stage with its plugins, tells listeners, takes the time, and names it in errors. */
function runner(context: StartContext, times: Record<string, number>) {
  const { box, handle, plugins, signal } = context;
  const about = { box: box.id, name: box.name };
  return async <S extends keyof Stages>(
    name: S,
    input: Stages[S]["input"],
    core: (input: Stages[S]["input"]) => Promise<Stages[S]["output"]>,
  ): Promise<Stages[S]["output"]> => {
    plugins.emit("stage.started", { ...about, stage: name });
    const from = performance.now();
    try {
      signal.throwIfAborted();
      const output = await plugins.run(name, input, { signal, box: handle }, core);
      const ms = Math.round((performance.now() - from) * 10) / 10;
      times[name] = ms;
      plugins.emit("stage.finished", { ...about, stage: name, ms });
      return output;
    } catch (error) {
      throw new StartError(box.name, name, causeOf(error, signal));
    }
  };
}

/** What a stage failed with; what it says of a start that was given up is in no one's words. */
function causeOf(error: unknown, signal: AbortSignal): unknown {
  if (!signal.aborted) return asPermissionError(error, "go on");
  const reason: unknown = signal.reason;
  return reason instanceof HutchError && reason.code === "cancelled"
    ? reason
    : new HutchError("cancelled", "it was cancelled", { cause: reason });
}

/** Waits for all, even when one fails: nothing goes on behind a failed start. */
async function all<T extends readonly Promise<unknown>[]>(
  running: readonly [...T],
): Promise<{ -readonly [I in keyof T]: Awaited<T[I]> }> {
  await Promise.allSettled(running);
  return await Promise.all(running);
}
