/**
 * Images that hutch makes itself, from what the machine has: `builtin:busybox`.
 *
 * @module
 */
import {
  definePlugin,
  digestOf,
  formatPlatform,
  hostPlatform,
  HutchError,
  type ImageSource,
  type Platform,
  type Plugin,
  type SourceImage,
  type SourceRequest,
} from "../../mod.ts";
import { type Busybox, findBusybox } from "./builtin/busybox.ts";
import { type TarEntry, writeUstar } from "./builtin/ustar.ts";

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar";

// deno-fmt-ignore
const FOLDERS = [
  "bin", "dev", "etc", "home", "mnt", "opt", "proc", "run", "sbin", "srv", "sys", "usr",
  "usr/bin", "usr/sbin", "usr/local", "usr/local/bin", "var", "var/lib", "var/log",
];
const PRIVATE_FOLDERS: ReadonlyMap<string, number> = new Map([
  ["root", 0o700],
  ["tmp", 0o1777],
  ["var/tmp", 0o1777],
]);
const FILES: ReadonlyMap<string, string> = new Map([
  [
    "etc/passwd",
    "root:x:0:0:root:/root:/bin/sh\n" +
    "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n" +
    "nobody:x:65534:65534:nobody:/home:/bin/false\n",
  ],
  [
    "etc/group",
    "root:x:0:\ndaemon:x:1:\ntty:x:5:\ndisk:x:6:\nusers:x:100:\nnogroup:x:65534:\n",
  ],
  [
    "etc/hosts",
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
  ],
]);

/**
 * A plugin with the source `builtin`. Its image `busybox` is made from the machine's static
 * busybox (`HUTCH_BUSYBOX`, `/bin/busybox`, `/usr/bin/busybox`); the same busybox always gives the
 * same digest.
 *
 * @example
 * ```ts
 * import { builtinSource } from "./builtin.ts";
 * const plugin = builtinSource();
 * ```
 */
export function builtinSource(): Plugin {
  const source: ImageSource = { canonical, open };
  return definePlugin({ name: "builtin", sources: { builtin: source } });
}

function canonical(reference: string): string {
  if (/^[a-z0-9][a-z0-9._-]{0,62}$/.test(reference)) return reference;
  const shown = JSON.stringify(`builtin:${reference.slice(0, 100)}`);
  throw new HutchError(
    "invalid_reference",
    `Cannot read reference ${shown}: it isn't the name of a builtin image`,
    { hint: "there is builtin:busybox" },
  );
}

async function open(request: SourceRequest): Promise<SourceImage> {
  if (canonical(request.reference) !== "busybox") {
    throw new HutchError(
      "image_not_found",
      `Cannot find builtin:${request.reference}: there is no such builtin image`,
      { hint: "there is builtin:busybox" },
    );
  }
  const { platform, signal } = request;
  const own = hostPlatform();
  if (platform.os !== own.os || platform.architecture !== own.architecture) {
    throw new HutchError(
      "platform_unsupported",
      `Cannot make builtin:busybox for ${formatPlatform(platform)}: ` +
        `this machine's own busybox is for ${formatPlatform(own)}`,
    );
  }
  return imageOf(await findBusybox(platform, signal), platform);
}

/** The image as blobs in memory. */
function imageOf(busybox: Busybox, platform: Platform): SourceImage {
  const layer = writeUstar(entriesOf(busybox));
  const config = json({
    architecture: platform.architecture,
    ...(platform.variant === undefined ? {} : { variant: platform.variant }),
    os: platform.os,
    config: {
      Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
      Cmd: ["sh"],
    },
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, digest: digestOf(config), size: config.length },
    layers: [{ mediaType: LAYER_TYPE, digest: digestOf(layer), size: layer.length }],
  });
  const blobs = new Map([[digestOf(config), config], [digestOf(layer), layer]]);
  return {
    digest: digestOf(manifest),
    manifest,
    blob(digest, { offset }) {
      const bytes = blobs.get(digest);
      if (bytes) return Promise.resolve({ start: offset, body: streamOf(bytes.subarray(offset)) });
      return Promise.reject(
        new HutchError("invalid_image", `Cannot read builtin:busybox: it has no blob ${digest}`),
      );
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function entriesOf({ bytes, applets }: Busybox): readonly TarEntry[] {
  const folder = (path: string, mode: number): TarEntry => (
    { path, mode, content: { type: "folder" } }
  );
  return [
    ...FOLDERS.map((path) => folder(path, 0o755)),
    ...[...PRIVATE_FOLDERS].map(([path, mode]) => folder(path, mode)),
    ...[...FILES].map(([path, text]): TarEntry => (
      { path, mode: 0o644, content: { type: "file", bytes: new TextEncoder().encode(text) } }
    )),
    { path: "bin/busybox", mode: 0o755, content: { type: "file", bytes } },
    ...applets.map((path): TarEntry => (
      { path, mode: 0o755, content: { type: "hardlink", target: "bin/busybox" } }
    )),
  ];
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function streamOf(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    start(controller) {
      if (bytes.length > 0) controller.enqueue(bytes);
      controller.close();
    },
  });
}
