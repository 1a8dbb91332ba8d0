/**
 * Looks at processes from outside.
 *
 * @module
 */
import assert from "node:assert/strict";

/** Processes whose command line names the home, or something in it. */
export async function processesOf(home: string): Promise<{ pid: number; command: string }[]> {
  const found: { pid: number; command: string }[] = [];
  for await (const entry of Deno.readDir("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    const command = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
    // What a box's network is told doesn't name its home, which it works in.
    const folder = await Deno.readLink(`/proc/${pid}/cwd`).catch(() => "");
    if (command.includes(home) || folder.startsWith(home)) {
      found.push({ pid, command: command.replaceAll("\0", " ") });
    }
  }
  return found;
}

/** Polls until a condition holds; for things that end by themselves with nobody to ask. */
export async function until(
  condition: () => Promise<boolean>,
  message: () => Promise<string>,
): Promise<void> {
  for (let tries = 0; tries < 2400; tries++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(await message());
}

/** Not one that is about to be taken away by whoever has inherited it. */
export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}
