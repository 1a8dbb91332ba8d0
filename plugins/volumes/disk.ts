/**
 * Volumes that are disks in files of the host: `disk:FILE:GUEST[:OPTIONS]`, or
 * `{ disk: FILE, guest, format, readOnly, noexec }`. OPTIONS are `format=raw` or `format=qcow2`, `ro`,
 * `noexec`, with commas. What is on a disk, its format is never looked for in it, since a box can
 * write anything there: without `format` the file's name says it, by `.qcow2`, `.raw` or `.img`.
 *
 * The box's kernel finds out whether its file system is ext4, XFS or btrfs. A box that may write has
 * the disk alone while it runs; several may have one read-only. qcow2 disks that need other files are
 * refused. A relative FILE counts from the working folder of the program that creates the box.
 *
 * Options: none.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open();
 * await runtime.create({ image: "builtin:busybox", volumes: ["disk:./data.qcow2:/data:ro"] });
 * ```
 * @module
 */
import {
  definePlugin,
  type Plugin,
  readVolumeOptions,
  type VolumeAnswer,
  type VolumeOptions,
  volumeOptionsOf,
  volumeRefused,
  type VolumeSpec,
} from "../../mod.ts";
import { absolutePath } from "./local_path.ts";

type Format = NonNullable<VolumeAnswer["disk"]>["format"];

/** A volume's parts, as written. */
interface Written {
  readonly file: string;
  readonly guest: string;
  readonly format: unknown;
  readonly options: VolumeOptions;
}

const ENDINGS: Readonly<Record<string, Format>> = { qcow2: "qcow2", raw: "raw", img: "raw" };

/** Makes the plugin that knows disks. */
export function diskVolume(): Plugin {
  return definePlugin({
    name: "disk_volume",
    resolve: {
      async volume({ spec }) {
        const written = typeof spec === "string" ? fromText(spec) : fromObject(spec);
        return written && await answer(written, spec);
      },
    },
  });
}

async function answer(
  { file, guest, format: given, options }: Written,
  spec: VolumeSpec,
): Promise<VolumeAnswer> {
  const path = absolutePath(file, spec);
  const format = formatOf(given ?? ENDINGS[/\.([^.\/]+)$/.exec(file)?.[1] ?? ""], spec);
  if (format === "qcow2") await checkQcow2(path, spec);
  const recorded = { disk: path, guest, format, ...options };
  return { disk: { path, format }, guestPath: guest, ...options, spec: recorded };
}

function formatOf(format: unknown, spec: VolumeSpec): Format {
  if (format === "raw" || format === "qcow2") return format;
  const why = format === undefined
    ? "its format isn't given, and the file's name doesn't end with .qcow2, .raw or .img"
    : `its format, ${JSON.stringify(format)}, is neither raw nor qcow2`;
  throw volumeRefused(spec, why, "give format=raw or format=qcow2");
}

function fromText(spec: string): Written | undefined {
  if (!spec.startsWith("disk:")) return undefined;
  const [, file = "", guest = "", text, ...more] = spec.split(":");
  if (file === "" || guest === "") throw volumeRefused(spec, "it isn't disk:FILE:GUEST");
  if (more.length > 0) {
    throw volumeRefused(spec, "it has too many colons", 'write { disk: "…", guest: "…" }');
  }
  if (text === undefined) return { file, guest, format: undefined, options: {} };
  const { options, values } = readVolumeOptions(spec, text, ["format"]);
  return { file, guest, format: values.format, options };
}

function fromObject(spec: Exclude<VolumeSpec, string>): Written | undefined {
  const { disk, guest, format } = spec;
  if (disk === undefined) return undefined;
  if (typeof disk !== "string" || disk === "") throw volumeRefused(spec, "its disk is no path");
  return { file: disk, guest, format, options: volumeOptionsOf(spec, ["disk", "format"]) };
}

/** Refuses what would have the engine open other files of this machine. */
async function checkQcow2(path: string, spec: VolumeSpec): Promise<void> {
  const head = new DataView(await firstBytes(path, 104));
  if (head.byteLength < 72) return; // what is missing or unreadable is told of elsewhere
  if (head.getUint32(0) !== 0x514649fb) throw volumeRefused(spec, `${path} is no qcow2 disk`);
  const features = head.getUint32(4) > 2 && head.byteLength >= 80 ? head.getBigUint64(72) : 0n;
  const problem = head.getBigUint64(8) !== 0n || head.getUint32(16) !== 0
    ? "has a backing file"
    : (features & 4n) !== 0n
    ? "keeps its data in another file"
    : undefined;
  if (problem === undefined) return;
  throw volumeRefused(spec, `${path} ${problem}`, "make one of both (qemu-img convert -O qcow2 …)");
}

async function firstBytes(path: string, count: number): Promise<ArrayBuffer> {
  try {
    using file = await Deno.open(path);
    const bytes = new Uint8Array(count);
    let length = 0;
    for (let n; length < count && (n = await file.read(bytes.subarray(length))) !== null;) {
      length += n;
    }
    return bytes.buffer.slice(0, length);
  } catch {
    return new ArrayBuffer(0);
  }
}
