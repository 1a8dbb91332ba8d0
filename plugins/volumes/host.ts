/**
 * Volumes that are folders and files of the host, as Docker users write them: `HOST:GUEST[:OPTIONS]`,
 * or `{ host, guest, readOnly, noexec, owner }`. OPTIONS are `ro`, `noexec` and `owner=keep` or
 * `owner=UID:GID`, with commas. HOST begins with `/`, `./`, `../` or `~/`; a relative one counts from
 * the working folder of the program that creates the box. A HOST with a colon needs the object.
 *
 * Both sides see each other's changes. Where hutch runs as root, what belongs to the folder's owner on
 * the host belongs to the box's user in the box, if that is root or a number, and what that user
 * makes is the owner's on the host; `owner` names another user of the box, or keeps all owners. For
 * another user than root, only the box's root can make and change files, and they are that user's on
 * the host. A read-only volume can't be written from the box, whatever its root does.
 *
 * Options: none.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({
 *   image: "builtin:busybox",
 *   volumes: ["./:/work:ro", { host: "/tmp", guest: "/out" }],
 * });
 * console.log((await box.exec("ls", ["/work"])).stdout);
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
import { absolutePath, isPath } from "./local_path.ts";

type Owner = NonNullable<VolumeAnswer["owner"]>;

/** A volume's parts, as written. */
interface Written {
  readonly host: string;
  readonly guest: string;
  readonly options: VolumeOptions;
  readonly owner: Owner | undefined;
}

/** Makes the plugin that knows folders and files of the host. */
export function hostVolume(): Plugin {
  return definePlugin({
    name: "host_volume",
    resolve: {
      volume({ spec }) {
        const written = typeof spec === "string" ? fromText(spec) : fromObject(spec);
        return written && answer(written, spec);
      },
    },
  });
}

function answer({ host, guest, options, owner }: Written, spec: VolumeSpec): VolumeAnswer {
  const hostPath = absolutePath(host, spec);
  const how = { ...options, ...owner === undefined ? {} : { owner } };
  return { hostPath, guestPath: guest, ...how, spec: { host: hostPath, guest, ...how } };
}

/** Undefined for text that doesn't begin like a path: it is of another kind. */
function fromText(spec: string): Written | undefined {
  if (!isPath(spec.split(":", 1)[0] ?? "")) return undefined;
  const [host = "", guest, ...rest] = spec.split(":");
  if (guest === undefined || guest === "") throw volumeRefused(spec, "it has no path in the box");
  const text = rest.join(":"); // owner=UID:GID has one
  if (!/^[^:]*(owner=\d+:\d+[^:]*)?$/.test(text)) {
    const hint = 'write { host: "…", guest: "…" }, or --mount';
    throw volumeRefused(spec, "it has too many colons", hint);
  }
  const { options, values } = rest.length === 0
    ? { options: {}, values: {} }
    : readVolumeOptions(spec, text, ["owner"]);
  return { host, guest, options, owner: ownerOf(values.owner, spec) };
}

function ownerOf(text: string | undefined, spec: VolumeSpec): Owner | undefined {
  if (text === undefined || text === "keep") return text;
  const [, uid, gid] = /^(\d+):(\d+)$/.exec(text) ?? [];
  if (uid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  throw volumeRefused(spec, `its owner, "${text}", is neither keep nor UID:GID`);
}

function fromObject(spec: Exclude<VolumeSpec, string>): Written | undefined {
  const { host, guest, owner } = spec;
  if (host === undefined) return undefined;
  if (typeof host !== "string") throw volumeRefused(spec, "its host is no text");
  if (!isPath(host)) {
    throw volumeRefused(spec, `its host path, "${host}", doesn't begin with /, ./, ../ or ~/`);
  }
  const options = volumeOptionsOf(spec, ["host", "owner"]);
  if (owner === undefined || owner === "keep") return { host, guest, options, owner };
  if (!isOwner(owner)) throw volumeRefused(spec, 'its owner is neither "keep" nor { uid, gid }');
  return { host, guest, options, owner: { uid: owner.uid, gid: owner.gid } };
}

function isOwner(value: unknown): value is { readonly uid: number; readonly gid: number } {
  return typeof value === "object" && value !== null && Object.keys(value).length === 2 &&
    "uid" in value && typeof value.uid === "number" &&
    "gid" in value && typeof value.gid === "number";
}
