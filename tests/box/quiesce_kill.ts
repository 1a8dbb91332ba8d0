/**
 * Programs that die while they have a box stand still.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const VICTIM = fileURLToPath(new URL("./quiesce_victim.ts", import.meta.url));

/** Runs the victim until its box stands still, and kills it. */
export async function killWhileStill(home: string, options: object): Promise<void> {
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", VICTIM, JSON.stringify(options)],
    env: { HUTCH_HOME: home },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    assert.equal(text, "still\n");
    child.kill("SIGKILL");
  }
  assert.equal((await child.status).signal, "SIGKILL");
}
