import assert from "node:assert/strict";
import { join } from "node:path";
import { CopyFailure } from "../../ffi/helper.ts";
import { Copy } from "../../src/box/copy.ts";
import { checkCopyIn, checkCopyOut } from "../../src/box/copy_check.ts";
import { copyError } from "../../src/box/copy_error.ts";
import { copyIn, copyOut } from "../../src/box/copy_transfer.ts";
import { HutchError } from "../../src/errors.ts";
import { Channel } from "../../src/guest/protocol.ts";
import type { DoubleStream } from "../doubles/agent.ts";
import { BoxDouble } from "../doubles/box.ts";
import "../support/native.ts";
import { latin1, writeTar } from "../support/tar.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";

const TREE = writeTar({ path: ".", type: "5", mode: 0o755 }, {
  path: "./f",
  data: "x".repeat(50_000),
  mode: 0o644,
});
const GOOD = "S 2 50000 0\n";
const watcher = () => ({ signal: new AbortController().signal, tell: () => {} });

/** An agent whose `pack` and `unpack` do as told. */
async function withAgent(
  program: (stream: DoubleStream) => Promise<void>,
  run: (client: Awaited<ReturnType<BoxDouble["connect"]>>, folder: string) => Promise<void>,
): Promise<void> {
  await using folder = new TempFolder(MEMORY);
  await using box = await BoxDouble.start({ open: program });
  await using client = await box.connect();
  await run(client, folder.path);
  assert.equal(client.streams, 0, "a stream is left open");
}

/** A program that prints this and ends so. */
function printing(
  tar: Uint8Array,
  said: string,
  code: number | null = 0,
  signal: string | null = null,
) {
  return async (stream: DoubleStream) => {
    stream.reply({ pid: 7 });
    await stream.write(Channel.STDOUT, tar);
    await finish(stream, said, code, signal);
  };
}

async function finish(
  stream: DoubleStream,
  said: string,
  code: number | null,
  signal: string | null = null,
): Promise<void> {
  await stream.write(Channel.STDERR, latin1(said));
  if (stream.ended) return;
  stream.end(Channel.STDOUT);
  stream.end(Channel.STDERR);
  stream.exit(code, signal);
  stream.close();
}

Deno.test("copyOut trusts an agent's stream only when all of it fits together", async () => {
  const cut = TREE.slice(0, 30_000);
  const table: [Uint8Array, string, number | null, RegExp][] = [
    [cut, GOOD, 0, /ended in the middle/],
    [cut, "E 5 read it\t./f\n", 1, /^read it$/],
    [TREE, "E 5 read it\t./f\n", 1, /^read it$/],
    [TREE, "", 0, /didn't say how it went/],
    [TREE, "S 2 50000 0", 3, /didn't say how it went/],
    [TREE, "S 99999999999999999999 0 0\n", 0, /didn't say how it went/],
    [TREE, `E 1 \x1b[2J\t\n`, 1, /didn't say how it went/],
    [TREE, `E 1 ${"x".repeat(100_000)}\t\n`, 1, /didn't say how it went/],
    [TREE, "", null, /SIGKILL ended it/],
    [new Uint8Array(0), GOOD, 0, /empty/],
    [crypto.getRandomValues(new Uint8Array(4096)), GOOD, 0, /no tar archive/],
    [writeTar({ path: "../x", data: "1" }), GOOD, 0, /isn't of one tree/],
  ];
  for (const [tar, said, code, words] of table) {
    const program = printing(tar, said, code, code === null ? "SIGKILL" : null);
    await withAgent(program, async (client, folder) => {
      const input = { source: "/tree", destination: join(folder, "in"), options: {} };
      await assert.rejects(copyOut(client, input, watcher()), (error: Error) => {
        assert.match(error.message, words);
        return true;
      });
      for (const { name } of Deno.readDirSync(folder)) assert.equal(name, "in");
    });
  }
  await withAgent(printing(TREE, GOOD), async (client, folder) => {
    const input = { source: "/tree", destination: join(folder, "in"), options: {} };
    const result = await copyOut(client, input, watcher());
    assert.deepEqual(result, { entries: 2, bytes: 50_000, skipped: 0 });
  });
});

Deno.test("copyOut hands the tar to a stream, and closes it only when it is whole", async () => {
  for (
    const [said, code, ending] of [[GOOD, 0, "closed"], [
      "E 5 read it\t./f\n",
      1,
      "aborted",
    ]] as const
  ) {
    await withAgent(printing(TREE, said, code), async (client) => {
      let [bytes, ended] = [0, ""];
      const destination = new WritableStream<Uint8Array>({
        write: (chunk) => void (bytes += chunk.length),
        close: () => void (ended = "closed"),
        abort: () => void (ended = "aborted"),
      });
      const copying = copyOut(client, { source: "/tree", destination, options: {} }, watcher());
      if (code === 0) assert.equal((await copying).entries, 2);
      else await assert.rejects(copying, { code: "EIO" });
      assert.deepEqual([bytes, ended], [TREE.length, ending]);
    });
  }
});

Deno.test("copyOut ends a guest's endless stream at its limits, and closes it", async () => {
  const flood = async (stream: DoubleStream) => {
    stream.reply({ pid: 7 });
    await stream.write(Channel.STDOUT, writeTar({ path: ".", type: "5" }).slice(0, 512));
    const file = writeTar({ path: "./f", data: "x".repeat(10_000), mode: 0o644 }).slice(0, -1024);
    while (!stream.ended) await stream.write(Channel.STDOUT, file);
  };
  for (const limit of [{ maxBytes: 1_000_000 }, { maxEntries: 50 }]) {
    await withAgent(flood, async (client, folder) => {
      const input = { source: "/", destination: join(folder, "in"), options: limit };
      await assert.rejects(copyOut(client, input, watcher()), { code: "EFBIG" });
    });
  }
});

Deno.test("copyOut gives up at once when its signal is aborted, and takes the half file away", async () => {
  const stalled = async (stream: DoubleStream) => {
    stream.reply({ pid: 7 });
    await stream.write(Channel.STDOUT, TREE.slice(0, 30_000));
    await stream.hostClosed.promise;
  };
  await withAgent(stalled, async (client, folder) => {
    const controller = new AbortController();
    const tell = ({ bytes }: { bytes: number }) => void (bytes > 0 && controller.abort());
    const input = { source: "/", destination: join(folder, "in"), options: {} };
    const copying = copyOut(client, input, { signal: controller.signal, tell });
    await assert.rejects(copying, { code: "cancelled" });
    assert.deepEqual([...Deno.readDirSync(join(folder, "in"))], []);
  });
});

Deno.test("copyIn tells the guest's reason when its program ends first", async () => {
  const program = async (stream: DoubleStream) => {
    stream.reply({ pid: 7 });
    await stream.read();
    await stream.write(Channel.STDERR, latin1("E 28 write the file\t/x/f\\xff\n"));
    stream.end(Channel.STDOUT);
    stream.end(Channel.STDERR);
    stream.exit(1);
    stream.close();
  };
  await withAgent(program, async (client, folder) => {
    await Deno.writeFile(join(folder, "large"), new Uint8Array(8_000_000));
    const input = { source: join(folder, "large"), destination: "/x", options: {} };
    const error = await copyIn(client, input, watcher()).then(() => undefined, (reason) => reason);
    assert(error instanceof CopyFailure, String(error));
    const said = copyError({ source: "large", destination: "box:/x" }, error, watcher().signal);
    assert(said instanceof HutchError);
    assert.equal(said.code, "no_space");
    assert.match(
      said.message,
      /^Cannot copy large to box:\/x: \/x\/f\\xff: cannot write the file: no space/,
    );
  });
});

Deno.test("copyIn tells the guest's reason when its program ends as the last bytes come", async () => {
  const program = async (stream: DoubleStream) => {
    stream.reply({ pid: 7 });
    while (stream.received < 2048) await stream.read();
    await finish(stream, "E 2 open the folder\t/x\n", 1);
  };
  for (let round = 0; round < 20; round++) {
    await withAgent(program, async (client, folder) => {
      await Deno.writeTextFile(join(folder, "small"), "1");
      const input = { source: join(folder, "small"), destination: "/x/y", options: {} };
      await assert.rejects(copyIn(client, input, watcher()), { code: "ENOENT" });
      const stream = new Blob([writeTar({ path: "f", data: "1" })]).stream();
      const piped = { source: stream, destination: "/x/y", options: {} };
      await assert.rejects(copyIn(client, piped, watcher()), { code: "ENOENT" });
    });
  }
});

Deno.test("copyIn ends the guest's program in good order when the host's file can't be read", async () => {
  const ended = Promise.withResolvers<number>();
  const program = async (stream: DoubleStream) => {
    stream.reply({ pid: 7 });
    let bytes = 0;
    for (let part = await stream.read(); part; part = await stream.read()) bytes += part.length;
    ended.resolve(bytes);
    await finish(stream, "E 74 the stream ended in the middle\t\n", 1);
  };
  await withAgent(program, async (client, folder) => {
    await Deno.symlink("nowhere", join(folder, "dangling"));
    const input = { source: folder, destination: "/x", options: { followSymlinks: true } };
    await assert.rejects(copyIn(client, input, watcher()), { code: "ENOENT", path: "./dangling" });
    assert.equal(await ended.promise % 512, 0);
  });
});

Deno.test("checkCopyIn and checkCopyOut refuse what can't be meant", () => {
  const into =
    (source: string | ReadableStream<Uint8Array>, destination: string, options = {}) => () =>
      checkCopyIn({ source, destination, options });
  const out =
    (source: string, destination: string | WritableStream<Uint8Array>, options = {}) => () =>
      checkCopyOut({ source, destination, options });
  const table: [() => void, RegExp][] = [
    [into("", "/x"), /source is empty/],
    [into("a", ""), /destination is empty/],
    [into("a\0", "/x"), /NUL/],
    [into("a", "x".repeat(4096)), /4095 bytes/],
    [into(new ReadableStream(), "/x", { filter: () => true }), /tar stream/],
    [into(new ReadableStream(), "/x", { preserve: { owner: { uid: 1, gid: 1 } } }), /"keep"/],
    [into("a", "/x", { preserve: { owner: { uid: -1, gid: 1 } } }), /owner -1/],
    [into("a", "/x", { preserve: { owner: [{ inside: 0, outside: 0, count: 0 }] } }), /map 0/],
    [out("", "x"), /source is empty/],
    [out("/x", ""), /destination is empty/],
    [out("/x", "x", { maxBytes: 0 }), /maxBytes 0/],
    [out("/x", new WritableStream(), { includeParent: true }), /tar stream/],
  ];
  for (const [check, words] of table) {
    assert.throws(check, (error) => {
      assert(error instanceof HutchError && error.code === "invalid_option");
      assert.match(error.message, words);
      return true;
    });
  }
  into(new ReadableStream(), "/x", { preserve: { owner: "keep" } })();
});

Deno.test("Copy tells its latest progress, then its end; leaving it early lets it run", async () => {
  const gate = Promise.withResolvers<void>();
  const copy = new Copy(async (_signal, tell) => {
    for (const bytes of [1, 2, 3]) tell({ path: ".", entries: 1, bytes });
    await gate.promise;
    tell({ path: "f", entries: 2, bytes: 4 });
    return { entries: 2, bytes: 4, skipped: 0 };
  });
  const seen: number[] = [];
  for await (const { bytes } of copy) {
    seen.push(bytes);
    gate.resolve();
    if (seen.length === 2) break;
  }
  assert.deepEqual(seen, [3, 4]);
  assert.equal((await copy).entries, 2);
  const failing = new Copy(() => Promise.reject(new Error("no")));
  await assert.rejects(async () => {
    for await (const _ of failing);
  }, /no/);
});
