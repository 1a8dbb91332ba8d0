import assert from "node:assert/strict";
import { needs } from "../support/tools.ts";
import { NativeAgent } from "./native.ts";

const cc = needs("cc");
const LIMIT_KIB = 4 * 1024;
const COMMANDS = 50;

Deno.test(`the agent has less than 4 MiB of memory, also after commands that said much${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using agent = await NativeAgent.start({ plain: true });
  await agent.peer.exec(["true"]).outcome();
  const before = await residentKiB(agent.pid);
  assert.ok(before <= LIMIT_KIB, `${before} KiB`);
  const script = "head -c 1000000 /dev/zero";
  await Promise.all(
    Array.from({ length: COMMANDS }, () => agent.peer.exec(["sh", "-c", script]).outcome()),
  );
  const after = await residentKiB(agent.pid);
  assert.ok(after <= LIMIT_KIB, `${before} KiB, then ${after} KiB`);
});

/** What of a process is in memory, its program file included, in `KiB`. */
async function residentKiB(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}
