/** Archives of boxes that never ran: what comes back, and archives that lie. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type ArchiveProgress, HutchError, Runtime } from "../../mod.ts";
import { exists } from "../../src/atomic_file.ts";
import { fc } from "../deps.ts";
import {
  archiveOf,
  type ArchivePart,
  boxWith,
  CLUSTER,
  type Clusters,
  document,
  joined,
  packed,
  partsOf,
  pattern,
  piece,
  plainOf,
} from "../support/box_archive.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import "../support/native.ts";

const { ignore, note } = needs("qemu-img");
const ROUNDS = Number(Deno.env.get("ARCHIVE_ROUNDS") ?? 40);
const CODES = ["invalid_archive", "digest_mismatch", "archive_too_new", "limit_exceeded"];
const CLUSTERS: Clusters = new Map<number, number | "zeros">([
  ...[[0, 3], [1, 4], [5, "zeros"], [20, 7], [1023, 9]] as const,
]);

/** A home that all tests of this file use, one after the other. */
async function withHome(run: (runtime: Runtime, folder: string) => Promise<void>): Promise<void> {
  await using home = new TempFolder();
  await using folder = new TempFolder();
  await using runtime = await Runtime.open({ home: home.path });
  await run(runtime, folder.path);
}

function streamOf(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new Blob([bytes]).stream();
}

async function exported(runtime: Runtime, clusters = CLUSTERS): Promise<Uint8Array<ArrayBuffer>> {
  await using folder = new TempFolder();
  const path = join(folder.path, "archive");
  const box = await boxWith(runtime, clusters);
  await box.export(path);
  await box.remove();
  return await Deno.readFile(path);
}

async function compareDisks(runtime: Runtime, one: string, other: string): Promise<void> {
  const disk = (id: string) => join(runtime.home, "boxes", id, "disk.qcow2");
  await runTool("qemu-img", "check", "-f", "qcow2", disk(other));
  await runTool("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", disk(one), disk(other));
}

/** Nothing but these boxes is there. */
async function assertBoxes(runtime: Runtime, count: number): Promise<void> {
  assert.equal((await runtime.list({ all: true })).length, count);
  assert.equal([...Deno.readDirSync(join(runtime.home, "boxes"))].length, count);
}

Deno.test(
  `Runtime.import gives a disk back, whatever it holds${note}`,
  { ignore },
  () =>
    withHome(async (runtime, folder) => {
      const content = fc.oneof(fc.integer({ min: 1, max: 1e9 }), fc.constant("zeros" as const));
      const clusters = fc.uniqueArray(fc.tuple(fc.integer({ min: 0, max: 1023 }), content), {
        selector: ([cluster]) => cluster,
        maxLength: 120,
      });
      await fc.assert(
        fc.asyncProperty(clusters, async (clusters) => {
          const path = join(folder, "archive");
          const box = await boxWith(runtime, new Map(clusters));
          const { consistency, diskBytes } = await box.export(path);
          assert.equal(consistency, "stopped");
          assert.equal(diskBytes, clusters.filter(([, each]) => each !== "zeros").length * CLUSTER);
          const { box: copy } = await runtime.import(path, { name: "copy" });
          // One that says nothing isn't written, and made when the box starts.
          if (clusters.length > 0) await compareDisks(runtime, box.id, copy.id);
          else assert.ok(!(await exists(join(runtime.home, "boxes", copy.id, "disk.qcow2"))));
          await Promise.all([box.remove(), copy.remove()]);
          await assertBoxes(runtime, 0);
        }),
        { numRuns: 8, examples: [[[]], [[[0, "zeros"], [1023, 1]]]] },
      );
    }),
);

Deno.test("Runtime.import makes a box that never ran of one that never ran", () =>
  withHome(async (runtime, folder) => {
    const path = join(folder, "archive");
    const box = await runtime.create({ image: "builtin:busybox", name: "a", ports: ["0:80"] });
    await box.export(path);
    const { box: copy, leftOut } = await runtime.import(path, { name: "b" });
    assert.deepEqual(leftOut, ["ports"]);
    assert.equal((await copy.info()).status, "configured");
    assert.equal(copy.config.hostname, "b");
    assert.deepEqual(copy.config.network.ports, []);
  }));

Deno.test("Runtime.import takes an image whole of which one that died had come to a part", () =>
  withHome(async (runtime) => {
    const archive = await exported(runtime);
    const blobs = (await partsOf(archive)).filter(({ name }) => name.startsWith("blobs/"));
    const left: Readonly<Record<string, (content: Uint8Array) => Uint8Array>> = {
      "half of each": (content) => content.subarray(0, content.length / 2),
      "all, with other bytes": (content) => content.map((byte) => byte ^ 1),
    };
    for (const [what, leave] of Object.entries(left)) {
      await using home = new TempFolder();
      const partial = join(home.path, "blobs/partial");
      await Deno.mkdir(partial, { recursive: true });
      for (const { name, content } of blobs) {
        await Deno.writeFile(join(partial, name.slice(name.lastIndexOf("/") + 1)), leave(content));
      }
      await using other = await Runtime.open({ home: home.path });
      const { box } = await other.import(streamOf(archive));
      assert.equal((await box.info()).status, "configured", what);
      for (const { name, content } of blobs) {
        assert.deepEqual(await Deno.readFile(join(home.path, name)), content, `${what}: ${name}`);
      }
      assert.deepEqual([...Deno.readDirSync(partial)], [], what);
    }
  }));

Deno.test("Runtime.import refuses archives that lie, and leaves nothing of them", () =>
  withHome(async (runtime) => {
    const archive = await exported(runtime);
    const parts = await partsOf(archive);
    const [head = document("", {})] = parts;
    const said = JSON.parse(new TextDecoder().decode(head.content));
    const rest = parts.slice(1);
    const blobs = rest.filter(({ name }) => name.startsWith("blobs/"));
    const withHead = (more: Record<string, unknown>, files = rest) =>
      archiveOf([document("hutch.json", { ...said, ...more }), ...files]);
    const box = (more: Record<string, unknown>) => withHead({ box: { ...said.box, ...more } });
    const disk = (...pieces: ArchivePart[]) => archiveOf([head, ...blobs, ...pieces]);
    const bytes = pattern(1);
    const lies: readonly (readonly [string, Uint8Array<ArrayBuffer>])[] = [
      ["newer", withHead({ version: 2 })],
      ["no version", withHead({ version: "1" })],
      ["another format", withHead({ format: "tar" })],
      ["no box", withHead({ box: null })],
      ["no image", withHead({ image: null })],
      ["another image", withHead({ image: { ...said.image, digest: `sha256:${"0".repeat(64)}` } })],
      ["no blobs", withHead({ image: { ...said.image, blobs: [] } })],
      [
        "many blobs",
        withHead({ image: { ...said.image, blobs: Array(600).fill(said.image.blobs[0]) } }),
      ],
      ["a path", withHead({ image: { ...said.image, blobs: [{ digest: "../../x", size: 1 }] } })],
      ["another base", withHead({ disk: { ...said.disk, base: `sha256:${"1".repeat(64)}` } })],
      ["a larger disk", withHead({ disk: { ...said.disk, sizeBytes: 2 ** 40 } })],
      ["a disk of none", withHead({ disk: null })],
      ["an odd disk", withHead({ disk: { ...said.disk, sizeBytes: -1 } })],
      ["no consistency", withHead({ consistency: "good" })],
      ["a name", box({ name: "../x" })],
      ["a long name", box({ name: "x".repeat(300) })],
      ["processors", box({ cpus: -1 })],
      ["memory", box({ memoryMiB: 1e12 })],
      ["an environment", box({ exec: { ...said.box.exec, env: { HUTCH_HOME: "/" } } })],
      ["no environment", box({ exec: { ...said.box.exec, env: [1] } })],
      ["a host name", box({ hostname: "a b" })],
      ["a restart", box({ restart: "sometimes" })],
      ["a network", box({ network: { ...said.box.network, mode: "host" } })],
      ["a host", box({ network: { ...said.box.network, extraHosts: { a: "x" } } })],
      ["logs", box({ log: { maxBytes: 0, files: 1e9 } })],
      ["a large head", archiveOf([{ name: "hutch.json", content: new Uint8Array(5 << 20) }])],
      ["no head", archiveOf(rest)],
      ["another file", archiveOf([head, document("../../x", {}), ...rest])],
      [
        "a file between",
        archiveOf([head, ...blobs, document("other", {}), ...rest.slice(blobs.length)]),
      ],
      ["blobs missing", archiveOf([head, ...rest.slice(1)])],
      ["order", archiveOf([head, ...rest.toReversed()])],
      ["a piece missing", archiveOf([...parts.slice(0, -1)], { end: { pieces: 1 } })],
      ["a checksum", archiveOf(parts, { end: { sha256: "0".repeat(64) } })],
      ["no checksum", archiveOf(parts, { end: { sha256: 1 } })],
      ["no end", packed((await plainOf(archive)).slice(0, -2048))],
      ["a tail", archiveOf(parts, { tail: joined([new Uint8Array(1024), bytes]) })],
      ["half an end", archiveOf(parts, { tail: new Uint8Array(512) })],
      ["behind the disk", disk(piece(0, [[64 << 20, CLUSTER, 1]], bytes))],
      ["far behind", disk(piece(0, [[2 ** 52, CLUSTER, 1]], bytes))],
      ["over the end", disk(piece(0, [[(64 << 20) - CLUSTER, 2 * CLUSTER, 2]]))],
      ["not whole", disk(piece(0, [[512, CLUSTER, 1]], bytes))],
      ["short", disk(piece(0, [[0, CLUSTER, 1]], bytes.slice(1)))],
      ["long", disk(piece(0, [[0, CLUSTER, 1]], joined([bytes, bytes])))],
      ["empty", disk(piece(0, []))],
      ["nothing", disk(piece(0, [[0, 0, 1]]))],
      ["a kind", disk(piece(0, [[0, CLUSTER, 3]]))],
      ["many runs", disk(piece(0, [[0, CLUSTER, 1]], bytes, 2 ** 40))],
      ["twice", disk(piece(0, [[0, CLUSTER, 1], [0, CLUSTER, 1]], joined([bytes, bytes])))],
      [
        "backwards",
        disk(piece(0, [[CLUSTER, CLUSTER, 1]], bytes), piece(1, [[0, CLUSTER, 1]], bytes)),
      ],
      ["numbers", disk(piece(1, [[0, CLUSTER, 1]], bytes))],
      ["no tar", packed(bytes)],
      ["no zstd", bytes],
      ["nothing at all", new Uint8Array()],
      [
        "a skippable frame",
        joined([Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0), archive.slice(0, 9)]),
      ],
    ];
    for (const [what, lie] of lies) {
      await assert.rejects(runtime.import(streamOf(lie)), (error) => {
        assert.ok(error instanceof HutchError && CODES.includes(error.code), `${what}: ${error}`);
        return true;
      }, what);
      await assertBoxes(runtime, 0);
    }
    await assert.rejects(runtime.import(streamOf(archive), { maxBytes: CLUSTER }), {
      code: "limit_exceeded",
    });
    await runtime.import(streamOf(archive)); // it was good but for the lies
    await assertBoxes(runtime, 1);
  }));

Deno.test(
  `Runtime.import finds every damage${note}`,
  { ignore },
  () =>
    withHome(async (runtime) => {
      const archive = await exported(runtime);
      const first = await boxWith(runtime, CLUSTERS);
      await fc.assert(
        fc.asyncProperty(
          fc.nat(archive.length - 1),
          fc.integer({ min: 1, max: 255 }),
          fc.boolean(),
          async (at, change, cut) => {
            const bytes = archive.slice(0, cut ? at : undefined);
            if (!cut) bytes[at] = (bytes[at] ?? 0) ^ change;
            const made = await runtime.import(streamOf(bytes), { name: "copy" })
              .catch((error: unknown) => {
                assert.ok(error instanceof HutchError && CODES.includes(error.code), `${error}`);
              });
            if (made) {
              await compareDisks(runtime, first.id, made.box.id); // nothing that counts was changed
              await made.box.remove();
            }
            await assertBoxes(runtime, 1);
          },
        ),
        { numRuns: ROUNDS },
      );
    }),
);

Deno.test("Box.export tells how far it is, and has no secret's value in it", () =>
  withHome(async (runtime, folder) => {
    const value = "a value that nobody else has";
    const path = join(folder, "archive");
    const box = await runtime.create({
      ...{ image: "builtin:busybox", name: "a", env: { WORD: "told" } },
      secrets: { TOKEN: { value, hosts: ["api.test"] } },
    });
    const said: ArchiveProgress[] = [];
    await box.export(path, { onProgress: (progress) => said.push(progress) });
    const plain = new TextDecoder().decode(await plainOf(await Deno.readFile(path)));
    assert.ok(plain.includes('"TOKEN"') && plain.includes("told"));
    assert.ok(!plain.includes(value));
    const { size } = await Deno.stat(path);
    const came: ArchiveProgress[] = [];
    await runtime.import(path, { name: "b", onProgress: (progress) => came.push(progress) });
    for (const [steps, total] of [[said, said[0]?.total], [came, size]] as const) {
      const done = steps.map(({ done }) => done);
      assert.deepEqual(done, done.toSorted((a, b) => a - b));
      assert.deepEqual([done.at(-1), new Set(steps.map(({ total }) => total))], [
        total,
        new Set([total]),
      ]);
    }
  }));

Deno.test("Runtime.import keeps what reaches this machine for those who trust it alone", () =>
  withHome(async (runtime, folder) => {
    const path = join(folder, "archive");
    const box = await runtime.create({
      image: "builtin:busybox",
      name: "a",
      network: "open",
      ports: ["8080:80"],
      volumes: ["/etc:/host", "tmpfs:/scratch"],
      allowNet: ["api.test", "private", "10.0.0.0/8:443", "public"],
      networkRules: [{ action: "allow" }, { action: "deny", target: "1.2.3.4" }],
      dns: ["127.0.0.1:9999", "9.9.9.9"],
      secrets: { HOME: { from: "env", hosts: ["api.test"] } },
      autoRemove: false,
    });
    await box.export(path, { image: false });
    const { box: careful, leftOut } = await runtime.import(path, { name: "b" });
    assert.deepEqual(leftOut, ["volumes", "ports", "network", "rules", "dns", "secrets"]);
    assert.deepEqual(careful.config.network.rules, [
      "deny out any 1.2.3.4 any",
      "allow out tcp api.test any",
      "allow out any public any",
      "deny out any any any",
    ]);
    assert.deepEqual(careful.config.network.secrets, []);
    assert.deepEqual(careful.config.network.dns, []);
    assert.equal(careful.config.network.mode, "nat");
    assert.equal(careful.config.volumes.length, 1);
    const { box: trusted } = await runtime.import(path, { name: "c", trust: true });
    assert.deepEqual(trusted.config.network, box.config.network);
    assert.deepEqual(trusted.config.volumes, box.config.volumes);
  }));

Deno.test("Runtime.import asks plugins as a create does", async () => {
  await using home = new TempFolder();
  await using folder = new TempFolder();
  let refuse = false;
  await using runtime = await Runtime.open({
    home: home.path,
    plugins: [{
      name: "limits",
      operations: {
        create: {
          before: (input) => {
            if (refuse) throw new Error("not today");
            return { ...input, memory: 100 };
          },
        },
      },
    }],
  });
  const path = join(folder.path, "archive");
  const box = await boxWith(runtime, CLUSTERS);
  await box.export(path);
  const { box: copy } = await runtime.import(path, { name: "copy" });
  assert.equal(copy.config.memoryMiB, 100);
  refuse = true;
  await assert.rejects(runtime.import(path, { name: "other" }), /not today/);
  await assertBoxes(runtime, 2);
});
