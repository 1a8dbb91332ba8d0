import assert from "node:assert/strict";
import { PROTOCOL_VERSION, WINDOW } from "../../src/guest/protocol.ts";
import { needs } from "../support/tools.ts";
import { NativeAgent } from "./native.ts";

const cc = needs("cc");

/** A test with an agent that goes on with another host. */
function resumeTest(name: string, body: (agent: NativeAgent) => Promise<void>): void {
  Deno.test(`the agent ${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using agent = await NativeAgent.start({ next: true });
    await body(agent);
  });
}

const held = (id: string) => ({ more: { held: id } });

resumeTest(
  "says hello again to another host, and ends what the first one waited for",
  async (agent) => {
    const first = agent.peer;
    const waited = first.exec(["sh", "-c", "echo $$; exec sleep 1000"]);
    await waited.next();
    const pid = Number(new TextDecoder().decode((await waited.next())?.payload));
    first.raw(new Uint8Array([0, 0, 0])); // a frame of which no more comes
    await first.flushed();
    const second = await agent.next();
    assert.partialDeepStrictEqual(await second.hello, { protocol: PROTOCOL_VERSION });
    assert.equal((await second.shell("echo here")).stdout, "here\n");
    await gone(pid);
  },
);

resumeTest("lets another host adopt commands that outlive theirs", async (agent) => {
  const first = agent.peer;
  const counting = first.exec(
    ["sh", "-c", "echo a; read -r line; echo got $line; echo err >&2; exit 7"],
    { stdin: true, ...held("00112233") },
  );
  const reply = (await counting.outcome("REPLY")).reply;
  await counting.outcome("DATA1");
  const ended = first.exec(["sh", "-c", "exec 2>&-; sleep 0.2; exit 3"], held("main"));
  await ended.outcome("END2");
  const second = await agent.next();
  await second.hello;
  const adopted = second.open({ op: "adopt", held: "00112233" }, 5);
  adopted.input("word\n");
  const outcome = await adopted.outcome();
  assert.deepEqual(outcome.reply, reply);
  assert.partialDeepStrictEqual(outcome, {
    ...{ stdout: "got word\n", stderr: "err\n" },
    exit: { code: 7, signal: null, timedOut: false },
  });
  const main = await second.open({ op: "adopt", held: "main" }).outcome();
  assert.partialDeepStrictEqual(main, { exit: { code: 3, signal: null, timedOut: false } });
  assert.ok(main.order.includes("END2") && main.order.includes("END0"), main.order.join(" "));
  for (const id of ["main", "00112233", "ffffffff"]) {
    const { error } = await second.open({ op: "adopt", held: id }).outcome();
    assert.partialDeepStrictEqual(error, { kind: "not_found" }, id);
  }
});

resumeTest(
  "gives a command that was adopted a whole window, and loses nothing of its output",
  async (agent) => {
    const total = 4 * WINDOW;
    const first = agent.peer;
    const script = `head -c ${total} /dev/zero`;
    const writing = first.exec(["sh", "-c", script], held("aabbccdd"));
    let before = 0;
    while (before < WINDOW) before += (await writing.next())?.payload.length ?? 0; // and no credit
    const second = await agent.next();
    const { stdoutBytes, exit } = await second.open({ op: "adopt", held: "aabbccdd" }).outcome();
    // Less the reply's, which the first host counted.
    assert.ok(Math.abs(before + stdoutBytes - total) < 100, `${before} and ${stdoutBytes}`);
    assert.partialDeepStrictEqual(exit, { code: 0 });
  },
);

resumeTest("ends with its second host, and what nobody adopted with it", async (agent) => {
  const kept = agent.peer.exec(["sh", "-c", "echo $$; exec sleep 1000"], held("0123abcd"));
  await kept.next();
  const pid = Number(new TextDecoder().decode((await kept.next())?.payload));
  const second = await agent.next();
  assert.equal((await second.shell(`kill -0 ${pid} && echo lives`)).stdout, "lives\n");
  await second.finish();
  await second.ended;
  await gone(pid);
});

const wrong: readonly (readonly [string, object])[] = [
  ["an id that is none", { op: "adopt", held: "../x" }],
  ["an id that is too long", { op: "adopt", held: "a".repeat(33) }],
  ["an empty id", { op: "adopt", held: "" }],
  ["no id", { op: "adopt" }],
  ["a seed that is too long", { op: "resume", hostname: "a", clockMs: 1, seed: "a".repeat(513) }],
  ["an empty seed", { op: "resume", hostname: "a", clockMs: 1, seed: "" }],
  ["a clock beyond all times", { op: "resume", hostname: "a", clockMs: 2 ** 53, seed: "ab" }],
  ["a host name that is none", { op: "resume", hostname: "a b", clockMs: 1, seed: "ab" }],
  ["no clock", { op: "resume", hostname: "a", seed: "ab" }],
];
for (const [name, message] of wrong) {
  Deno.test(
    `the agent refuses ${name} where it is to go on${cc.note}`,
    { ignore: cc.ignore },
    async () => {
      await using agent = await NativeAgent.start();
      const { error } = await agent.peer.open(message).outcome();
      assert.partialDeepStrictEqual(error, { kind: "bad_request" });
      assert.deepEqual((await agent.peer.open({ op: "ping" }).outcome()).reply, {});
    },
  );
}

/** Waits until a process has ended: it was told to. */
async function gone(pid: number): Promise<void> {
  assert.ok(pid > 1);
  for (;;) {
    try {
      Deno.kill(pid, "SIGCONT");
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
