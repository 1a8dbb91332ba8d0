/**
 * Named volumes of the home: `NAME:GUEST[:OPTIONS]`, or
 * `{ volume: NAME, guest, readOnly, noexec, owner }`. OPTIONS are `ro`, `noexec` and `owner=keep`, with
 * commas. A volume that isn't there is made when the first box with it starts, and stays when its
 * boxes go: see `Runtime.volumes`. It runs behind the other plugins, which know the schemes of their
 * own volumes.
 *
 * Options: none.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open();
 * await runtime.create({ image: "builtin:busybox", volumes: ["data:/data"] });
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

/** A volume's parts, as written. */
interface Written {
  readonly volume: string;
  readonly guest: string;
  readonly options: VolumeOptions & Pick<VolumeAnswer, "owner">;
}

const NAME = /^(?!(?:bind|disk|git|tmpfs|volume)$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Makes the plugin that knows named volumes. */
export function namedVolume(): Plugin {
  return definePlugin({
    name: "named_volume",
    order: "post",
    resolve: {
      async volume({ spec, start }, context) {
        const written = typeof spec === "string" ? fromText(spec) : fromObject(spec);
        if (!written) return undefined;
        const { volume, guest, options } = written;
        const answer = { guestPath: guest, ...options, spec: { volume, guest, ...options } };
        if (!start) return answer;
        const { sizeMiB, path } = await context.runtime.volumes.create({ name: volume });
        if (sizeMiB === null) return { ...answer, hostPath: path };
        const { owner: _none, ...rest } = answer; // a disk has owners of its own
        return { ...rest, disk: { path, format: "raw", grow: true } };
      },
    },
  });
}

/** Undefined for text that isn't a name and a path: it is of another kind. */
function fromText(spec: string): Written | undefined {
  const [volume = "", guest = "", text, ...more] = spec.split(":");
  if (!NAME.test(volume) || !guest.startsWith("/")) return undefined;
  if (more.length > 0) throw volumeRefused(spec, "it has too many colons");
  if (text === undefined) return { volume, guest, options: {} };
  const { options, values: { owner } } = readVolumeOptions(spec, text, ["owner"]);
  if (owner === undefined) return { volume, guest, options };
  if (owner === "keep") return { volume, guest, options: { ...options, owner } };
  throw volumeRefused(spec, `its owner, "${owner}", is not keep`, "give another one as an object");
}

function fromObject(spec: Exclude<VolumeSpec, string>): Written | undefined {
  const { volume, guest, owner } = spec;
  if (volume === undefined) return undefined;
  if (typeof volume !== "string" || !NAME.test(volume)) {
    throw volumeRefused(spec, `its volume, ${JSON.stringify(volume)}, can't be a volume's name`);
  }
  const options = volumeOptionsOf(spec, ["volume", "owner"]);
  if (owner === undefined) return { volume, guest, options };
  if (owner === "keep") return { volume, guest, options: { ...options, owner } };
  const ids = typeof owner === "object" && owner !== null && "uid" in owner && "gid" in owner
    ? owner
    : undefined;
  if (typeof ids?.uid !== "number" || typeof ids.gid !== "number") {
    throw volumeRefused(spec, 'its owner is neither "keep" nor { uid, gid }');
  }
  return { volume, guest, options: { ...options, owner: { uid: ids.uid, gid: ids.gid } } };
}
