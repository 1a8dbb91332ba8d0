/**
 * The box process: the one host process per running box. It starts the machine through the
 * engine's runner, relays between clients and the guest, and writes down how the machine ended.
 *
 * It loads as little as it can, since it lives as long as its box. Its one argument is a
 * {@link BoxProcessPlan}: by that it makes ready what it can while the machine's parts are still being
 * made. It reads the {@link MachineFile} when it is told on its standard input that this is there.
 *
 * @module
 */
import { BoxLibrary } from "../../ffi/box_library.ts";
import { ChildProcess } from "../../ffi/child.ts";
import { counterKhz } from "../../ffi/clock.ts";
import { confine, type FileRule } from "../../ffi/confine.ts";
import { BoxLife } from "../../ffi/life.ts";
import { answers, askToShutDown } from "./ask_guest.ts";
import { watchConsole } from "./console_file.ts";
import type { Machine, MachineRunner } from "./engine.ts";
import { type MainExit, mainExitOf } from "./exit_payload.ts";
import { LogWriter } from "./log_writer.ts";
import { keepLimits } from "./limits.ts";
import {
  type BoxProcessPlan,
  DETACH,
  type ExitReason,
  type MachineFile,
  machineFilePath,
  type ReadyLine,
  START,
  writeExitFile,
} from "./machine_file.ts";
import {
  type InterceptorProcess,
  readSecretLine,
  startInterceptor,
} from "./interceptor_process.ts";
import { type NetworkProcess, NetworkRefused, startNetwork } from "./network_process.ts";
import { startProgram } from "./program.ts";
import { Relay } from "./relay.ts";
import { after } from "./timer.ts";

/** How long the guest gets to shut down when its creator is gone or a limit is reached, in `ms`. */
const GRACE_MS = 5_000;
/** How long it gets when its main command has ended: what that wrote is to reach the disk. */
const MAIN_GRACE_MS = 30_000;
/** How long a guest may take to answer before it counts as one that doesn't, in `ms`. */
const ANSWER_MS = 5_000;
/** How long a guest that gave up may take to be gone, in `ms`. */
const GOODBYE_GRACE_MS = 10_000;
/** How long a machine may take to be gone once its network is, in `ms`. */
const NETWORK_GRACE_MS = 1_000;
/**
 * How long after the guest's first word this process has what it needs from then on, in `ms`; and its
 * guest's first command, and other boxes that started with it, need the processor no more.
 */
const SETTLED_MS = 3_000;
/** Between two tries to get a lock that somebody else has, in `ms`. */
const LOCK_STEP_MS = 5;
/** How long clients get to read what is on its way to them when the machine has ended, in `ms`. */
const DRAIN_MS = 2_000;

/**
 * Is a box process by its plan; ends with the program.
 *
 * @param runner That of its engine, where it was loaded with this. @default {it is loaded by its URL}
 */
export async function main(plan: string, runner?: MachineRunner): Promise<void> {
  bearFullDisk();
  let code = 1;
  try {
    await run(JSON.parse(plan), runner);
    code = 0;
  } catch (error) {
    console.error(error);
    const known = error instanceof NetworkRefused
      ? { order: error.order, answer: error.answer }
      : {};
    say({ error: error instanceof Error ? error.message : String(error), ...known });
  }
  Deno.exit(code);
}

/** Its standard error is a file: what that has no room for is lost, and everything goes on. */
function bearFullDisk(): void {
  const say = console.error;
  console.error = (...words) => {
    try {
      say(...words);
    } catch {
      // Nobody can be told.
    }
  };
}

async function run(plan: BoxProcessPlan, known: MachineRunner | undefined): Promise<void> {
  using life = await begin(plan);
  const sockets = new Sockets(life, plan);
  try {
    await serve(plan, { sockets, known });
  } finally {
    sockets.remove(); // also when nothing came of it: they aren't in the box's folder
  }
}

/**
 * Waits for one that is just ending. Its exit file goes, if it began when its program had died already: then
 * nobody has read it.
 */
async function begin({ library, lockPath, exitPath }: BoxProcessPlan): Promise<BoxLife> {
  for (;;) {
    const life = BoxLife.begin(library, lockPath, exitPath);
    if (life) return life;
    await new Promise<void>((resolve) => after(LOCK_STEP_MS, resolve));
  }
}

async function serve(
  plan: BoxProcessPlan,
  { sockets, known }: {
    readonly sockets: Sockets;
    readonly known: MachineRunner | undefined;
  },
): Promise<void> {
  const { library } = plan;
  const beside = ChildProcess.beside(new BoxLibrary(library));
  const network = plan.network && startNetwork(plan.network, library, beside?.network); // it takes its time
  const loading = loadRunner(plan, known);
  loading.catch(() => {}); // seen below
  let kill: Machine["kill"] = () => Deno.exit(1); // there is no machine yet

  const log = new LogWriter(plan.log.folder, plan.log);
  const consoleWatch = watchConsole(plan.consolePath, (bytes) => log.console(bytes));
  /** There is a machine to start: how it ends is worth to be written down. */
  let wanted = false;
  let main: MainExit | undefined;
  /** The first reason counts; written at once, since an engine may end this process. */
  let written = false;
  const leave = (reason: ExitReason, message: string) => {
    if (written) return;
    written = true;
    try {
      if (wanted) writeExitFile(plan.exitPath, reason, { message, main });
    } catch (error) {
      console.error(error); // a full disk, or a box that was removed, mustn't keep the machine alive
    }
    sockets.remove();
  };
  const end = (reason: ExitReason, message: string) => {
    leave(reason, message);
    kill();
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => end("killed", ""));
  }
  Deno.addSignalListener("SIGHUP", () => {}); // the end of a terminal is no reason
  /** Why the guest was asked from here to shut down. */
  let windingUp: { readonly reason: ExitReason; readonly message: string } | undefined;
  const windUp = (reason: ExitReason, message: string, graceMs = GRACE_MS) => {
    if (windingUp) return;
    windingUp = { reason, message };
    after(graceMs, () => end(reason, message));
    void relay.saidHeld().then(() => askToShutDown(relay.guest));
  };
  let machine: Machine | undefined;
  /**
   * The guest has brought its disks to rest: nothing but restarting is left to it, which would take an
   * emulated machine as long as all that it has done to end.
   */
  let clean = false;
  const relay = await Relay.open({
    library,
    socketPath: plan.socketPath,
    channelPath: plan.channelPath,
    transfer: beside?.transfer,
    onHello: () => void after(SETTLED_MS, () => giveMemoryBack(relay)),
    onGoodbye: (payload) => {
      clean = !saysLost(payload);
      if (clean) {
        leave(windingUp?.reason ?? "shutdown", windingUp?.message ?? "");
      } else {
        leave("guest", "its agent gave up, and said why on its console");
        after(GOODBYE_GRACE_MS, () => kill());
      }
      consoleWatch.look(); // nothing may run here after the guest's end
      if (clean && relay.quiet) kill();
    },
    held: {
      log,
      machine() {
        const pause = machine?.pause?.bind(machine);
        const resume = machine?.resume?.bind(machine);
        return pause && resume && { pause, resume };
      },
      mainEnded: (exit) => {
        main = mainExitOf(exit);
        const { code, signal } = main;
        const how = signal ?? (code === null ? "" : `code ${code}`);
        windUp("main", code === 0 ? "" : `its main command ended with ${how}`, MAIN_GRACE_MS);
      },
    },
  });
  void relay.ended.then(async ({ why, message }) => {
    if (why === "agent_protocol") end("protocol", `the guest broke the protocol: ${message}`);
    if (!clean) return;
    await relay.drain(DRAIN_MS);
    kill();
  });
  const file = await machineFile(plan);
  if (!file) return await giveUp(relay, network);
  wanted = true;
  const { spec, limits } = file;
  const interceptor = await interceptorOf(plan);
  const [answered, runner] = await Promise.all([network?.order(file.orders), loading]);
  let confined = false;
  const confineOnce = (rules: readonly FileRule[]) => {
    if (confined) return;
    confined = true;
    confine(library, [...ownRules(plan), ...rules]);
  };
  const started = machine = await runner.start(spec, {
    confine: confineOnce,
    counterKhz: () => counterKhz(library),
    transferPath: relay.transferPath,
    beside: file.beside ? beside?.child : undefined,
    spawn: (program) => startProgram(library, program),
  });
  kill = () => started.kill();
  try {
    confineOnce([]);
  } catch (error) {
    kill();
    throw error;
  }
  say({ ready: true, answers: answered ?? [] });
  consoleWatch.start();
  // Its programs would wait for answers that never come.
  // (A machine that ends takes it along, and may be noticed later.)
  void network?.ended.then((message) => after(NETWORK_GRACE_MS, () => end("engine", message)));
  void interceptor?.ended.then((message) => end("engine", message));
  void watchCreator((detached) => {
    if (detached) return started.detached?.();
    windUp("creator", "");
  });
  const watched = keepLimits({
    limits,
    idleSinceMs: () => relay.state.idleSinceMs,
    answers: () => answers(relay.guest, ANSWER_MS),
    networkQuietMs: network && (() => network.quietMs()),
    reached: (message) => windUp("limit", message),
  });

  const exit = await started.exited;
  const how = exit.signal ? `signal ${exit.signal}` : `code ${exit.code}`;
  if (exit.code !== 0) leave("engine", `the engine ended with ${how}: ${exit.output}`);
  // One that was asked to ends for that, also when its goodbye wasn't heard.
  else leave(windingUp?.reason ?? "guest", windingUp?.message ?? "the guest ended by itself");
  consoleWatch.stop();
  log.close();
  watched.stop();
  await relay.drain(DRAIN_MS);
  relay.close();
}

async function loadRunner(
  { runner, engine }: BoxProcessPlan,
  known: MachineRunner | undefined,
): Promise<MachineRunner> {
  const loaded: { default: MachineRunner } = known ? { default: known } : await import(runner);
  loaded.default.prepare?.(engine);
  return loaded.default;
}

/** The machine's file, once it is there; undefined when its creator has ended or thinks better of it. */
async function machineFile({ folder }: BoxProcessPlan): Promise<MachineFile | undefined> {
  if (await readInput(START.length + 1) !== `${START}\n`) return undefined;
  return JSON.parse(Deno.readTextFileSync(machineFilePath(folder)));
}

/** The next bytes of the input; fewer at its end. */
async function readInput(count: number): Promise<string> {
  const buffer = new Uint8Array(count);
  let length = 0;
  while (length < count) {
    const n = await Deno.stdin.read(buffer.subarray(length)).catch(() => null);
    if (n === null) break;
    length += n;
  }
  return new TextDecoder().decode(buffer.subarray(0, length));
}

/** Ends what was made ready, and waits for that: whatever makes sockets has to be gone before they are. */
async function giveUp(relay: Relay, network: NetworkProcess | undefined): Promise<void> {
  relay.close();
  network?.kill();
  await network?.ended;
}

async function interceptorOf(
  { network, folder }: BoxProcessPlan,
): Promise<InterceptorProcess | undefined> {
  const asked = network?.interceptor;
  return asked && await startInterceptor(asked, { line: await readSecretLine(), folder });
}

/** What starting took is a tenth of all its memory, and wouldn't be given back by itself. */
function giveMemoryBack(relay: Relay): void {
  const collect: unknown = Reflect.get(globalThis, "gc"); // there is none in a compiled program
  if (typeof collect === "function") collect({ type: "major", flavor: "last-resort" });
  relay.trim();
}

/** Its folder, and its sockets to be removed: they are beside those of other boxes. */
function ownRules({ folder, socketPath }: BoxProcessPlan): readonly FileRule[] {
  return [
    { may: "write", path: folder },
    { may: "remove", path: socketPath.slice(0, socketPath.lastIndexOf("/")) },
  ];
}

/** All that may be there at the end. Who makes one takes one of a box process that died away before. */
class Sockets {
  readonly #life: BoxLife;
  #paths: readonly string[];

  constructor(life: BoxLife, plan: BoxProcessPlan) {
    const { socketPath, channelPath, controlPath, sharesSocketPath, network } = plan;
    this.#life = life;
    this.#paths = [
      ...[socketPath, channelPath, controlPath, `${controlPath}.own`],
      ...sharesSocketPath === undefined ? [] : [sharesSocketPath],
      ...network ? [network.socketPath, network.controlPath] : [],
      ...network?.interceptor ? [network.interceptor.socketPath] : [],
    ];
  }

  /** What can't be removed is told and left: the next one to come fails, and says why. Once. */
  remove(): void {
    const paths = this.#paths;
    this.#paths = [];
    try {
      this.#life.remove(paths);
    } catch (error) {
      console.error(error);
    }
  }
}

/** Whether a GOODBYE says `reason: "lost"`: its first pair, as CBOR, without a decoder. */
function saysLost(payload: Uint8Array): boolean {
  return new TextDecoder("latin1").decode(payload.subarray(1, 13)) === "\x66reason\x64lost";
}

/** Tells the starting program, which may have gone. */
function say(line: ReadyLine): void {
  try {
    Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
  } catch {
    // Nobody listens.
  }
}

/** Calls back when the creator has detached, or ends without: its end of our input closes. */
async function watchCreator(parted: (detached: boolean) => void): Promise<void> {
  parted(await readInput(DETACH.length) === DETACH);
}
