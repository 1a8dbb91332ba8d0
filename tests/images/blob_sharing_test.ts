import assert from "node:assert/strict";
import { join } from "node:path";
import type { BlobOpener } from "../../src/images/pull/download.ts";
import { BYTES, DIGEST, FOREVER, HEX, serving, streamOf, TempStore } from "./blob_setting.ts";

Deno.test("BlobStore.ingest lets one of many work", async () => {
  await using temp = new TempStore();
  const { open, offsets } = serving(BYTES);
  const results = await Promise.all(
    Array.from({ length: 5 }, () => {
      return temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER });
    }),
  );
  assert.deepEqual(results.toSorted(), [false, false, false, false, true]);
  assert.deepEqual(offsets, [0]);
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
});

/** Serves BYTES in two halves; the second only when `release` resolves. */
function serveSlowly(release: Promise<void>) {
  let requests = 0;
  let begun = () => {};
  const first = new Promise<void>((resolve) => begun = resolve);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    requests++;
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1]);
    const halves = [BYTES.slice(start, 1_500_000), BYTES.slice(Math.max(start, 1_500_000))];
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const half = halves.shift();
        if (!half) return controller.close();
        if (halves.length === 0) await release;
        if (half.length > 0) controller.enqueue(half);
        begun();
      },
    });
    return new Response(body, { headers: { "x-start": String(start) } });
  });
  return { url: `http://127.0.0.1:${server.addr.port}/`, server, first, requests: () => requests };
}

function ingestProcess(folder: string, url: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    // deno-fmt-ignore
    args: [
      "run", "-A", "--no-lock", join(import.meta.dirname ?? "", "ingest_process.ts"),
      folder, DIGEST, String(BYTES.length), url,
    ],
    stdout: "piped",
  }).spawn();
}

Deno.test("BlobStore.ingest shares the work among processes", async () => {
  await using temp = new TempStore();
  let release = () => {};
  const released = new Promise<void>((resolve) => release = resolve);
  const { url, server, first, requests } = serveSlowly(released);
  const processes = [ingestProcess(temp.path, url), ingestProcess(temp.path, url)];
  await first;
  release();
  const outputs = await Promise.all(processes.map((process) => process.output()));
  const said = outputs.map(({ stdout }) => new TextDecoder().decode(stdout).trim());
  assert.deepEqual(said.toSorted(), ["false", "true"]);
  assert.equal(requests(), 1);
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
  await server.shutdown();
});

Deno.test("BlobStore.ingest takes over from a process that was killed", async () => {
  await using temp = new TempStore();
  let release = () => {};
  const released = new Promise<void>((resolve) => release = resolve);
  const { url, server, first } = serveSlowly(released);
  const process = ingestProcess(temp.path, url);
  await first;
  process.kill("SIGKILL");
  await process.output();
  release();
  const { open, offsets } = serving(BYTES);
  assert.equal(await temp.store.ingest(DIGEST, BYTES.length, open, { signal: FOREVER }), true);
  assert.equal(offsets.length, 1);
  assert.deepEqual(temp.files(), [`blobs/${HEX}`]);
  await server.shutdown();
});

Deno.test("BlobStore.ingest tells how far another program is that fetches the blob", async () => {
  await using temp = new TempStore();
  const halted = Promise.withResolvers<void>();
  const halting: BlobOpener = () => {
    const first = streamOf(BYTES.subarray(0, 2_000_000)).getReader();
    const rest = streamOf(BYTES.subarray(2_000_000)).getReader();
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        let next = await first.read();
        if (next.done) {
          await halted.promise;
          next = await rest.read();
        }
        if (next.value) controller.enqueue(next.value);
        else controller.close();
      },
    });
    return Promise.resolve({ start: 0, body });
  };
  const begun = Promise.withResolvers<void>();
  const one = temp.store.ingest(DIGEST, BYTES.length, halting, {
    signal: FOREVER,
    onProgress: () => begun.resolve(),
  });
  await begun.promise;
  const other = new TempStore(temp.path).store;
  const seen: (readonly [string, number])[] = [];
  const two = other.ingest(DIGEST, BYTES.length, () => assert.fail("it fetches too"), {
    signal: FOREVER,
    onProgress(bytes, doing) {
      seen.push([doing, bytes]);
      if (bytes >= 2 ** 20) halted.resolve();
    },
  });
  assert.deepEqual(await Promise.all([one, two]), [true, false]);
  assert.ok(seen.length > 0 && seen.every(([doing]) => doing === "wait"), JSON.stringify(seen));
});
