/**
 * The engine double's runner: the box process is a real one, its machine is a process with an agent
 * double. It has no pauser, so that boxes are paused by stopping the box process; as with libkrun,
 * the kernel continues it when the program that started it ends.
 *
 * @module
 */
import type { Machine, MachineRunner, MachineSpec } from "../../mod.ts";

const runner: MachineRunner = { start };
export default runner;

const PR_SET_PDEATHSIG = 1;
const SIGCONT = 18;

function start(spec: MachineSpec): Promise<Machine> {
  const { deno = "", agent = "", helper = "" } = spec.engine;
  if (spec.resume) Deno.removeSync(spec.resume.folder, { recursive: true }); // as if it were loaded
  const continueAtEnd = signalAtEnd(helper);
  continueAtEnd(SIGCONT);
  const child = new Deno.Command(deno, {
    args: ["run", "-A", "--quiet", "--no-check", agent, spec.channelPath],
    cwd: spec.folder,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return Promise.resolve({
    exited: child.status.then(({ code, signal }) => ({
      code: signal ? null : code,
      signal,
      output: "",
    })),
    kill() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
    },
    detached: () => continueAtEnd(0),
  });
}

/**
 * Gives what says which signal the kernel sends this process when its parent ends; 0 for none. Through
 * the helper, which a box process may load as long as its machine hasn't started, and which has libc's
 * functions in it.
 */
function signalAtEnd(helper: string): (signal: number) => void {
  if (Deno.build.os !== "linux") return () => {};
  const { symbols } = Deno.dlopen(helper, {
    prctl: { parameters: ["i32", "u64"], result: "i32" },
  });
  return (signal) => {
    if (symbols.prctl(PR_SET_PDEATHSIG, BigInt(signal)) !== 0) throw new Error("prctl");
  };
}
