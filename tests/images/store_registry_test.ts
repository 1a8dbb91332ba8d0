import assert from "node:assert/strict";
import { join } from "node:path";
import { copyImage, IMAGE_TOOLS, makeLayeredImage } from "../support/images.ts";
import { startRegistry } from "../support/registry.ts";
import { rejects } from "../support/rejects.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { TempStore } from "../support/temp_store.ts";

const registryTools = needs("docker-registry", ...IMAGE_TOOLS);

Deno.test({
  name:
    `ImageStore.pull takes every kind of image from docker-registry and from a folder${registryTools.note}`,
  ignore: registryTools.ignore,
  async fn(test) {
    await using folder = new TempFolder();
    await using registry = await startRegistry();
    const layout = await makeLayeredImage(folder.path);
    const { host } = registry;
    await copyImage(`oci:${layout}:latest`, `docker://${host}/t/oci:1`);
    await copyImage(`oci:${layout}:latest`, `docker://${host}/t/docker:1`, { format: "v2s2" });
    await copyImage(`oci:${layout}:latest`, `docker://${host}/t/zstd:1`, { compression: "zstd" });
    const zstd = join(folder.path, "zstd");
    await copyImage(`oci:${layout}:latest`, `oci:${zstd}:1`, { compression: "zstd" });
    const gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    const cases: readonly (readonly [string, string])[] = [
      [`${host}/t/oci:1`, gzip],
      [`${host}/t/docker:1`, "application/vnd.docker.image.rootfs.diff.tar.gzip"],
      [`${host}/t/zstd:1`, gzip.replace("gzip", "zstd")],
      [`oci:${layout}`, gzip],
      [`oci:${layout}:latest`, gzip],
      [`oci:${zstd}:1`, gzip.replace("gzip", "zstd")],
    ];
    const diffIds = new Set<string>();
    for (const [reference, mediaType] of cases) {
      await test.step(reference.replace(host, "HOST").replace(folder.path, "FOLDER"), async () => {
        await using temp = new TempStore();
        const record = await temp.store.pull(reference);
        assert.deepEqual(
          record.layers.map((layer) => layer.mediaType),
          [1, 2, 3].map(() => mediaType),
        );
        assert.deepEqual(record.config, {
          env: { ...record.config.env, HUTCH: "yes" },
          entrypoint: ["/bin/sh"],
          cmd: ["-c", "true"],
          workingDir: "/data",
          user: "1000:1000",
          labels: { hutch: "test" },
          exposedPorts: [],
          volumes: [],
          stopSignal: "",
        });
        diffIds.add(JSON.stringify(record.layers.map((layer) => layer.diffId)));
        const again = await temp.store.resolve(reference, { policy: "never" });
        assert.deepEqual(again, record);
      });
    }
    assert.equal(diffIds.size, 1);
    await test.step("by digest, and names that aren't there", async () => {
      await using temp = new TempStore();
      const { digest } = await temp.store.pull(`${host}/t/oci:1`);
      assert.equal((await temp.store.pull(`${host}/t/oci@${digest}`)).digest, digest);
      await rejects(temp.store.pull(`${host}/t/oci:2`), "image_not_found", /t\/oci:2/);
      await rejects(temp.store.pull(`${host}/none`), "image_not_found", /none:latest/);
    });
  },
});
