/** A box's files, on one box that all these tests share. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, HutchError } from "../../mod.ts";
import { TempFolder } from "../support/temp.ts";
import { BOX, TEST_ENGINE, withRuntime } from "./support.ts";

Deno.test(`Box.fs on ${TEST_ENGINE}`, (test) =>
  withRuntime(async (runtime) => {
    await using host = new TempFolder();
    await Deno.chmod(host.path, 0o755);
    await using box = await runtime.create({
      ...BOX,
      name: "filed",
      cwd: "/srv",
      volumes: [`${host.path}:/shared`],
    });
    for (const [name, body] of cases) await test.step(name, () => body(box, host.path));
    await box.stop();
    await test.step("Box.fs boots a box that doesn't run", async () => {
      assert.equal(await box.fs.readTextFile("/etc/kept"), "kept\n");
    });
  }));

const shell = async (box: Box, script: string) => {
  const { code, stdout, stderr } = await box.exec("sh", ["-c", script], { cwd: "/" });
  assert.equal(code, 0, stderr);
  return stdout;
};

const cases: readonly (readonly [string, (box: Box, host: string) => Promise<void>])[] = [
  ["Box.fs sees what programs see, and they what it does", async (box) => {
    assert.equal((await box.info()).status, "configured");
    await box.fs.mkdir("a/b", { recursive: true }); // below the working folder, which there isn't yet
    await box.fs.writeTextFile("/etc/kept", "kept\n");
    await box.fs.writeTextFile("a/b/file", "from the host\n", { mode: 0o640 });
    assert.equal(
      await shell(box, "cat /srv/a/b/file; stat -c %a:%U /srv/a/b/file"),
      "from the host\n640:root\n",
    );
    await shell(
      box,
      "printf 'in\\377' > /srv/a/b/$(printf 'n\\377'); ln -s /etc/hostname /srv/link",
    );
    const entries = await Array.fromAsync(box.fs.readDir("a/b"));
    const odd = entries.find(({ name }) => name === "n\ufffd");
    assert.deepEqual(await box.fs.readFile(odd?.pathBytes ?? ""), new Uint8Array([105, 110, 255]));
    assert.equal(await box.fs.readTextFile("link"), "filed\n");
    assert.equal(await box.fs.realPath("link"), "/etc/hostname");
  }],
  ["Box.fs reaches tmpfs, volumes and devices", async (box, host) => {
    await shell(box, "mkdir -p /memory && mount -t tmpfs none /memory");
    await box.fs.writeTextFile("/memory/file", "in memory");
    assert.equal(await shell(box, "cat /memory/file"), "in memory");
    await box.fs.writeTextFile("/shared/file", "on the host");
    assert.equal(await Deno.readTextFile(join(host, "file")), "on the host");
    await assert.rejects(box.fs.rename("/shared/file", "/memory/x"), /cross-device/);
    await box.fs.copyFile("/shared/file", "/memory/copy");
    assert.equal(await box.fs.readTextFile("/memory/copy"), "on the host");
    assert.equal((await box.fs.stat("/dev/vda").catch(() => undefined))?.isFile, undefined);
    assert.equal((await box.fs.stat("/dev/null")).isCharDevice, true);
  }],
  ["Box.fs carries large files as streams", async (box) => {
    const piece = crypto.getRandomValues(new Uint8Array(65_536));
    const chunks = Array.from({ length: 128 }, (_, i) => piece.subarray(i));
    await box.fs.writeFile("/memory/large", ReadableStream.from(chunks));
    const sum = (await shell(box, "sha256sum < /memory/large")).slice(0, 64);
    const read = async (stream: ReadableStream<Uint8Array>) => {
      const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
      return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    };
    const whole = new Uint8Array(await new Blob(chunks).arrayBuffer());
    assert.equal(sum, new Uint8Array(await crypto.subtle.digest("SHA-256", whole)).toHex());
    assert.equal(await read((await box.fs.open("/memory/large")).readable), sum);
  }],
  ["Box.fsAs has a user's rights", async (box) => {
    await shell(box, "echo 'maria:x:1234:1234::/home/maria:/bin/sh' >> /etc/passwd");
    const fs = box.fsAs("maria");
    await box.fs.chmod("/etc/kept", 0o600);
    await assert.rejects(fs.readTextFile("/etc/kept"), Deno.errors.PermissionDenied);
    await assert.rejects(fs.writeTextFile("/etc/new", ""), Deno.errors.PermissionDenied);
    const path = await fs.makeTempFile({ dir: "/tmp" });
    assert.equal((await box.fs.stat(path)).uid, 1234);
    await assert.rejects(box.fsAs("nobody-knows").stat("/"), { code: "no_such_user" });
  }],
  ["Box.fs fails as Deno does, and says where", async (box) => {
    await assert.rejects(box.fs.readFile("/no/file"), (error) => {
      assert.ok(error instanceof Deno.errors.NotFound);
      assert.equal(
        error.message,
        'Cannot read "/no/file" in box "filed": No such file or directory (os error 2)',
      );
      return true;
    });
    await assert.rejects(box.fs.writeFile("/memory/full", new Uint8Array(2 ** 27)), (error) => {
      assert.ok(error instanceof HutchError && error.code === "no_space", String(error));
      return true;
    });
    await box.fs.remove("/memory/full");
  }],
  ["Box.fs watches what programs do", async (box) => {
    await using watcher = box.fs.watch("/memory");
    await watcher.ready;
    await shell(box, "mkdir /memory/new; mv /memory/new /memory/old");
    const seen: string[] = [];
    for await (const { kind, paths } of watcher) {
      seen.push(`${kind} ${paths}`);
      if (kind === "rename") break;
    }
    assert.deepEqual(seen, ["create /memory/new", "rename /memory/new,/memory/old"]);
  }],
];
