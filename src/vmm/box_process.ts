/**
 * The box process: the one host process per running box. It starts the machine through the
 * engine's runner, relays between clients and the guest, and writes down how the machine ended.
 *
 * It loads as little as it can, since it lives as long as its box. Its one argument is the path
 * of a {@link MachineFile}.
 *
 * @module
 */
import { counterKhz } from "../../ffi/clock.ts";
import { confine, type FileRule } from "../../ffi/confine.ts";
import { FileLock } from "../file_lock.ts";
import { answers, askToShutDown } from "./ask_guest.ts";
import { watchConsole } from "./console_file.ts";
import type { Machine, MachineRunner } from "./engine.ts";
import { type MainExit, mainExitOf } from "./exit_payload.ts";
import { LogWriter } from "./log_writer.ts";
import { keepLimits } from "./limits.ts";
import {
  DETACH,
  type ExitReason,
  type MachineFile,
  type ReadyLine,
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
/** How long clients get to read what is on its way to them when the machine has ended, in `ms`. */
const DRAIN_MS = 2_000;

if (import.meta.main) await main(Deno.args[0] ?? "");

/** Is the box process of a {@link MachineFile}; ends with the program. */
export async function main(path: string): Promise<void> {
  let code = 1;
  try {
    await run(JSON.parse(Deno.readTextFileSync(path)));
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

async function run(file: MachineFile): Promise<void> {
  using _lock = await FileLock.acquire(file.lockPath); // waits for one that is just ending
  removeExitFile(file); // of that one, if it began when its program had died already
  const sockets = new Set(socketsOf(file));
  try {
    await serve(file, sockets);
  } finally {
    removeSockets(sockets); // also when nothing came of it: they aren't in the box's folder
  }
}

async function serve(file: MachineFile, sockets: Set<string>): Promise<void> {
  const beside = startBeside(file); // it takes its time, in which everything else is made ready
  beside.catch(() => {}); // seen below
  let kill: Machine["kill"] = () => Deno.exit(1); // there is no machine yet

  const log = new LogWriter(file.log.folder, file.log);
  const consoleWatch = watchConsole(file.spec.consolePath, (bytes) => log.console(bytes));
  let main: MainExit | undefined;
  /** The first reason counts; written at once, since an engine may end this process. */
  let written = false;
  const leave = (reason: ExitReason, message: string) => {
    if (written) return;
    written = true;
    try {
      writeExitFile(file.exitPath, reason, { message, main });
    } catch (error) {
      console.error(error); // a full disk, or a box that was removed, mustn't keep the machine alive
    }
    removeSockets(sockets);
  };
  const end = (reason: ExitReason, message: string) => {
    leave(reason, message);
    kill();
  };
  /** Why the guest was asked from here to shut down. */
  let windingUp: { readonly reason: ExitReason; readonly message: string } | undefined;
  const windUp = (reason: ExitReason, message: string, graceMs = GRACE_MS) => {
    if (windingUp) return;
    windingUp = { reason, message };
    after(graceMs, () => end(reason, message));
    void relay.saidHeld().then(() => askToShutDown(relay.guest));
  };
  let machine: Machine | undefined;
  /** The guest has brought its disks to rest: nothing but restarting is left to it. */
  let clean = false;
  const relay = await Relay.open({
    library: file.library,
    socketPath: file.socketPath,
    channelPath: file.spec.channelPath,
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
    kill(); // restarting would take an emulated machine as long as all that it has done to end
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => end("killed", ""));
  }
  Deno.addSignalListener("SIGHUP", () => {}); // the end of a terminal is no reason

  const [{ interceptor, network }, runner] = await Promise.all([beside, loadRunner(file)]);
  let confined = false;
  const confineOnce = (rules: readonly FileRule[]) => {
    if (confined) return;
    confined = true;
    confine(file.library, [...ownRules(file), ...rules]);
  };
  const started = machine = await runner.start(file.spec, {
    confine: confineOnce,
    counterKhz: () => counterKhz(file.library),
    spawn: (program) => startProgram(file.library, program),
  });
  kill = () => started.kill();
  try {
    confineOnce([]);
  } catch (error) {
    kill();
    throw error;
  }
  say({ ready: true, answers: network?.answers ?? [] });
  consoleWatch.start();
  // Its programs would wait for answers that never come.
  // (A machine that ends takes it along, and may be noticed later.)
  void network?.ended.then((message) => after(NETWORK_GRACE_MS, () => end("engine", message)));
  void interceptor?.ended.then((message) => end("engine", message));
  void watchCreator((detached) => {
    if (detached) return started.detached?.();
    windUp("creator", "");
  });
  const limits = keepLimits({
    limits: file.limits,
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
  limits.stop();
  await relay.drain(DRAIN_MS);
  relay.close();
}

async function loadRunner({ runnerModule, spec }: MachineFile): Promise<MachineRunner> {
  const module: { default: MachineRunner } = await import(runnerModule);
  module.default.prepare?.(spec);
  return module.default;
}

/** Starts what the machine's network is made of. */
async function startBeside({ library, network, spec }: MachineFile): Promise<{
  readonly interceptor: InterceptorProcess | undefined;
  readonly network: NetworkProcess | undefined;
}> {
  const asked = network?.interceptor;
  const interceptor = asked && await startInterceptor(asked, {
    line: await readSecretLine(),
    folder: spec.folder,
  });
  return { interceptor, network: network && await startNetwork(network, library) };
}

/** What starting took is a tenth of all its memory, and wouldn't be given back by itself. */
function giveMemoryBack(relay: Relay): void {
  const collect: unknown = Reflect.get(globalThis, "gc"); // there is none in a compiled program
  if (typeof collect === "function") collect({ type: "major", flavor: "last-resort" });
  relay.trim();
}

/** Its folder, and its sockets to be removed: they are beside those of other boxes. */
function ownRules({ spec, socketPath }: MachineFile): readonly FileRule[] {
  return [
    { may: "write", path: spec.folder },
    { may: "remove", path: socketPath.slice(0, socketPath.lastIndexOf("/")) },
  ];
}

/** All that may be there at the end. Who makes one takes one of a box process that died away before. */
function socketsOf({ socketPath, spec, network }: MachineFile): string[] {
  const paths = [socketPath, spec.channelPath, spec.controlPath, `${spec.controlPath}.own`];
  if (spec.shares) paths.push(spec.shares.socketPath);
  if (network) paths.push(network.socketPath, network.controlPath);
  if (network?.interceptor) paths.push(network.interceptor.socketPath);
  return paths;
}

/** What can't be removed is told and left: the next one to come fails, and says why. */
function removeSockets(sockets: Set<string>): void {
  for (const path of sockets) {
    sockets.delete(path);
    try {
      removeIfThere(path);
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
  const buffer = new Uint8Array(1);
  const n = await Deno.stdin.read(buffer).catch(() => null);
  parted(n === 1 && new TextDecoder().decode(buffer) === DETACH);
}

/** Mostly there is none, and an error for that takes longer than looking. */
function removeExitFile({ exitPath, spec }: MachineFile): void {
  for (const { name } of Deno.readDirSync(spec.folder)) {
    if (`${spec.folder}/${name}` === exitPath) removeIfThere(exitPath);
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
