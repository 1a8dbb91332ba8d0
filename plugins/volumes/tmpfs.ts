/**
 * Volumes that are memory of the box, empty at each start: `tmpfs:GUEST[:OPTIONS]`, or
 * `{ tmpfs: true, guest, size, mode, noexec, readOnly }`. OPTIONS are `size=64m` (half of the box's
 * memory unless given), `mode=1777`, `exec`, `ro`, with commas. As Docker has it, programs in a tmpfs
 * can't be run unless `exec` (or `noexec: false`) says so. A size counts in whole MiB.
 *
 * Options: none.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({
 *   image: "builtin:busybox",
 *   volumes: ["tmpfs:/scratch:size=16m,exec", { tmpfs: true, guest: "/keys", mode: 0o700 }],
 * });
 * console.log((await box.exec("df", ["-m", "/scratch"])).stdout);
 * ```
 * @module
 */
import {
  definePlugin,
  parseSizeMiB,
  type Plugin,
  readVolumeOptions,
  type VolumeAnswer,
  type VolumeOptions,
  volumeOptionsOf,
  volumeRefused,
  type VolumeSpec,
} from "../../mod.ts";

/** A volume's parts, as written. */
interface Written {
  readonly guest: string;
  readonly sizeMiB: number | undefined;
  readonly mode: number | undefined;
  readonly options: VolumeOptions;
}

/** Makes the plugin that knows memory. */
export function tmpfsVolume(): Plugin {
  return definePlugin({
    name: "tmpfs_volume",
    resolve: {
      volume({ spec }) {
        const written = typeof spec === "string" ? fromText(spec) : fromObject(spec);
        return written && answer(written);
      },
    },
  });
}

function answer({ guest, sizeMiB, mode, options }: Written): VolumeAnswer {
  const tmpfs = {
    ...sizeMiB === undefined ? {} : { sizeMiB },
    ...mode === undefined ? {} : { mode },
  };
  return { tmpfs, guestPath: guest, noexec: true, ...options };
}

function fromText(spec: string): Written | undefined {
  if (!spec.startsWith("tmpfs:")) return undefined;
  const [, guest = "", text, ...more] = spec.split(":");
  if (guest === "") throw volumeRefused(spec, "it has no path in the box");
  if (more.length > 0) throw volumeRefused(spec, "it has too many colons");
  if (text === undefined) return { guest, sizeMiB: undefined, mode: undefined, options: {} };
  const { options, values: { size, mode } } = readVolumeOptions(spec, text, ["size", "mode"]);
  if (mode !== undefined && !/^0?1?[0-7]{3}$/.test(mode)) {
    throw volumeRefused(spec, `its mode, "${mode}", is not octal digits such as 1777`);
  }
  return {
    guest,
    sizeMiB: sizeOf(size, spec),
    mode: mode === undefined ? undefined : parseInt(mode, 8),
    options,
  };
}

function fromObject(spec: Exclude<VolumeSpec, string>): Written | undefined {
  const { tmpfs, guest, size, mode } = spec;
  if (tmpfs === undefined) return undefined;
  if (tmpfs !== true) throw volumeRefused(spec, "its tmpfs is not true");
  const options = volumeOptionsOf(spec, ["tmpfs", "size", "mode"]);
  if (mode !== undefined && typeof mode !== "number") {
    throw volumeRefused(spec, "its mode is no number such as 0o1777");
  }
  return { guest, sizeMiB: sizeOf(size, spec), mode, options };
}

function sizeOf(size: unknown, spec: VolumeSpec): number | undefined {
  if (size === undefined) return undefined;
  if (typeof size === "number" || typeof size === "string") {
    return parseSizeMiB(size, `the size of tmpfs ${typeof spec === "string" ? spec : spec.guest}`);
  }
  throw volumeRefused(spec, "its size is neither text nor a number of MiB");
}
