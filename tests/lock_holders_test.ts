import assert from "node:assert/strict";
import { join } from "node:path";
import { holdsLock, lockHolders } from "../src/lock_holders.ts";
import { TempFolder } from "./support/temp.ts";

const HOLD = `
  const file = Deno.openSync(Deno.args[0]);
  await file.lock(Deno.args[1] === "alone");
  console.log("held");
  await new Response(Deno.stdin.readable).text();
`;

async function hold(path: string, how: string): Promise<Deno.ChildProcess> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `data:text/javascript,${encodeURIComponent(HOLD)}`, path, how],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  return child;
}

Deno.test("lockHolders names the processes that hold a file's or folder's lock, and no others", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using folder = new TempFolder();
  const file = join(folder.path, "file");
  await Deno.writeTextFile(file, "");
  using _open = await Deno.open(file); // without a lock
  const children = await Promise.all([
    hold(file, "alone"),
    hold(folder.path, "shared"),
    hold(folder.path, "shared"),
  ]);
  const pids = children.map(({ pid }) => pid);
  assert.deepEqual(lockHolders(file), pids.slice(0, 1));
  assert.deepEqual(lockHolders(folder.path).sort(), pids.slice(1).sort());
  assert.deepEqual(pids.map((pid) => holdsLock(pid, file)), [true, false, false]);
  for (const child of children) {
    await child.stdin.close();
    await child.status;
  }
  assert.deepEqual(lockHolders(folder.path), []);
  assert.equal(holdsLock(pids[0] ?? 0, file), false);
  assert.deepEqual(lockHolders(join(folder.path, "nothing")), []);
});
