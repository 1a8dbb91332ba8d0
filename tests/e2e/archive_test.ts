/**
 * Boxes in archives: out of one home and into another.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, Runtime } from "../../mod.ts";
import { checkDisk } from "../support/box_disk.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { BOX, hutch, TEST_ENGINE, until, withHome, withRuntime } from "./support.ts";

const { ignore, note } = needs("qemu-img", "e2fsck");
const on = `on ${TEST_ENGINE}${note}`;

const MACHINE_ID = "0123456789abcdef0123456789abcdef";

/** All that a box has of its own, but for mounts and what each start writes. */
async function treeOf(box: Box): Promise<string> {
  const { stdout } = await box.sh`
    cd / && find . -xdev | sort | grep -vE '^\./(dev|etc|out|proc|run|scratch|sys|tmp)?$' |
    grep -vE '^\./etc/(hosts|hostname|resolv.conf)$' |
    xargs stat -c '%n %a %u %g %s %Y %F %t %T' && md5sum data/text data/random data/holes`;
  return stdout;
}

Deno.test(
  `Runtime.import makes the box that Box.export wrote, running or not ${on}`,
  { ignore },
  () =>
    withRuntime(async (runtime) => {
      await using folder = new TempFolder();
      const [running, stopped] = [join(folder.path, "running"), join(folder.path, "stopped.hutch")];
      const box = await runtime.create({
        ...BOX,
        name: "first",
        labels: { team: "web" },
        volumes: ["tmpfs:/scratch:size=4m", `${folder.path}:/out`],
      });
      await box.sh`mkdir -m 700 /before; echo one > /before/one`;
      await box.snapshots.create("one"); // its disk lies over another one from now on
      await box.sh`
        mkdir -m 700 /data && cd /data
        dd if=/dev/urandom of=random bs=64k count=40 2>/dev/null
        yes | head -c 3000000 > text
        dd if=/dev/zero of=holes bs=1k count=1 seek=30000 2>/dev/null
        ln random again; ln -s random link; mkfifo pipe; mknod null c 1 3; touch -d @5 old
        chown 12:34 text; rm -rf /var; mkdir /var`;
      const tree = await treeOf(box);
      const while_ = await box.export(running);
      assert.equal(while_.consistency, "filesystem");
      assert.equal((await box.info()).status, "running");
      assert.equal((await box.exec("true")).code, 0);
      await box.stop();
      const { consistency, bytes, diskBytes } = await box.export(stopped, { image: false });
      assert.equal(consistency, "stopped");
      assert.equal(bytes, (await Deno.stat(stopped)).size);
      assert.ok(bytes < (await Deno.stat(running)).size && bytes < diskBytes);

      // Where neither the image is nor can be pulled.
      await withHome(async (home) => {
        await using other = await Runtime.open({ home });
        await other.images.prune({ all: true });
        await assert.rejects(other.import(stopped, { pull: false }), { code: "image_not_found" });
        assert.deepEqual(await other.list({ all: true }), []);
        const { box: copy, leftOut } = await other.import(running);
        assert.deepEqual(leftOut, ["volumes"]);
        assert.notEqual(copy.id, box.id);
        assert.deepEqual(copy.config.labels, { team: "web" });
        assert.equal(copy.config.volumes.length, 1);
        await checkDisk(home, copy.id, { journal: true });
        assert.equal(await treeOf(copy), tree);
        await copy.stop();
        await checkDisk(home, copy.id);
      });

      await assert.rejects(runtime.import(stopped), { code: "name_taken" });
      const { box: second } = await runtime.import(stopped, { name: "second", trust: true });
      assert.equal(second.config.volumes.length, 2);
      assert.equal(second.config.hostname, "second");
      await checkDisk(runtime.home, second.id);
      assert.equal(await treeOf(second), tree);
    }),
);

Deno.test(`a box goes on while it is exported, and what is imported is whole ${on}`, {
  ignore,
}, () =>
  withRuntime(async (runtime) => {
    const box = await runtime.create({ ...BOX, name: "busy", disk: 256 });
    const writer = `i=0; while :; do i=$((i+1)); printf '%08d\\n' $i >> /log; sync; done`;
    await using _writer = box.exec("sh", ["-c", writer]);
    const lines = async () => Number(await box.sh`cat /log 2>/dev/null | wc -l`.text());
    const grows = async (from: number) => {
      const stuck = () => Promise.resolve("the box doesn't go on");
      await until(async () => await lines() > from, stuck);
    };
    await grows(3);
    const before = await lines();
    const reached = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    const exporting = box.export(
      new WritableStream({
        async write(chunk) {
          reached.resolve();
          await held.promise;
          chunks.push(chunk.slice());
        },
      }),
    );
    try {
      await Promise.race([reached.promise, exporting]);
      await grows(await lines() + 3);
    } finally {
      held.resolve();
    }
    assert.equal((await exporting).consistency, "filesystem");
    const archive = new Blob(chunks);
    const { box: copy } = await runtime.import(archive.stream(), { name: "copy" });
    await checkDisk(runtime.home, copy.id, { journal: true });
    const program = `$0 != sprintf("%08d", NR) { print "bad " NR ": " $0; exit } END { print NR }`;
    const said = await copy.sh`awk ${program} /log`.text();
    assert.match(said, /^\d+$/);
    assert.ok(Number(said) >= before && Number(said) <= await lines(), `${said}, ${before}`);
    await copy.remove({ force: true });
    await box.remove({ force: true });
  }));

Deno.test(`hutch export and import take pipes ${on}`, { ignore }, () =>
  withHome(async (home) => {
    {
      await using runtime = await Runtime.open({ home });
      const box = await runtime.create({ ...BOX, name: "web" });
      await box.sh`mkdir -p /etc/ssh; echo ${MACHINE_ID} > /etc/machine-id
        echo key > /etc/ssh/ssh_host_ed25519_key; echo hello > /note`;
      await box.stop();
    }
    await withHome(async (other) => {
      const exported = await hutch(home, ["export", "web"], {});
      assert.equal(exported.code, 0, exported.stderr);
      const { code, stdout, stderr } = await hutch(other, ["import", "--name", "two", "-"], {
        stdin: exported.stdoutBytes,
      });
      assert.equal(code, 0, stderr);
      await using runtime = await Runtime.open({ home: other });
      const box = await runtime.get("two");
      assert.equal(`${box.id}\n`, stdout);
      assert.equal(await box.fs.readTextFile("/note"), "hello\n");
      // It is somebody else, unless it is the same one that has moved.
      const identity = async (box: Box) => await box.sh`cat /etc/machine-id; ls /etc/ssh`.text();
      assert.match(await identity(box), /^[0-9a-f]{32}$/);
      assert.doesNotMatch(await identity(box), new RegExp(MACHINE_ID));
      const moved = await hutch(other, ["import", "--name", "web", "--keep-identity"], {
        stdin: exported.stdoutBytes,
      });
      assert.equal(moved.code, 0, moved.stderr);
      const web = await runtime.get("web");
      assert.equal(await identity(web), `${MACHINE_ID}\nssh_host_ed25519_key`);
      for (const each of [box, web]) await each.remove({ force: true });
    });
  }));
