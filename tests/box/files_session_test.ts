/** Requests to a process of the guest whose threads all hang. */
import assert from "node:assert/strict";
import { FilesPort } from "../../src/box/files/port.ts";
import { FilesSession, NotBegun } from "../../src/box/files/session.ts";
import { FrameCutter, type GuestFrame } from "../../src/box/files/wire.ts";
import { encodeCbor } from "../../src/deps.ts";
import { Channel } from "../../src/guest/protocol.ts";
import { BoxDouble } from "../doubles/box.ts";
import { until } from "../support/processes.ts";
import { rejects } from "../support/rejects.ts";

/** A process that answers when it is told to. */
interface Hanging {
  readonly session: FilesSession;
  /** What it was sent. */
  readonly requests: readonly GuestFrame[];
  readonly answer: (request: GuestFrame | undefined) => Promise<void>;
  /** Waits until it was sent so many. */
  readonly sent: (count: number) => Promise<void>;
}

async function withHanging(
  options: ConstructorParameters<typeof FilesSession>[1],
  run: (hanging: Hanging) => Promise<void>,
): Promise<void> {
  const requests: GuestFrame[] = [];
  let answer: Hanging["answer"] = () => Promise.resolve();
  await using box = await BoxDouble.start({
    open: async (stream) => {
      stream.reply({ pid: 7 });
      answer = async (request) => {
        assert.ok(request);
        const head = encodeCbor({ id: request.number("id") });
        await stream.write(
          Channel.STDOUT,
          new Uint8Array([0, 0, 0, head.length, 0, 0, 0, 0, ...head]),
        );
      };
      const cutter = new FrameCutter();
      for (let part = await stream.read(); part; part = await stream.read()) {
        requests.push(...cutter.cut(part));
      }
    },
  });
  await using client = await box.connect();
  const port = new FilesPort({
    name: () => "web",
    cwd: () => "/",
    guest: () => Promise.resolve(client),
  }, "");
  const session = new FilesSession(await port.run("files", []), options);
  const sent = (count: number) =>
    until(
      () => Promise.resolve(requests.length >= count),
      () => Promise.resolve(`it was sent ${requests.length} of ${count}`),
    );
  try {
    await run({ session, requests, answer: (request) => answer(request), sent });
  } finally {
    await session.close();
  }
}

const byPath = { op: "stat", path: new Uint8Array([47]), flags: 0 };
const byHandle = { op: "stat", handle: 3, flags: 0 };
const many = (count: number, ask: () => Promise<GuestFrame>) => {
  const asked = Array.from({ length: count }, ask);
  for (const each of asked) each.catch(() => {}); // in the end the session is closed
  return asked;
};

Deno.test("FilesSession sends no more than the guest has threads for", async () => {
  await withHanging({ patienceMs: 600_000 }, async ({ session, requests, answer, sent }) => {
    const paths = many(14, () => session.request(byPath));
    const files = many(6, () => session.request(byHandle));
    await sent(16);
    const count = (key: string) => requests.filter((each) => each.has(key)).length;
    assert.deepEqual([count("path"), count("handle")], [12, 4]); // some are left for open files
    await answer(requests[0]);
    await paths[0];
    await sent(17);
    assert.deepEqual([count("path"), count("handle")], [12, 5]); // which come first
    for (let i = 1; i < 6; i++) await answer(requests[i]);
    await sent(18);
    for (let i = 6; i < 18; i++) await answer(requests[i]);
    await sent(20);
    for (const request of requests.slice(18)) await answer(request);
    await Promise.all([...paths, ...files]);
    assert.equal(session.usable, true);
  });
});

Deno.test("FilesSession lets requests about paths go to another process when all threads hang", async () => {
  await withHanging({ patienceMs: 20 }, async ({ session, requests, sent }) => {
    many(12, () => session.request(byPath));
    assert.equal(session.usable, true);
    await assert.rejects(session.request(byPath), NotBegun);
    assert.equal(session.usable, false);
    await sent(12);
    assert.equal(requests.length, 12);
  });
});

Deno.test("FilesSession lets them go at once when many that hang were given up", async () => {
  await withHanging({ patienceMs: 600_000 }, async ({ session, answer, requests, sent }) => {
    const giveUp = new AbortController();
    session.retain(); // else it ends, since it has nothing to do
    many(20, () => session.request(byPath, { signal: giveUp.signal }));
    const waiting = session.request(byPath);
    giveUp.abort(new Error("enough"));
    await assert.rejects(waiting, NotBegun);
    await sent(12); // and those that weren't sent never are
    for (const request of [...requests]) await answer(request);
    await until(
      () => Promise.resolve(session.usable),
      () => Promise.resolve("it takes no requests again"),
    );
    assert.equal(requests.length, 12);
  });
});

Deno.test("FilesSession refuses what only it can do when all threads hang for long", async () => {
  await withHanging({ filePatienceMs: 20 }, async ({ session, sent }) => {
    many(16, () => session.request(byHandle));
    await rejects(session.request(byHandle), "guest_failed", /16 operations on its files hang/);
    await sent(16);
  });
});
