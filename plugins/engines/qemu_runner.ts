/**
 * Runs machines on QEMU; loaded by the box process alone.
 *
 * @module
 */
import type {
  Machine,
  MachineExit,
  MachineRunner,
  MachineSpec,
  RunnerProcess,
  RunningProgram,
} from "../../mod.ts";
import { machineProgram, ownPath } from "./qemu_arguments.ts";
import { after, QemuTalk } from "./qemu_control.ts";
import { resumeMachine } from "./qemu_resume.ts";
import { RoomWatch } from "./qemu_room.ts";
import { type FileServer, serveShares } from "./qemu_shares.ts";

/** How long one of a machine and its virtiofsd may take to end by itself once the other has, in `ms`. */
const SERVER_GRACE_MS = 500;

const runner: MachineRunner = { start };
export default runner;

async function start(
  spec: MachineSpec,
  { beside, confine, counterKhz, transferPath, spawn }: RunnerProcess,
): Promise<Machine> {
  const { accelerator } = spec.engine;
  const boots = accelerator !== "kvm" && !spec.resume;
  const khz = boots ? await counterKhz() : undefined;
  const server = spec.shares ? await serveShares(spec.shares, spec.engine, spawn) : undefined;
  // This process makes no connections once it is confined: QEMU is the one that does.
  const listener = beside ? undefined : listen(ownPath(spec));
  const child = beside ??
    await spawn(machineProgram(spec, { counterKhz: khz, transferPath }));
  const talk = (async () => {
    using _listener = listener;
    const path = ownPath(spec);
    const connection = await (listener?.accept() ?? Deno.connect({ transport: "unix", path }));
    return new QemuTalk(connection, { heard: (event) => room.hear(event) });
  })();
  const room = new RoomWatch(talk);
  talk.then((opened) => opened.begin()).catch(() => {}); // it ended before
  void child.ended.then(async () => {
    if (listener) close(listener);
    (await talk.catch(() => undefined))?.[Symbol.dispose]();
  });
  const order = async (execute: string) => {
    await (await talk).ask({ execute });
  };
  const kill = () => child.kill();
  const exited = end(child, server && { ...server, failed: kill });
  if (spec.resume) {
    const gone = exited.then(({ output }) => {
      throw new Error(output || "QEMU ended without a word");
    });
    try {
      await Promise.race([talk, gone]);
      confine([]); // what goes on in the guest, goes on at once
      await Promise.race([resumeMachine(spec, talk), gone]);
    } catch (error) {
      kill();
      await exited;
      throw error;
    }
  }
  return {
    exited,
    kill,
    async pause() {
      room.paused = true;
      await order("stop");
    },
    async resume() {
      room.paused = false;
      await order("cont");
    },
  };
}

/** Listens, also where a box process that died has left its socket. */
function listen(path: string): Deno.UnixListener {
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    Deno.removeSync(path);
    return Deno.listen({ transport: "unix", path });
  }
}

function close(listener: Deno.UnixListener): void {
  try {
    listener.close();
  } catch {
    // It was closed when QEMU had come.
  }
}

/** Waits for the machine; one that has lost its file server is ended, since its programs hang. */
async function end(
  child: RunningProgram,
  server: (FileServer & { failed: () => void }) | undefined,
): Promise<MachineExit> {
  let lost = "";
  let timer: Disposable | undefined;
  // A machine that ends takes it along, and may be noticed later.
  const serverEnd = server?.exited.then(({ words }) => {
    lost = words;
    timer = after(SERVER_GRACE_MS, server.failed);
  });
  const { code, signal, output } = await child.ended;
  timer?.[Symbol.dispose]();
  const failed = code !== 0 && !signal;
  const why = lost === "" && failed && server ? await lateWords(server) : lost;
  const said = [why, output].filter((text) => text !== "").join("; ");
  server?.kill();
  await serverEnd;
  timer?.[Symbol.dispose]();
  return { code, signal, output: said };
}

/** What virtiofsd has failed with, if QEMU failed for that and was the faster one to end. */
async function lateWords(server: FileServer): Promise<string> {
  using _timer = after(SERVER_GRACE_MS, server.kill);
  const { failed, words } = await server.exited;
  return failed ? words : "";
}
