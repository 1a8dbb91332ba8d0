import assert from "node:assert/strict";
import { decodeCbor } from "../../src/deps.ts";
import { Channel, FrameType, PROTOCOL_VERSION, WINDOW } from "../../src/guest/protocol.ts";
import { needs } from "../support/tools.ts";
import { TempFolder } from "../support/temp.ts";
import { NativeAgent } from "./native.ts";
import type { ExecFields, Outcome } from "./peer.ts";

const cc = needs("cc");

/** A test with an agent of its own. */
function agentTest(name: string, body: (agent: NativeAgent) => Promise<void>): void {
  Deno.test(`the agent ${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using agent = await NativeAgent.start();
    await body(agent);
  });
}

agentTest("says hello first and answers ping", async ({ peer }) => {
  const hello = await peer.hello;
  assert.partialDeepStrictEqual(hello, { protocol: PROTOCOL_VERSION });
  const outcome = await peer.open({ op: "ping" }).outcome();
  assert.deepEqual(outcome.reply, {});
  assert.deepEqual(outcome.order, ["REPLY", "CLOSE"]);
});

interface RunCase {
  readonly name: string;
  readonly argv: readonly string[];
  readonly fields?: ExecFields;
  readonly want: Readonly<Partial<Outcome>>;
}

const runs: readonly RunCase[] = [
  {
    name: "an exit code",
    argv: ["sh", "-c", "exit 7"],
    want: { exit: { code: 7, signal: null, timedOut: false } },
  },
  {
    name: "the largest code",
    argv: ["sh", "-c", "exit 255"],
    want: { exit: { code: 255, signal: null, timedOut: false } },
  },
  {
    name: "a signal",
    argv: ["sh", "-c", "kill -TERM $$"],
    want: { exit: { code: null, signal: "SIGTERM", timedOut: false } },
  },
  {
    name: "a real-time signal",
    argv: ["sh", "-c", "kill -36 $$"],
    want: { exit: { code: null, signal: "SIGRTMIN+2", timedOut: false } },
  },
  {
    name: "separate outputs",
    argv: ["sh", "-c", "printf out; printf err >&2"],
    want: { stdout: "out", stderr: "err" },
  },
  {
    name: "arguments as they are",
    argv: ["printf", "%s|", "", "a b", "é"],
    want: { stdout: "|a b|é|" },
  },
  {
    name: "the environment and no other",
    argv: ["env"],
    fields: { env: ["PATH=/bin:/usr/bin", "HOME=/h", "A=b=c"] },
    want: { stdout: "PATH=/bin:/usr/bin\nHOME=/h\nA=b=c\n" },
  },
  {
    name: "the default PATH",
    argv: ["env"],
    fields: { env: ["HOME=/"] },
    want: { stdout: "HOME=/\n" },
  },
  {
    name: "the working folder",
    argv: ["pwd"],
    fields: { cwd: "/usr" },
    want: { stdout: "/usr\n" },
  },
  {
    name: "no input without stdin",
    argv: ["cat"],
    want: { stdout: "", exit: { code: 0, signal: null, timedOut: false } },
  },
  {
    name: "a session and group of its own",
    argv: [
      "sh",
      "-c",
      "set -- $(cut -d' ' -f5,6 /proc/$$/stat); [ $1 = $$ ] && [ $2 = $$ ] && echo own",
    ],
    want: { stdout: "own\n" },
  },
  {
    name: "no descriptor of the agent",
    argv: [
      "sh",
      "-c",
      "for n in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo $n; done; echo end",
    ],
    want: { stdout: "end\n" },
  },
  {
    name: "default signals",
    argv: ["sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\t\\n'"],
    want: { stdout: "SigBlk:0000000000000000SigIgn:0000000000000000" },
  },
];

agentTest("runs commands and reports them", async ({ peer }) => {
  for (const { name, argv, fields, want } of runs) {
    const outcome = await peer.exec(argv, fields).outcome();
    assert.equal(outcome.error, undefined, name);
    for (const [key, value] of Object.entries(want)) {
      assert.deepEqual(
        Object.entries(outcome).find(([other]) => other === key)?.[1],
        value,
        `${name}: ${key}`,
      );
    }
    assert.equal(outcome.order[0], "REPLY", name);
    assert.equal(outcome.order.at(-1), "CLOSE", name);
    assert.equal(outcome.order.filter((word) => word === "EXIT").length, 1, name);
  }
});

interface FailCase {
  readonly name: string;
  readonly argv: readonly string[];
  readonly fields?: ExecFields;
  readonly kind: string;
  readonly message: RegExp;
}

agentTest("says exactly why a command can't run", async ({ peer }) => {
  await using folder = new TempFolder();
  const file = (name: string, text: string, mode = 0o755) => {
    Deno.writeTextFileSync(`${folder.path}/${name}`, text, { mode });
    return `${folder.path}/${name}`;
  };
  const cases: readonly FailCase[] = [
    {
      name: "unknown name",
      argv: ["no-such-program"],
      kind: "not_found",
      message: /no-such-program: not found in PATH/,
    },
    { name: "unknown path", argv: ["/no/such"], kind: "not_found", message: /execve \/no\/such/ },
    { name: "empty name", argv: [""], kind: "not_found", message: /execve/ },
    {
      name: "no permission",
      argv: [file("plain", "x", 0o644)],
      kind: "not_executable",
      message: /Permission denied/,
    },
    {
      name: "no permission, in PATH",
      argv: ["plain"],
      fields: { env: [`PATH=${folder.path}:/bin`] },
      kind: "not_executable",
      message: /plain: Permission denied/,
    },
    { name: "a folder", argv: [folder.path], kind: "not_executable", message: /it is a folder/ },
    {
      name: "no format",
      argv: [file("text", "hello\n")],
      kind: "not_executable",
      message: /Exec format error/,
    },
    {
      name: "missing interpreter",
      argv: [file("script", "#! /no/python -u\n")],
      kind: "not_executable",
      message: /the interpreter \/no\/python is missing/,
    },
    {
      name: "no folder",
      argv: ["true"],
      fields: { cwd: "/no/such" },
      kind: "bad_cwd",
      message: /enter folder \/no\/such/,
    },
    {
      name: "a file for a folder",
      argv: ["true"],
      fields: { cwd: "/etc/passwd" },
      kind: "bad_cwd",
      message: /Not a directory/,
    },
    {
      name: "no user",
      argv: ["true"],
      fields: { user: "nobody-here" },
      kind: "no_such_user",
      message: /user nobody-here/,
    },
    {
      name: "no group",
      argv: ["true"],
      fields: { user: "0:nobody-here" },
      kind: "no_such_user",
      message: /group nobody-here/,
    },
    {
      name: "too large a number",
      argv: ["true"],
      fields: { user: "4294967295" },
      kind: "no_such_user",
      message: /4294967295/,
    },
    { name: "no arguments", argv: [], kind: "bad_request", message: /argv is empty/ },
    {
      name: "relative folder",
      argv: ["true"],
      fields: { cwd: "tmp" },
      kind: "bad_request",
      message: /cwd/,
    },
    { name: "NUL in an argument", argv: ["a\0b"], kind: "bad_request", message: /argv/ },
    {
      name: "NUL in env",
      argv: ["true"],
      fields: { env: ["A=\0"] },
      kind: "bad_request",
      message: /env/,
    },
    {
      name: "no name in env",
      argv: ["true"],
      fields: { env: ["=x"] },
      kind: "bad_request",
      message: /env/,
    },
    {
      name: "no value in env",
      argv: ["true"],
      fields: { env: ["PATH"] },
      kind: "bad_request",
      message: /env/,
    },
  ];
  for (const { name, argv, fields, kind, message } of cases) {
    const outcome = await peer.exec(argv, fields).outcome();
    assert.partialDeepStrictEqual(outcome.error, { kind }, name);
    assert.match(JSON.stringify(outcome.error), message, name);
    assert.deepEqual(outcome.order, ["ERROR", "CLOSE"], name);
  }
});

agentTest("finds users and groups by name and number", async ({ peer }) => {
  if (Deno.uid() !== 0) return; // only root can become somebody
  const entry = (file: string, name: string) =>
    Deno.readTextFileSync(file).split("\n").map((line) => line.split(":")).find(([first]) =>
      first === name
    ) ?? [];
  const [, , uid, gid, , home] = entry("/etc/passwd", "daemon");
  const tty = entry("/etc/group", "tty")[2];
  const ids = (user: string, env = ["PATH=/bin:/usr/bin"]) =>
    peer.shell('echo "$(id -u):$(id -g):$(id -G):$HOME"', { user, env });
  assert.equal((await ids("daemon")).stdout, `${uid}:${gid}:${gid}:${home}\n`);
  assert.equal((await ids(`${uid}`)).stdout, `${uid}:${gid}:${gid}:${home}\n`);
  assert.equal((await ids("daemon:tty")).stdout, `${uid}:${tty}:${tty}:${home}\n`);
  assert.equal((await ids("54321")).stdout, "54321:0:0:/\n");
  assert.equal((await ids("54321:12345")).stdout, "54321:12345:12345:/\n");
  assert.equal((await ids("")).stdout, "0:0:0:/root\n");
  assert.equal((await ids("daemon", ["PATH=/bin", "HOME=/x"])).stdout, `${uid}:${gid}:${gid}:/x\n`);
});

agentTest("echoes more stdin than the window holds", async ({ peer }) => {
  const stream = peer.exec(["cat"], { stdin: true });
  const total = 3 * WINDOW + 4321;
  const bytes = new Uint8Array(total).map((_, index) => index * 7 + (index >> 13));
  let sent = 0, credit = WINDOW, at = 0, exited = false;
  const push = () => {
    while (sent < total && credit > 0) {
      const count = Math.min(total - sent, credit, 200_000);
      stream.input(bytes.subarray(sent, sent + count), sent + count === total);
      sent += count;
      credit -= count;
    }
  };
  push();
  for (;;) {
    const frame = await stream.next();
    assert(frame);
    if (frame.type === FrameType.CREDIT) {
      credit += new DataView(frame.payload.slice().buffer).getUint32(0);
    }
    if (frame.type === FrameType.EXIT) exited = true;
    if (frame.type === FrameType.DATA && frame.payload.length > 0) {
      assert(
        bytes.subarray(at, at + frame.payload.length).every((byte, index) =>
          byte === frame.payload[index]
        ),
      );
      at += frame.payload.length;
      stream.credit(Channel.STDOUT, frame.payload.length);
    }
    assert(credit <= WINDOW);
    push();
    if (frame.type === FrameType.CLOSE) break;
  }
  assert.equal(at, total);
  assert(exited);
});

agentTest("tells that a command closed its stdin, and gives the credit back", async ({ peer }) => {
  const stream = peer.exec(["sh", "-c", "exec <&-; echo closed; sleep 60"], { stdin: true });
  const first = await stream.outcome("END0");
  assert.equal(first.order[0], "REPLY");
  for (let sent = 0; sent < 4; sent++) stream.input(new Uint8Array(WINDOW / 4));
  const second = await stream.outcome("CREDIT");
  assert(second.credited >= WINDOW / 4);
  stream.signal(15);
  const last = await stream.outcome();
  assert.deepEqual(last.exit, { code: null, signal: "SIGTERM", timedOut: false });
});

agentTest("queues stdin that isn't read, up to the window", async ({ peer }) => {
  const stream = peer.exec(
    ["sh", "-c", "read line; cat | wc -c"],
    { stdin: true },
  );
  stream.input("go\n");
  for (let sent = 0; sent < 1000; sent++) stream.input(new Uint8Array(1000));
  stream.input("", true);
  const outcome = await stream.outcome();
  assert.equal(outcome.stdout.trim(), "1000000");
});

agentTest("runs 200 commands at once", async (agent) => {
  await agent.peer.open({ op: "ping" }, 1000).outcome(); // it has opened all that it opens at start
  const before = [...Deno.readDirSync(`/proc/${agent.pid}/fd`)].length;
  const all = Array.from(
    { length: 200 },
    (_, index) => agent.peer.shell(`read x; echo $x-${index}`, { stdin: true }),
  );
  for (let number = 1; number <= 200; number++) {
    agent.peer.send(FrameType.DATA, number, new TextEncoder().encode("in\n"), 0x80);
  }
  const outcomes = await Promise.all(all);
  assert.deepEqual(
    outcomes.map((outcome) => outcome.stdout),
    outcomes.map((_, index) => `in-${index}\n`),
  );
  assert.equal([...Deno.readDirSync(`/proc/${agent.pid}/fd`)].length, before);
  const children = Deno.readTextFileSync(`/proc/${agent.pid}/task/${agent.pid}/children`);
  assert.equal(children.trim(), "");
});

agentTest("kills the whole group when the host closes", async ({ peer }) => {
  const stream = peer.exec(["sh", "-c", "sleep 1000 & echo $!; wait"]);
  const before = await stream.outcome("DATA1");
  const sleeper = Number(before.stdout);
  stream.close();
  const after = await stream.outcome();
  assert.equal(after.order.at(-1), "CLOSE");
  assert(!after.order.includes("EXIT"));
  await gone(sleeper);
});

agentTest("sends a signal to the whole group", async ({ peer }) => {
  const stream = peer.exec([
    "sh",
    "-c",
    "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done",
  ]);
  await stream.outcome("DATA1");
  stream.signal(10);
  const outcome = await stream.outcome();
  assert.equal(outcome.stdout, "caught\n");
  assert.deepEqual(outcome.exit, { code: 5, signal: null, timedOut: false });
});

agentTest("never has more than the window under way", async ({ peer }) => {
  const stream = peer.exec([
    "sh",
    "-c",
    "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait",
  ]);
  const counts = [0, 0, 0];
  let frame = await stream.next();
  while (counts[1] !== WINDOW || counts[2] !== WINDOW) {
    frame = await stream.next();
    assert.equal(frame?.type, FrameType.DATA);
    counts[frame.flags] = (counts[frame.flags] ?? 0) + frame.payload.length;
    assert((counts[frame.flags] ?? 0) <= WINDOW);
  }
  assert.equal((await peer.open({ op: "ping" }).outcome()).order.at(-1), "CLOSE"); // time to go wrong
  assert.equal(stream.waiting, 0);
  stream.credit(Channel.STDOUT, WINDOW);
  stream.credit(Channel.STDERR, WINDOW);
  const outcome = await stream.outcome();
  assert.equal(outcome.stdoutBytes + WINDOW, 3_000_000);
  assert.deepEqual(outcome.exit, { code: 0, signal: null, timedOut: false });
});

agentTest("sends EXIT after what was in the pipes, not after their end", async ({ peer }) => {
  const stream = peer.exec(["sh", "-c", "sleep 1000 & echo $!; head -c 900000 /dev/zero; exit 4"]);
  const first = await stream.outcome("EXIT");
  assert.deepEqual(first.exit, { code: 4, signal: null, timedOut: false });
  assert.equal(first.stdoutBytes, 900_000 + first.stdout.indexOf("\n") + 1);
  assert(!first.order.includes("END1"));
  const sleeper = Number.parseInt(first.stdout);
  stream.close();
  assert.deepEqual((await stream.outcome()).order, ["CLOSE"]);
  Deno.kill(sleeper, 0); // closing after EXIT kills nothing
  Deno.kill(sleeper, "SIGKILL");
});

agentTest("keeps EXIT back while output waits for credit", async ({ peer }) => {
  const rest = 50_000;
  const stream = peer.exec(["head", "-c", String(WINDOW + rest), "/dev/zero"]);
  const reply = await stream.next();
  assert(reply);
  for (let count = 0; count < WINDOW;) count += (await stream.next())?.payload.length ?? NaN;
  await gone(Number(Object.values(decodeCbor<Record<string, number>>(reply.payload))[0]));
  await peer.open({ op: "ping" }).outcome(); // time to go wrong; all that may come is END2
  assert(stream.waiting <= 1);
  stream.credit(Channel.STDOUT, WINDOW);
  const outcome = await stream.outcome();
  assert.equal(outcome.stdoutBytes, rest);
  assert(outcome.order.indexOf("DATA1") < outcome.order.indexOf("EXIT"));
});

agentTest("survives a command that reads its own output", async ({ peer }) => {
  const outcome = await peer.shell(
    "(cat /proc/$$/fd/1 >/dev/null & echo $! >&2); head -c 2000000 /dev/zero; exit 3",
  );
  assert.deepEqual(outcome.exit, { code: 3, signal: null, timedOut: false });
  assert.equal(outcome.order.at(-1), "CLOSE");
});

/** Waits until a process has ended. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      if (Deno.readTextFileSync(`/proc/${pid}/stat`).includes(") Z")) return;
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
