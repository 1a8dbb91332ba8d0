import assert from "node:assert/strict";
import { OutputClosed } from "../../src/cli/io.ts";
import { type Joined, relay } from "../../src/cli/relay.ts";
import { memoryIo, MemorySink } from "./helpers.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const DONE = { success: true, code: 0, signal: null, timedOut: false };

function joined(parts: Partial<Joined> = {}): Joined {
  return {
    status: Promise.resolve(DONE),
    stdout: ReadableStream.from([]),
    stderr: ReadableStream.from([]),
    stdin: new WritableStream(),
    ...parts,
  };
}

Deno.test("relay keeps standard output and standard error apart, byte by byte", async () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, value) => value);
  const io = { ...memoryIo(), stdout: new MemorySink(7) };
  const status = await relay(
    joined({
      stdout: ReadableStream.from([bytes, new Uint8Array(0), bytes]),
      stderr: ReadableStream.from([encode("err")]),
      status: Promise.resolve({ success: false, code: 3, signal: null, timedOut: false }),
    }),
    io,
    { stdin: false },
  );
  assert.equal(status.code, 3);
  assert.deepEqual(io.stdout.chunks.flatMap((chunk) => [...chunk]), [...bytes, ...bytes]);
  assert.equal(io.stderr.text, "err");
});

Deno.test("relay asks for a chunk only when the one before is written", async () => {
  let pulled = 0;
  let release = () => {};
  const stdout = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      pulled++;
      if (pulled > 3) controller.close();
      else controller.enqueue(encode("x"));
    },
  }, { highWaterMark: 0 });
  const slow = {
    isTerminal: () => false,
    write: (bytes: Uint8Array) =>
      new Promise<number>((resolve) => release = () => resolve(bytes.length)),
  };
  const ended = relay(joined({ stdout }), { ...memoryIo(), stdout: slow }, { stdin: false });
  for (let chunk = 1; chunk <= 3; chunk++) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert.equal(pulled, chunk);
    release();
  }
  await ended;
});

Deno.test("relay ends when nobody reads the output, though the command goes on", async () => {
  const closed = {
    isTerminal: () => false,
    write: () => Promise.reject(new Deno.errors.BrokenPipe("x")),
  };
  let cancelled = false;
  const stdout = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(encode("y\n")),
    cancel: () => void (cancelled = true),
  });
  const never = new Promise<never>(() => {});
  await assert.rejects(
    relay(joined({ stdout, status: never }), { ...memoryIo(), stdout: closed }, { stdin: false }),
    OutputClosed,
  );
  assert.equal(cancelled, true);
});

Deno.test("relay feeds standard input until its end", async () => {
  const got: number[] = [];
  let closed = false;
  const status = Promise.withResolvers<typeof DONE>();
  const stdin = new WritableStream<Uint8Array>({
    write: (chunk) => void got.push(...chunk),
    close: () => {
      closed = true;
      status.resolve(DONE);
    },
  });
  const input = [encode("ab"), encode("c")];
  const source = {
    read(buffer: Uint8Array) {
      const chunk = input.shift();
      if (chunk) buffer.set(chunk);
      return Promise.resolve(chunk ? chunk.length : null);
    },
  };
  const io = { ...memoryIo(), stdin: source };
  await relay(joined({ stdin, status: status.promise }), io, { stdin: true });
  assert.deepEqual(got, [...encode("abc")]);
  assert.equal(closed, true);
});

Deno.test("relay doesn't touch standard input unless it is asked to", async () => {
  let reads = 0;
  const source = { read: () => Promise.resolve(reads++ === 0 ? 1 : null) };
  await relay(joined(), { ...memoryIo(), stdin: source }, { stdin: false });
  assert.equal(reads, 0);
});

Deno.test("relay ends with the command while standard input waits", async () => {
  const source = { read: () => new Promise<never>(() => {}) };
  const status = await relay(joined(), { ...memoryIo(), stdin: source }, { stdin: true });
  assert.equal(status.code, 0);
});

Deno.test("relay stops reading standard input that the command doesn't want", async () => {
  let reads = 0;
  const refused = Promise.withResolvers<typeof DONE>();
  const source = {
    read() {
      reads++;
      return Promise.resolve(1);
    },
  };
  const stdin = new WritableStream<Uint8Array>({
    write() {
      refused.resolve(DONE);
      throw new Error("closed");
    },
  });
  const io = { ...memoryIo(), stdin: source };
  await relay(joined({ stdin, status: refused.promise }), io, { stdin: true });
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(reads, 1);
  assert.equal(io.stderr.text, "");
});

Deno.test("relay says when standard input can't be read, and ends the command's", async () => {
  const status = Promise.withResolvers<typeof DONE>();
  const stdin = new WritableStream<Uint8Array>({ close: () => status.resolve(DONE) });
  const source = { read: () => Promise.reject(new Error("Is a directory")) };
  const io = { ...memoryIo(), stdin: source };
  await relay(joined({ stdin, status: status.promise }), io, { stdin: true });
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(io.stderr.text, "hutch: Cannot read standard input: Is a directory\n");
});

Deno.test("relay passes on why a command couldn't run", async () => {
  const error = new Error("not found");
  const failing = () =>
    new ReadableStream<Uint8Array<ArrayBuffer>>({ pull: (controller) => controller.error(error) });
  await assert.rejects(
    relay(
      joined({ status: Promise.reject(error), stdout: failing(), stderr: failing() }),
      memoryIo(),
      { stdin: false },
    ),
    error,
  );
});
