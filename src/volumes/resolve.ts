/**
 * From volumes as they were asked for to volumes that are there: the plugins know the kinds, this
 * checks what they say.
 *
 * @module
 */
import { join } from "node:path";
import { normalize } from "node:path/posix";
import type { BoxConfig, VolumeSpec } from "../box/options.ts";
import { errorText, HutchError } from "../errors.ts";
import type {
  Queries,
  ResolvedVolume,
  SharedVolume,
  VolumeAnswer,
  VolumeOwner,
} from "../plugin/contract.ts";
import { volumeRefused } from "./options.ts";

/** Most volumes of a box. */
const MAX_VOLUMES = 64;
/** Most of them that are disks: machines have few places for devices. */
const MAX_DISKS = 4;
/** Permissions of a tmpfs. */
const USUAL_MODE = 0o1777;
/** Longest path of a volume in the box, in bytes. */
const MAX_GUEST_PATH = 1023;

/** Asks the plugins. */
export type VolumeAsker = (
  question: Queries["volume"]["question"],
) => Promise<VolumeAnswer | undefined>;

/** What {@link resolveVolumes} works with. */
export interface VolumeResolving {
  /** The box's own folder. */
  readonly folder: string;
  readonly ask: VolumeAsker;
}

/**
 * Checks volumes before their box is made, as far as one can without making anything.
 *
 * @returns The volumes as they are to be recorded: they mean the same to any program, in any folder.
 * @throws HutchError `invalid_option` that names the volume.
 */
export async function checkVolumes(
  specs: readonly VolumeSpec[],
  ask: VolumeAsker,
): Promise<readonly VolumeSpec[]> {
  const seen = new Seen(specs);
  const recorded: VolumeSpec[] = [];
  for (const spec of specs) {
    const answer = known(spec, await ask({ spec, start: undefined }));
    seen.add(answer.guestPath, spec);
    oneKind(answer, spec);
    if (answer.hostPath !== undefined) await hostSide(answer.hostPath, spec);
    if (answer.disk) await diskSide(answer.disk.path, spec);
    recorded.push(answer.spec ?? spec);
  }
  return recorded;
}

/**
 * Finds every volume of a box on the host. Shallow guest paths come first, so that mounts inside of
 * others are made after them.
 *
 * @throws HutchError `invalid_option` that names the volume.
 */
export async function resolveVolumes(
  box: BoxConfig,
  { folder, ask }: VolumeResolving,
): Promise<readonly ResolvedVolume[]> {
  const seen = new Seen(box.volumes);
  const found: ResolvedVolume[] = [];
  for (const [index, spec] of box.volumes.entries()) {
    const tag = `uservol${index}`;
    const start = { box, folder: join(folder, "volumes", tag) };
    const answer = known(spec, await ask({ spec, start }));
    const { readOnly = false, noexec = false } = answer;
    const guestPath = seen.add(answer.guestPath, spec);
    found.push({ tag, guestPath, readOnly, noexec, ...await side(answer, spec, box.exec.user) });
  }
  const disks = found.filter(({ kind }) => kind === "disk").length;
  if (disks > MAX_DISKS) {
    throw volumeRefused(`${disks} disks`, `a box has ${MAX_DISKS} volumes at most that are disks`);
  }
  return found.toSorted((a, b) => depth(a.guestPath) - depth(b.guestPath));
}

/** What isn't the same for every kind of volume. */
type Side<V> = V extends ResolvedVolume ? Omit<V, "tag" | "guestPath" | "readOnly" | "noexec">
  : never;

async function side(
  answer: VolumeAnswer,
  spec: VolumeSpec,
  user: string,
): Promise<Side<ResolvedVolume>> {
  oneKind(answer, spec);
  const { hostPath, tmpfs, disk } = answer;
  if (tmpfs) {
    const { sizeMiB = null, mode = USUAL_MODE } = tmpfs;
    if (sizeMiB !== null && !isWhole(sizeMiB, 1, 2 ** 32 - 1)) {
      throw volumeRefused(spec, `its size, ${sizeMiB} MiB, is not a whole number from 1`);
    }
    if (!isWhole(mode, 0, 0o1777)) throw volumeRefused(spec, "its mode is not from 0 to 1777");
    return { kind: "tmpfs", sizeMiB, mode };
  }
  if (disk) {
    const { format, grow = false } = disk;
    return { kind: "disk", hostPath: await diskSide(disk.path, spec), format, grow };
  }
  if (hostPath === undefined) throw volumeRefused(spec, "its plugin made nothing for it");
  const shared = await hostSide(hostPath, spec);
  return { kind: "share", ...shared, owner: ownerOf(answer.owner, shared, user) };
}

/** Whom the files of a host's owner belong to in the box; null for the owner that they have. */
function ownerOf(
  asked: VolumeAnswer["owner"],
  host: { readonly uid: number; readonly gid: number },
  user: string,
): VolumeOwner | null {
  if (asked === "keep") return null;
  const owner = asked ?? userIds(user);
  if (!owner || (owner.uid === host.uid && owner.gid === host.gid)) return null;
  return { uid: owner.uid, gid: owner.gid, required: asked !== undefined };
}

/** The box's user, where it is known without looking into the box. */
function userIds(user: string): { readonly uid: number; readonly gid: number } | undefined {
  const [, uid, gid] = /^(\d+|root)?(?::(\d+|root))?$/.exec(user) ?? [];
  if (uid === undefined && user !== "") return undefined;
  const own = numberOf(uid);
  // Without a passwd entry a number's group is root's; with one it is mostly the same number.
  const ids = { uid: own, gid: gid === undefined ? own : numberOf(gid) };
  return isId(ids.uid) && isId(ids.gid) ? ids : undefined;
}

function numberOf(id: string | undefined): number {
  return id === undefined || id === "root" ? 0 : Number(id);
}

function isId(id: number): boolean {
  return isWhole(id, 0, 2 ** 32 - 2);
}

function isWhole(value: number, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= least && value <= most;
}

function oneKind({ hostPath, tmpfs, disk, owner }: VolumeAnswer, spec: VolumeSpec): void {
  if ([hostPath, tmpfs, disk].filter((part) => part !== undefined).length > 1) {
    throw volumeRefused(spec, "its plugin says that it is of two kinds");
  }
  if (owner && owner !== "keep" && !(isId(owner.uid) && isId(owner.gid))) {
    throw volumeRefused(spec, "its owner's uid and gid are not both numbers from 0 to 4294967294");
  }
}

/** The canonical path of a disk's file. */
async function diskSide(path: string, spec: VolumeSpec): Promise<string> {
  try {
    const hostPath = await Deno.realPath(path);
    if (!(await Deno.stat(hostPath)).isFile) throw volumeRefused(spec, `${path} is not a file`);
    (await Deno.open(hostPath)).close();
    return hostPath;
  } catch (error) {
    throw unreadable(error, path, spec);
  }
}

/** The guest paths of a box's volumes: each may be there once. */
class Seen {
  readonly #paths = new Set<string>();

  constructor(specs: readonly VolumeSpec[]) {
    const over = specs[MAX_VOLUMES];
    if (over !== undefined) throw volumeRefused(over, `a box has ${MAX_VOLUMES} volumes at most`);
  }

  /** The clean path. */
  add(path: string, spec: VolumeSpec): string {
    const clean = checkGuestPath(path, spec);
    if (this.#paths.has(clean)) throw volumeRefused(spec, `another volume is at ${clean}`);
    this.#paths.add(clean);
    return clean;
  }
}

function known(spec: VolumeSpec, answer: VolumeAnswer | undefined): VolumeAnswer {
  if (answer) return answer;
  throw volumeRefused(
    spec,
    "no plugin knows this kind",
    "write HOST:GUEST with a HOST that begins with /, ./, ../ or ~/, NAME:GUEST, tmpfs:GUEST or disk:FILE:GUEST, or add the plugin",
  );
}

/** The guest path without needless parts; throws `invalid_option` for one that can't be mounted on. */
export function checkGuestPath(path: string, spec: VolumeSpec): string {
  if (!path.startsWith("/")) {
    throw volumeRefused(spec, `its path in the box, "${path}", has no "/" first`);
  }
  if (path.includes("\0")) throw volumeRefused(spec, "its path in the box has a NUL character");
  if (path.split("/").includes("..")) {
    throw volumeRefused(spec, `its path in the box, ${path}, has a ".." in it`);
  }
  const clean = normalize(path).replace(/\/$/, "");
  if (clean === "") throw volumeRefused(spec, "a volume can't be at / in the box");
  const bytes = new TextEncoder().encode(clean).length;
  if (bytes > MAX_GUEST_PATH) {
    throw volumeRefused(
      spec,
      `its path in the box has ${bytes} bytes, more than ${MAX_GUEST_PATH}`,
    );
  }
  return clean;
}

async function hostSide(
  path: string,
  spec: VolumeSpec,
): Promise<Pick<SharedVolume, "hostPath" | "uid" | "gid">> {
  try {
    const hostPath = await Deno.realPath(path);
    const { isDirectory, isFile, uid, gid } = await Deno.stat(hostPath);
    if (!isDirectory && !isFile) {
      throw volumeRefused(spec, `${path} on this machine is neither a folder nor a file`);
    }
    await read(hostPath, isDirectory);
    return { hostPath, uid: uid ?? 0, gid: gid ?? 0 };
  } catch (error) {
    throw unreadable(error, path, spec);
  }
}

function unreadable(error: unknown, path: string, spec: VolumeSpec): HutchError {
  if (error instanceof HutchError) return error;
  return error instanceof Deno.errors.NotFound
    ? volumeRefused(spec, `${path} is not there on this machine`, "make it first")
    : volumeRefused(spec, `${path} can't be read: ${errorText(error)}`);
}

/** Throws what the system says when it can't be read. */
async function read(path: string, folder: boolean): Promise<void> {
  if (!folder) (await Deno.open(path)).close();
  else for await (const _entry of Deno.readDir(path)) break;
}

function depth(path: string): number {
  return path.split("/").length;
}
