/**
 * Pauses machines whose engine can't: the whole box process is stopped, and continued.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { MachinePauser } from "./engine.ts";

/** How long the kernel may take to stop all of a process's threads, in `ms`. */
const STOP_TIMEOUT_MS = 5_000;

/** Pauses by SIGSTOP and SIGCONT. A stopped process answers nobody: it has to be continued first. */
export const processPauser: MachinePauser = {
  async pause({ pid }) {
    Deno.kill(pid, "SIGSTOP");
    await until(pid, true);
  },
  async resume({ pid }) {
    Deno.kill(pid, "SIGCONT");
    await until(pid, false);
  },
  isPaused: ({ pid }) => isStopped(pid),
};

/** Sees to it that a process goes on should this program end first. */
export interface PauseGuard {
  /** It isn't needed any more. */
  end(): Promise<void>;
}

/**
 * Guards a process that is about to be stopped: a shell waits for a word, and continues it when this
 * program's end of the pipe closes without one.
 */
export function guardPause(pid: number): PauseGuard {
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", `trap "" INT HUP TERM; read -r word; [ "$word" = done ] || kill -CONT ${pid}`],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
    clearEnv: true,
  }).spawn();
  return {
    async end() {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode("done\n")).catch(() => {});
      await writer.close().catch(() => {});
      await child.status;
    },
  };
}

async function until(pid: number, stopped: boolean): Promise<void> {
  const end = performance.now() + STOP_TIMEOUT_MS;
  while (await isStopped(pid) !== stopped) {
    if (performance.now() > end) {
      throw new HutchError(
        "box_state",
        `Cannot ${stopped ? "stop" : "continue"} process ${pid} of the box: it didn't in ${
          STOP_TIMEOUT_MS / 1000
        } s`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Whether every thread of a process stands still by a signal; one that has ended doesn't. */
async function isStopped(pid: number): Promise<boolean> {
  if (Deno.build.os !== "linux") return (await stateByPs(pid)).startsWith("T");
  try {
    for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
      const stat = await Deno.readTextFile(`/proc/${pid}/task/${name}/stat`);
      // The state follows the program's name, which may hold anything.
      if (!/^ [Tt] /.test(stat.slice(stat.lastIndexOf(")") + 1))) return false;
    }
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || /os error 3\)/.test(String(error))) return false;
    throw error;
  }
}

async function stateByPs(pid: number): Promise<string> {
  const { stdout } = await new Deno.Command("ps", {
    args: ["-o", "state=", "-p", String(pid)],
    stdin: "null",
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).trim();
}
