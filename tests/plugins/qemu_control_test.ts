import assert from "node:assert/strict";
import { join } from "node:path";
import { QemuRefused, QemuTalk } from "../../plugins/engines/qemu_control.ts";
import { TempFolder } from "../support/temp.ts";

/** A monitor that says to each command what it is told to; `undefined` leaves one unanswered. */
async function withMonitor(
  answersTo: (command: string) => readonly unknown[],
  run: (path: string) => Promise<void>,
): Promise<void> {
  await using folder = new TempFolder();
  const path = join(folder.path, "monitor");
  using listener = Deno.listen({ transport: "unix", path });
  const serving = (async () => {
    using connection = await listener.accept();
    const say = (what: unknown) =>
      connection.write(new TextEncoder().encode(`${JSON.stringify(what)}\n`));
    await say({ QMP: {} });
    let text = "";
    const buffer = new Uint8Array(4096);
    for (let n; (n = await connection.read(buffer)) !== null;) {
      const lines = (text + new TextDecoder().decode(buffer.subarray(0, n))).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        for (const answer of answersTo(JSON.parse(line).execute)) await say(answer);
      }
    }
  })();
  await run(path);
  await serving;
}

Deno.test("QemuTalk goes on when an answer is late, and takes it for that of its own question", async () => {
  const answersTo = (command: string) => {
    if (command === "stop") return [];
    if (command === "cont") {
      return [{ event: "STOP" }, { return: "of stop" }, { return: "of cont" }];
    }
    return command === "quit" ? [{ error: { desc: "not now" } }] : [{ return: {} }];
  };
  await withMonitor(answersTo, async (path) => {
    using talk = new QemuTalk(await Deno.connect({ transport: "unix", path }), 200);
    await assert.rejects(talk.ask({ execute: "stop" }), /it didn't answer in 200 ms/);
    assert.equal(await talk.ask({ execute: "cont" }), "of cont");
    await assert.rejects(
      talk.ask({ execute: "quit" }),
      (error) => error instanceof QemuRefused && error.message === "not now",
    );
  });
});

Deno.test("QemuTalk is over when its first word isn't answered", async () => {
  await withMonitor(() => [], async (path) => {
    using talk = new QemuTalk(await Deno.connect({ transport: "unix", path }), 50);
    await assert.rejects(talk.ask({ execute: "stop" }), /it didn't answer in 50 ms/);
    await assert.rejects(talk.ask({ execute: "cont" }), /it didn't answer in 50 ms/);
  });
});
