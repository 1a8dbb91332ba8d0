/**
 * Images made of boxes, as other tools unpack them.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, Runtime } from "../../mod.ts";
import { startRegistry } from "../support/registry.ts";
import { untilNoProcess } from "../support/leftovers.ts";
import { SmallHome } from "../support/small_home.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { BOX, TEST_ENGINE, withHome, withRuntime } from "./support.ts";

const BUSYBOX = Deno.env.get("HUTCH_BUSYBOX") ?? "/bin/busybox";
const { ignore, note } = needs("busybox", "umoci", "skopeo", "docker-registry");
const on = `on ${TEST_ENGINE}${note}`;
/** All that an image has, but for mounts and what each start writes; quick in an emulated machine. */
const TREE = `{ find . -xdev -exec stat -c '%n %a %u %g %h %Y %F %t %T' {} +
    find . -xdev -type f -exec stat -c '%n %s' {} +
    find data srv etc -xdev -type f -exec md5sum {} + | sed 's/\\([^ ]*\\)  \\(.*\\)/.\\/\\2 \\1/'
    find data -type l -exec sh -c 'echo ./"$1" "$(readlink "$1")"' x {} ';'
  } 2>/dev/null | grep -vE '^[.](/(dev|etc|proc|run|sys|tmp|etc/(hosts|hostname|resolv.conf)))? ' |
  sort`;

async function treeOf(box: Box): Promise<string> {
  return (await box.exec("sh", ["-c", `cd / && ${TREE}`])).stdout;
}

/** What umoci makes of an image that was saved. */
async function unpacked(runtime: Runtime, image: string): Promise<string> {
  await using folder = new TempFolder();
  const layout = join(folder.path, "layout");
  const tar = join(folder.path, "image.tar");
  await runtime.images.save([image], { to: tar });
  await Deno.mkdir(layout);
  await runTool("tar", "-xf", tar, "-C", layout);
  const index = JSON.parse(await Deno.readTextFile(join(layout, "index.json")));
  const name = index.manifests[0].annotations["org.opencontainers.image.ref.name"];
  index.manifests[0].annotations["org.opencontainers.image.ref.name"] = "it";
  assert.match(name, /team\/app/);
  await Deno.writeTextFile(join(layout, "index.json"), JSON.stringify(index));
  return await unpackedIn(folder.path, layout);
}

/** What umoci makes of an image in a registry. */
async function unpackedFrom(reference: string): Promise<string> {
  await using folder = new TempFolder();
  const layout = join(folder.path, "layout");
  const from = `docker://${reference}`;
  await runTool("skopeo", "copy", "-q", "--src-tls-verify=false", from, `oci:${layout}:it`);
  return await unpackedIn(folder.path, layout);
}

/** What umoci makes of the image `it` of a layout. */
async function unpackedIn(folder: string, layout: string): Promise<string> {
  const bundle = join(folder, "bundle");
  await runTool("umoci", "unpack", "--image", `${layout}:it`, bundle);
  const bin = join(folder, "bin");
  await runTool(BUSYBOX, "mkdir", bin);
  await runTool(BUSYBOX, "--install", "-s", bin);
  const { stdout } = await new Deno.Command(BUSYBOX, {
    args: ["sh", "-c", TREE],
    cwd: join(bundle, "rootfs"),
    env: { PATH: bin },
  }).output();
  return new TextDecoder().decode(stdout);
}

Deno.test(
  `Box.commit makes an image that umoci unpacks to the box's tree ${on}`,
  { ignore: ignore || Deno.uid() !== 0 },
  () =>
    withRuntime(async (runtime) => {
      const box = await runtime.create({ ...BOX, name: "first" });
      await box.sh`
        mkdir -p /data/deep/er && cd /data
        echo one > one; dd if=/dev/urandom of=random bs=64k count=20 2>/dev/null
        dd if=/dev/zero of=holes bs=1k count=1 seek=3000 2>/dev/null; truncate -s 5000000 tail
        : > empty; ln random deep/again; ln -s ../one deep/link; ln -s ${"t".repeat(200)} far
        mkfifo pipe; mknod null c 1 3; mknod disk b 259 70000; touch -d @-5 old
        chown 70000:80000 one; chmod 4751 one; touch ${"n".repeat(200)}; touch 'ä b'
        rm /bin/vi /bin/wget; rm -rf /home; mkdir /home; touch /home/new; rm -rf /opt; echo f > /opt
        rm -rf /usr/sbin; mkdir -m 711 /usr/sbin; touch /usr/sbin/only
        chmod 700 /root; ln /etc/group /etc/group2; echo more >> /etc/passwd
        mkdir -p /srv/a; mkdir /srv/a/b`;
      const { layer, consistency } = await box.commit("team/app:1", {
        message: "the first",
        config: { cmd: ["cat", "/data/one"], env: { WORD: "x" }, labels: { team: "web" } },
      });
      assert.equal(consistency, "filesystem");
      assert.ok(layer && layer.whiteouts >= 3 && layer.entries < 60, JSON.stringify(layer));
      const tree = await treeOf(box);
      assert.ok(tree.split("\n").length > 400);
      assert.equal(await unpacked(runtime, "team/app:1"), tree);
      const [last] = (await runtime.images.history("team/app:1")).slice(-1);
      assert.equal(last?.createdBy, "the first");

      // The image's own boxes, and an image of one of those: killed, so that its journal counts.
      const second = await runtime.create({ ...BOX, name: "second", image: "team/app:1" });
      assert.deepEqual(second.config.command, ["cat", "/data/one"]);
      assert.equal(second.config.exec.env.WORD, "x");
      assert.equal(await treeOf(second), tree);
      await second.snapshots.create("one");
      await second
        .sh`rm -rf /data/deep; mkdir /data/deep; echo x > /data/deep/y; rm /data/pipe; sync`;
      const changed = await treeOf(second);
      await second.kill();
      const again = await second.commit("team/app:2");
      assert.equal(again.consistency, "stopped");
      assert.equal(await unpacked(runtime, "team/app:2"), changed);
      assert.equal((await runtime.images.inspect("team/app:2")).layers.length, 3);

      await second.remove(); // with what its machine left
      await using registry = await startRegistry();
      const to = `${registry.host}/team/app:2`;
      const { digest } = await runtime.images.push("team/app:2", { to });
      const inspected = JSON.parse(
        await runTool("skopeo", "inspect", "--tls-verify=false", `docker://${to}`),
      );
      assert.equal(inspected.Digest, digest);
      assert.equal(await unpackedFrom(to), changed);
      await withHome(async (home) => {
        await using other = await Runtime.open({ home });
        const pulled = await other.create({ ...BOX, image: to, name: "pulled" });
        assert.equal(await treeOf(pulled), changed);
        await pulled.remove({ force: true });
      });
    }),
);

Deno.test(`a commit without room for it leaves nothing of it, and the box as it was ${on}`, {
  ignore: Deno.uid() !== 0,
}, async () => {
  await using home = await SmallHome.make("size=96m");
  await using runtime = await Runtime.open({ home: home.path });
  const box = await runtime.create({ ...BOX, name: "full" });
  await box.sh`dd if=/dev/urandom of=/bytes bs=1M count=6 2>/dev/null; sync`;
  await box.stop();
  const images = async () => (await runtime.images.list()).length;
  const blobs = () => [...Deno.readDirSync(join(home.path, "blobs", "sha256"))].length;
  const before = [await images(), blobs()];
  {
    using _full = home.fill();
    await assert.rejects(box.commit("team/full:1"), { code: "no_space" });
  }
  assert.deepEqual([await images(), blobs()], before);
  await box.commit("team/full:1");
  assert.equal(await images(), (before[0] ?? 0) + 1);
  assert.equal(await box.sh`wc -c < /bytes`.text(), String(6 << 20));
  await box.remove({ force: true });
  await untilNoProcess(home.path); // its network may be a moment behind
});
