/**
 * Images for tests, made with umoci and skopeo.
 *
 * @module
 */
import { join } from "node:path";
import { TempFolder } from "./temp.ts";
import { runTool } from "./tools.ts";

/** A name as long as file systems take. */
export const LONG_NAME = "n".repeat(255);
/** A path longer than a tar header's fields. */
export const LONG_PATH = `long/${"d".repeat(120)}/${"e".repeat(120)}/${LONG_NAME}`;

/** What {@link makeLayeredImage} needs. */
export const IMAGE_TOOLS: readonly string[] = ["umoci", "skopeo", "setfattr", "mknod"];

/**
 * Makes an OCI layout with one image of three gzip layers, tag `latest`:
 *
 * 1. `etc/{passwd,group}`, `data/{a,b,gone}` with `data/b` a hard link of `data/a`, a symbolic
 *    link `data/link`, a set-uid file `data/suid`, `data/attr` with xattr `user.hutch=bytes`, a
 *    folder `opaque` with `old`, a fifo, a device, {@link LONG_PATH}, an empty folder;
 * 2. without `data/gone` (a whiteout), `opaque` made anew with only `new`, `data/a` changed;
 * 3. `only-in-3`.
 *
 * Its configuration has env `HUTCH=yes`, user `1000:1000`, working folder `/data`, entrypoint
 * `/bin/sh`, command `-c true`, label `hutch=test`. Needs root for owners and devices.
 *
 * @param options `busybox` is a static program put into layer 1 as `bin/busybox` and, by symbolic
 * link, `bin/sh`, so that the image can be run.
 */
export async function makeLayeredImage(
  folder: string,
  options: { readonly busybox?: string } = {},
): Promise<string> {
  const layout = join(folder, "layout");
  const image = `${layout}:latest`;
  const bundle = join(folder, "bundle");
  const root = join(bundle, "rootfs");
  await runTool("umoci", "init", "--layout", layout);
  await runTool("umoci", "new", "--image", image);
  await runTool("umoci", "unpack", "--image", image, bundle);
  await fillFirst(root);
  if (options.busybox !== undefined) {
    await Deno.mkdir(join(root, "bin"));
    await Deno.copyFile(options.busybox, join(root, "bin/busybox"));
    await Deno.symlink("busybox", join(root, "bin/sh"));
  }
  await runTool("umoci", "repack", "--refresh-bundle", "--image", image, bundle);
  await Deno.remove(join(root, "data/gone"));
  await Deno.remove(join(root, "opaque"), { recursive: true });
  await Deno.mkdir(join(root, "opaque"));
  await Deno.writeTextFile(join(root, "opaque/new"), "new\n");
  await Deno.writeTextFile(join(root, "data/a"), "changed\n");
  await runTool("umoci", "repack", "--refresh-bundle", "--image", image, bundle);
  await Deno.writeTextFile(join(root, "only-in-3"), "three\n");
  await runTool("umoci", "repack", "--refresh-bundle", "--image", image, bundle);
  // deno-fmt-ignore
  await runTool("umoci", "config", "--image", image, "--config.env", "HUTCH=yes",
    "--config.user", "1000:1000", "--config.workingdir", "/data",
    "--config.entrypoint", "/bin/sh", "--config.cmd", "-c", "--config.cmd", "true",
    "--config.label", "hutch=test", "--architecture", architecture());
  await runTool("umoci", "gc", "--layout", layout);
  await Deno.remove(bundle, { recursive: true });
  return layout;
}

async function fillFirst(root: string): Promise<void> {
  const at = (path: string) => join(root, path);
  for (const path of ["etc", "data", "opaque", "empty", LONG_PATH.slice(0, -256)]) {
    await Deno.mkdir(at(path), { recursive: true });
  }
  await Deno.writeTextFile(at("etc/passwd"), "root:x:0:0::/:/bin/sh\nme:x:1000:1000::/:/bin/sh\n");
  await Deno.writeTextFile(at("etc/group"), "root:x:0:\nme:x:1000:\n");
  await Deno.writeTextFile(at("data/a"), "a\n");
  await Deno.link(at("data/a"), at("data/b"));
  await Deno.writeTextFile(at("data/gone"), "gone\n");
  await Deno.symlink("a", at("data/link"));
  await Deno.writeTextFile(at("data/suid"), "suid\n");
  await Deno.chown(at("data/suid"), 1000, 1000);
  await Deno.chmod(at("data/suid"), 0o4755);
  await Deno.writeTextFile(at("data/attr"), "attr\n");
  await runTool("setfattr", "-n", "user.hutch", "-v", "bytes", at("data/attr"));
  await Deno.writeTextFile(at("opaque/old"), "old\n");
  await Deno.writeTextFile(at(LONG_PATH), "long\n");
  await runTool("mknod", at("data/fifo"), "p");
  await runTool("mknod", at("data/null"), "c", "1", "3");
}

/** Copies an image with skopeo, such as `oci:FOLDER:TAG` to `docker://127.0.0.1:PORT/name:tag`. */
export async function copyImage(
  from: string,
  to: string,
  options: {
    readonly compression?: "gzip" | "zstd";
    /** `v2s2` for Docker's manifests. Not together with `compression`. */
    readonly format?: "oci" | "v2s2";
  } = {},
): Promise<void> {
  const { compression, format } = options;
  if (compression === undefined) {
    return await skopeoCopy(from, to, ...(format === undefined ? [] : ["--format", format]));
  }
  // skopeo keeps a layer that is compressed already, and takes one that the registry has
  // compressed otherwise: so it is unpacked, compressed on the way to a folder, and kept so.
  await using folder = new TempFolder();
  const plain = `dir:${join(folder.path, "plain")}`;
  const packed = `oci:${join(folder.path, "packed")}:latest`;
  await skopeoCopy(from, plain, "--dest-decompress");
  await skopeoCopy(plain, packed, "--dest-compress-format", compression);
  await skopeoCopy(packed, to, "--preserve-digests");
}

async function skopeoCopy(from: string, to: string, ...options: readonly string[]): Promise<void> {
  // deno-fmt-ignore
  await runTool("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false",
    "--src-tls-verify=false", ...options, from, to);
}

/** This machine's, as images name it. */
function architecture(): string {
  return Deno.build.arch === "aarch64" ? "arm64" : "amd64";
}
