/**
 * Debian from its packages, without a registry: `debian:bookworm` is what mmdebstrap makes of that
 * suite, as an image of one layer. The same packages give the same bytes, and so the same digest.
 * While the plugin is in use, names that begin with `debian:` are its: a registry's image is then
 * `registry:debian:12` or `docker.io/library/debian:12`. Needs mmdebstrap (`HUTCH_MMDEBSTRAP` names
 * the program), and root or user namespaces. Options and their defaults: {@link DebianOptions}.
 *
 * @example
 * ```ts
 * import { Runtime } from "../mod.ts";
 * import { debian } from "./debian.ts";
 * const small = { variant: "extract", include: ["busybox-static"] } as const;
 * const mirror = Deno.env.get("DEBIAN_MIRROR"); // such as one that is near
 * await using runtime = await Runtime.open({ plugins: [debian({ ...small, mirror })] });
 * await using box = await runtime.create({ image: "debian:bookworm", memory: 128 });
 * console.log((await box.exec("/bin/busybox", ["ls", "/"])).stdout);
 * ```
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { definePlugin, digestOf, findProgram, HutchError, whyNotFound } from "../mod.ts";
import type { Platform, Plugin, SourceImage, SourceRequest } from "../mod.ts";

/** Options of {@link debian}; see mmdebstrap(1) for what the values mean. */
export interface DebianOptions {
  /** Which packages there are; `extract` and `custom` have only those of `include`. @default {"minbase"} */
  readonly variant?: "extract" | "custom" | "essential" | "apt" | "minbase" | "standard";
  /** More packages. */
  readonly include?: readonly string[];
  /** A mirror's address, or lines of a sources.list. @default {mmdebstrap's} */
  readonly mirror?: string | readonly string[] | undefined;
  /** @default {"auto": "root" for root, else "unshare"} */
  readonly mode?: "auto" | "root" | "unshare";
}

/** Later times in the image become this one (2000-01-01), or no two images would be the same. */
const EPOCH = "946684800";
/** What mmdebstrap takes from this machine, which is no part of Debian. */
const FORGET = `--extract-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"`;
const PATIENCE_MS = 10_000; // for mmdebstrap to tidy up after it was told to end

/** Makes the plugin. */
export function debian(options: DebianOptions = {}): Plugin {
  const source = { canonical, open: (request: SourceRequest) => make(request, options) };
  return definePlugin({ name: "debian", sources: { debian: source } });
}

function canonical(suite: string): string {
  if (/^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/.test(suite) && suite.length <= 64) return suite;
  throw new HutchError(
    "invalid_reference",
    `Cannot read reference debian:${suite.slice(0, 100)}: it isn't the name of a suite`,
    { hint: "write debian:bookworm, or registry:debian:12 for the registry's image" },
  );
}

async function make(request: SourceRequest, options: DebianOptions): Promise<SourceImage> {
  const suite = canonical(request.reference);
  await using resources = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "hutch-debian-" });
  // A killed mmdebstrap may leave files there of a user that only its namespace has.
  resources.defer(() => Deno.remove(folder, { recursive: true }).catch(() => {}));
  await Deno.chmod(folder, 0o711); // such users must get through to what is theirs
  const path = join(folder, "layer.tar");
  await bootstrap(path, suite, request, options);
  const hash = createHash("sha256");
  for await (const bytes of (await Deno.open(path)).readable) hash.update(bytes);
  const layer = `sha256:${hash.digest("hex")}`;
  const { manifest, config } = documents(layer, (await Deno.stat(path)).size, request.platform);
  const held = resources.move();
  return {
    digest: digestOf(manifest),
    manifest,
    async blob(digest, { offset }) {
      if (digest !== layer) return { start: 0, body: new Blob([config]).stream() };
      const file = await Deno.open(path);
      await file.seek(offset, Deno.SeekMode.Start);
      return { start: offset, body: file.readable };
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** Runs mmdebstrap; in a process group of its own, since it would wait for its children to end. */
async function bootstrap(
  path: string,
  suite: string,
  { platform, signal }: SourceRequest,
  { variant = "minbase", include = [], mirror = [], mode = "auto" }: DebianOptions,
): Promise<void> {
  const what = `Cannot make debian:${suite}`;
  const program = await findProgram("HUTCH_MMDEBSTRAP", ["mmdebstrap"]);
  if (program === undefined) {
    const problem = `${what}: mmdebstrap: ${whyNotFound("HUTCH_MMDEBSTRAP")}`;
    throw new HutchError("part_missing", problem, { hint: "apt-get install mmdebstrap" });
  }
  const args = [`--variant=${variant}`, `--mode=${mode}`, "--format=tar", FORGET];
  args.push(`--architectures=${platform.architecture}`, ...include.map((p) => `--include=${p}`));
  const child = new Deno.Command(program, {
    args: [...args, "--", suite, path, ...[mirror].flat()],
    env: { SOURCE_DATE_EPOCH: EPOCH, TMPDIR: dirname(path), LC_ALL: "C" },
    detached: true,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    kill(child.pid, "SIGTERM");
    timer = setTimeout(() => kill(child.pid, "SIGKILL"), PATIENCE_MS);
  };
  if (signal.aborted) end();
  signal.addEventListener("abort", end);
  let said = "";
  for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
    said = `${said}${text}`.slice(-2000);
  }
  const { success, code } = await child.status;
  signal.removeEventListener("abort", end);
  clearTimeout(timer);
  if (signal.aborted) throw new HutchError("cancelled", `${what}: it was cancelled`);
  if (success) return;
  const last = [`mmdebstrap ended with code ${code}:`, ...said.trim().split("\n").slice(-5)];
  throw new HutchError("image_not_found", `${what}: ${last.join("\n")}`);
}

/** Sends a signal to a process group. */
function kill(group: number, signal: Deno.Signal): void {
  try {
    Deno.kill(-group, signal);
  } catch { /* it has ended */ }
}

/** The image's documents, as bytes. */
function documents(layer: string, size: number, { os, architecture }: Platform) {
  const encode = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  const type = "application/vnd.oci.image";
  const env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
  const rootfs = { type: "layers", diff_ids: [layer] };
  const config = encode({ architecture, os, config: { Env: env, Cmd: ["sh"] }, rootfs });
  const manifest = encode({
    schemaVersion: 2,
    mediaType: `${type}.manifest.v1+json`,
    config: { mediaType: `${type}.config.v1+json`, digest: digestOf(config), size: config.length },
    layers: [{ mediaType: `${type}.layer.v1.tar`, digest: layer, size }],
  });
  return { config, manifest };
}
