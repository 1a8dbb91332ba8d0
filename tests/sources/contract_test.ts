/**
 * hutch's own sources, each held to what every source must do.
 *
 * @module
 */
import { join } from "node:path";
import type { ImageSource, Plugin } from "../../mod.ts";
import { builtinSource } from "../../plugins/sources/builtin.ts";
import { dockerSource } from "../../plugins/sources/docker.ts";
import { dockerArchiveSource } from "../../plugins/sources/docker_archive.ts";
import { ociSource } from "../../plugins/sources/oci.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import { hostPlatform } from "../../src/images/platform.ts";
import { FakeEngine } from "../doubles/docker_engine.ts";
import { sourceContract, type SourceFixture } from "../contracts/source.ts";
import { savedByOldDocker } from "../support/docker_archive.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { tagged, TempLayout } from "../support/layout.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";

const ZEROS = "0".repeat(64);
const LAYERS = [someBytes(700_001), someBytes(512, 2), someBytes(1, 3)];
const IMAGE = memoryImage(LAYERS, hostPlatform().architecture);

sourceContract("registry", {
  source: only(registrySource({ timeoutMs: 5_000, retryDelayMs: 1 })),
  hostile: ["a b", "../x", "x/UPPER", "x:", "x@sha256:1", "host:99999/x", "x\n", "http://h/x"],
  setup() {
    const registry = new FakeRegistry();
    registry.addIndex("team/image:1", { [hostPlatform().architecture]: IMAGE });
    return Promise.resolve({
      reference: `${registry.host}/team/image:1`,
      missing: `${registry.host}/team/image:2`,
      requests: () => registry.requests.length,
      [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
    });
  },
});

sourceContract("oci folder", {
  source: only(ociSource()),
  hostile: [":x", "/a:", "/a:../x", `/a:x@sha256:${ZEROS}`, "/a:b\nc"],
  setup() {
    const layout = new TempLayout();
    layout.index(tagged(layout.add(IMAGE), "v1"));
    return Promise.resolve({
      reference: `${join(layout.path, "../", layout.path.replace(/.*\//, ""))}/:v1`,
      missing: `${layout.path}:v2`,
      [Symbol.asyncDispose]: () => layout[Symbol.asyncDispose](),
    });
  },
});

sourceContract("oci tar", {
  source: only(ociSource()),
  hostile: ["/a.tar:../x", "/a.tar:b c"],
  async setup() {
    await using layout = new TempLayout();
    layout.index(tagged(layout.add(IMAGE), "v1"));
    return archiveFixture(writeTar(...layout.entries()), ":v1", ":v2");
  },
});

sourceContract("docker-archive", {
  source: only(dockerArchiveSource()),
  hostile: [":x", "/a:", "/a:@", "/a:@x", "/a:@-1", "/a:../x", "/a:b c", `/a:x@sha256:${ZEROS}`],
  setup() {
    const entries = savedByOldDocker({ image: IMAGE, tags: ["image:1", "image:2"] });
    return Promise.resolve(archiveFixture(writeTar(...entries), ":image:1", ":image:3"));
  },
});

sourceContract("docker", {
  source: only(dockerSource()),
  hostile: ["a b", "../x", "x/UPPER", "x:", "x@sha256:1", "x\n", "unix:///x"],
  setup() {
    const engine = new FakeEngine();
    engine.add({
      image: IMAGE,
      tags: ["image:1"],
      architecture: hostPlatform().architecture,
      entries: savedByOldDocker({ image: IMAGE, tags: ["image:1"] }),
    });
    const before = Deno.env.get("DOCKER_HOST");
    Deno.env.set("DOCKER_HOST", engine.host);
    return Promise.resolve({
      reference: "image:1",
      missing: "image:2",
      requests: () => engine.requests.length,
      async [Symbol.asyncDispose]() {
        if (before === undefined) Deno.env.delete("DOCKER_HOST");
        else Deno.env.set("DOCKER_HOST", before);
        await engine[Symbol.asyncDispose]();
      },
    });
  },
});

sourceContract("builtin", {
  source: only(builtinSource()),
  hostile: ["Busybox", "busybox:1", "../busybox", "/bin/busybox", "a\n"],
  ignore: needs("busybox").ignore,
  setup: () =>
    Promise.resolve({
      reference: "busybox",
      missing: "toybox",
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
});

/** An archive in a folder of its own. */
function archiveFixture(
  bytes: Uint8Array,
  tail: string,
  missing: string,
): SourceFixture {
  const folder = new TempFolder();
  const path = join(folder.path, "image.tar");
  Deno.writeFileSync(path, bytes);
  return {
    reference: `${folder.path}//image.tar${tail}`,
    missing: `${path}${missing}`,
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** The plugin's one source. */
function only({ name, sources = {} }: Plugin): ImageSource {
  const [source] = Object.values(sources);
  if (!source) throw new Error(`${name} has no source`);
  return source;
}
