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
import type { Queries, ResolvedVolume, VolumeAnswer } from "../plugin/contract.ts";

/** Most volumes of a box. */
const MAX_VOLUMES = 64;
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
    if (answer.hostPath !== undefined) await hostSide(answer.hostPath, spec);
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
    if (answer.hostPath === undefined) throw refused(spec, "its plugin made nothing for it");
    found.push({
      tag,
      guestPath: seen.add(answer.guestPath, spec),
      readOnly: answer.readOnly ?? false,
      ...await hostSide(answer.hostPath, spec),
    });
  }
  return found.toSorted((a, b) => depth(a.guestPath) - depth(b.guestPath));
}

/** The guest paths of a box's volumes: each may be there once. */
class Seen {
  readonly #paths = new Set<string>();

  constructor(specs: readonly VolumeSpec[]) {
    const over = specs[MAX_VOLUMES];
    if (over !== undefined) throw refused(over, `a box has ${MAX_VOLUMES} volumes at most`);
  }

  /** The clean path. */
  add(path: string, spec: VolumeSpec): string {
    const clean = checkGuestPath(path, spec);
    if (this.#paths.has(clean)) throw refused(spec, `another volume is at ${clean}`);
    this.#paths.add(clean);
    return clean;
  }
}

function known(spec: VolumeSpec, answer: VolumeAnswer | undefined): VolumeAnswer {
  if (answer) return answer;
  throw refused(
    spec,
    "no plugin knows this kind",
    "write HOST:GUEST with a HOST that begins with /, ./, ../ or ~/, or add the plugin",
  );
}

/** The guest path without needless parts; throws `invalid_option` for one that can't be mounted on. */
export function checkGuestPath(path: string, spec: VolumeSpec): string {
  if (!path.startsWith("/")) {
    throw refused(spec, `its path in the box, "${path}", has no "/" first`);
  }
  if (path.includes("\0")) throw refused(spec, "its path in the box has a NUL character");
  if (path.split("/").includes("..")) {
    throw refused(spec, `its path in the box, ${path}, has a ".." in it`);
  }
  const clean = normalize(path).replace(/\/$/, "");
  if (clean === "") throw refused(spec, "a volume can't be at / in the box");
  const bytes = new TextEncoder().encode(clean).length;
  if (bytes > MAX_GUEST_PATH) {
    throw refused(spec, `its path in the box has ${bytes} bytes, more than ${MAX_GUEST_PATH}`);
  }
  return clean;
}

async function hostSide(
  path: string,
  spec: VolumeSpec,
): Promise<Pick<ResolvedVolume, "hostPath" | "uid" | "gid">> {
  try {
    const hostPath = await Deno.realPath(path);
    const { isDirectory, isFile, uid, gid } = await Deno.stat(hostPath);
    if (!isDirectory && !isFile) {
      throw refused(spec, `${path} on this machine is neither a folder nor a file`);
    }
    await read(hostPath, isDirectory);
    return { hostPath, uid: uid ?? 0, gid: gid ?? 0 };
  } catch (error) {
    if (error instanceof HutchError) throw error;
    if (error instanceof Deno.errors.NotFound) {
      throw refused(spec, `${path} is not there on this machine`, "make it first");
    }
    throw refused(spec, `${path} can't be read: ${errorText(error)}`);
  }
}

/** Throws what the system says when it can't be read. */
async function read(path: string, folder: boolean): Promise<void> {
  if (!folder) (await Deno.open(path)).close();
  else for await (const _entry of Deno.readDir(path)) break;
}

function depth(path: string): number {
  return path.split("/").length;
}

function refused(spec: VolumeSpec, why: string, hint?: string): HutchError {
  const text = typeof spec === "string" ? spec : spec.guest;
  return new HutchError(
    "invalid_option",
    `Cannot use volume ${JSON.stringify(text)}: ${why}`,
    hint === undefined ? {} : { hint },
  );
}
