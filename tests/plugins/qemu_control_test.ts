import assert from "node:assert/strict";
import { join } from "node:path";
import { QemuRefused, QemuTalk } from "../../plugins/engines/qemu_control.ts";
import { RoomWatch } from "../../plugins/engines/qemu_room.ts";
import { until } from "../support/processes.ts";
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
    using talk = new QemuTalk(await Deno.connect({ transport: "unix", path }), {
      timeoutMs: 200,
    });
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
    using talk = new QemuTalk(await Deno.connect({ transport: "unix", path }), {
      timeoutMs: 50,
    });
    await assert.rejects(talk.ask({ execute: "stop" }), /it didn't answer in 50 ms/);
    await assert.rejects(talk.ask({ execute: "cont" }), /it didn't answer in 50 ms/);
  });
});

Deno.test("RoomWatch lets a machine go on once its disk finds room, but not one that is paused", async () => {
  let room = false;
  let status = "running";
  /** How often it was seen that it had gone on. */
  let wentOn = 0;
  const asked: string[] = [];
  const noRoom = { event: "BLOCK_IO_ERROR", data: { action: "stop", nospace: true } };
  const answersTo = (command: string) => {
    asked.push(command);
    if (command === "fill") status = "io-error";
    if (command === "query-status" && status === "running") wentOn++;
    if (command === "query-status") return [{ return: { status } }];
    if (command === "cont" && room) status = "running";
    return [{ return: {} }, ...status === "io-error" ? [noRoom] : []];
  };
  await withMonitor(answersTo, async (path) => {
    const connection = await Deno.connect({ transport: "unix", path });
    const talk = new QemuTalk(connection, { heard: (event) => watch.hear(event) });
    using _talk = talk;
    const watch = new RoomWatch(Promise.resolve(talk), 1);
    const count = (command: string) => asked.filter((each) => each === command).length;
    const asks = (command: string, times: number) =>
      until(() => Promise.resolve(count(command) >= times), () => Promise.resolve(`${asked}`));
    const seen = (times: number) =>
      until(() => Promise.resolve(wentOn >= times), () => Promise.resolve(`${asked}`));
    watch.hear({ event: "BLOCK_IO_ERROR", data: { action: "report" } });
    watch.hear({ event: "STOP" });
    watch.paused = true;
    await talk.ask({ execute: "fill" });
    assert.equal(count("query-status"), 0);
    watch.paused = false;
    await asks("cont", 3); // there is no room yet
    room = true;
    await seen(1);
    room = false;
    await talk.ask({ execute: "fill" }); // again
    await asks("cont", count("cont") + 1);
    room = true;
    await seen(2);
  });
});
