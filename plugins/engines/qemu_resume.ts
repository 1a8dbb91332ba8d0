/**
 * Starts a machine on QEMU from kept memory, for the runner; loaded by the box process alone.
 *
 * The guest's memory is the kept file, mapped so that what the machine writes is its own. What its agent
 * was connected to isn't there: the port is closed to begin with, the agent finds that out and says so on
 * the console, and only then is the port connected to the box process. So nothing of the other machine's
 * conversation gets into this one's. (QEMU's event for it may come a second late.)
 *
 * @module
 */
import type { MachineResume, MachineSpec } from "../../mod.ts";
import { after, isObject, qemuMarks, type QemuTalk } from "./qemu_control.ts";

/** How long QEMU may take to load a state, in `ms`. */
const LOAD_MS = 30_000;
/** How long the guest's agent may take to find out that it is somewhere else, in `ms`. */
const AGENT_MS = 30_000;
/** What it says then. */
const LEFT = "hutch-agent: waiting for a host\n";
/** Between two looks, in `ms`: at first, and later: many machines at once are kept from their work by looks. */
const STEP_MS = { first: 1, grows: 1.4, most: 16 };

/**
 * Waits until QEMU has loaded the state and lets the guest go on, until its agent is connected.
 *
 * @throws Error that says what doesn't fit, or went wrong.
 */
export async function resumeMachine(
  { resume, channelPath, consolePath }: MachineSpec,
  connecting: Promise<QemuTalk>,
): Promise<void> {
  if (!resume) return;
  const talk = await connecting;
  check(resume, await qemuMarks(talk));
  await until(() => isLoaded(talk), LOAD_MS, "QEMU didn't load the kept memory");
  // Both are loaded; what the guest does from here on they don't fit any more.
  Deno.removeSync(resume.folder, { recursive: true });
  await talk.ask({ execute: "cont" });
  const left = () =>
    Promise.resolve(Deno.readTextFileSync(consolePath).replaceAll("\r", "").includes(LEFT));
  await until(left, AGENT_MS, "its agent didn't go on");
  await talk.ask({
    execute: "chardev-change",
    arguments: {
      id: "agent",
      backend: {
        type: "socket",
        data: { addr: { type: "unix", data: { path: channelPath } }, server: false },
      },
    },
  });
}

function check({ marks }: MachineResume, found: Readonly<Record<string, string>>): void {
  const words = (of: Readonly<Record<string, string>>) =>
    `QEMU ${of.version} with ${of.accelerator}, SMAP ${of.smap}`;
  if (words(marks) === words(found)) return;
  throw new Error(`its memory was kept by ${words(marks)}, and this is ${words(found)}`);
}

async function isLoaded(talk: QemuTalk): Promise<boolean> {
  const answer = await talk.ask({ execute: "query-status" });
  return isObject(answer) && answer.status !== "inmigrate";
}

async function until(done: () => Promise<boolean>, ms: number, late: string): Promise<void> {
  const end = performance.now() + ms;
  for (
    let step = STEP_MS.first;
    !await done();
    step = Math.min(step * STEP_MS.grows, STEP_MS.most)
  ) {
    if (performance.now() > end) throw new Error(`${late} in ${ms} ms`);
    await new Promise<void>((resolve) => after(step, resolve));
  }
}
