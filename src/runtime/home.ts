/**
 * A home's folders: made, and looked at before they are used.
 *
 * @module
 */
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { asNoSpace } from "../atomic_file.ts";
import { holdsRecord } from "../box/box_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { defaultHome, type Paths, pathsOf } from "./paths.ts";

/**
 * The paths of the home that a caller names.
 *
 * @throws HutchError `home_unusable` for one that can't be.
 */
export function pathsOfHome(named: string = defaultHome()): Paths {
  const home = isAbsolute(named) ? named : resolve(named);
  if (named !== "" && !/[,\0]/.test(home)) return pathsOf(home);
  const why = named === ""
    ? "its path is empty"
    : "it has a comma or a zero byte, with which Deno can't be told what box processes may use";
  throw new HutchError("home_unusable", `Cannot use home ${JSON.stringify(home)}: ${why}`, {
    hint: "choose another one with HUTCH_HOME",
  });
}

/** Makes the folders of a home, and refuses one that can't be written to. */
export async function makeHome(paths: Paths): Promise<void> {
  try {
    await refuseSystem(paths.home);
    for (const folder of [paths.home, paths.boxes, paths.system]) {
      await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    }
    await refuseReadOnly(paths.home);
  } catch (error) {
    const known = asNoSpace(error, paths.home);
    if (known instanceof HutchError) throw known;
    throw new HutchError("home_unusable", `Cannot use home ${paths.home}: ${errorText(error)}`, {
      hint: "make it writable, or choose another one with HUTCH_HOME",
      cause: error,
    });
  }
}

/** Folders that are there already don't tell that their mount is read-only. */
async function refuseReadOnly(home: string): Promise<void> {
  const now = new Date();
  try {
    await Deno.utime(home, now, now);
  } catch (error) {
    if (/os error 30\)/.test(errorText(error))) throw error; // EROFS
    // Somebody else's folder may be writable all the same.
  }
}

/**
 * Box processes may do what their machine needs and no more, and Deno lets no such program touch
 * files below these folders.
 */
async function refuseSystem(home: string): Promise<void> {
  const [, top = ""] = (await realParent(home)).split("/");
  if (!["dev", "proc", "sys"].includes(top)) return;
  throw new HutchError(
    "home_unusable",
    `Cannot use home ${home}: Deno keeps box processes away from files below /${top}`,
    { hint: "choose another one with HUTCH_HOME; a home in memory can be on a tmpfs elsewhere" },
  );
}

/** The path itself, or of the first folder above it that is there, without links. */
async function realParent(path: string): Promise<string> {
  try {
    return await Deno.realPath(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) || dirname(path) === path) throw error;
    return await realParent(dirname(path));
  }
}

/** What speaks against a new database: boxes that an old one must have known. */
export function orphans({ boxes, database }: Paths): string | undefined {
  const found = [...Deno.readDirSync(boxes)]
    .filter(({ name }) => /^[0-9a-f]{12}$/.test(name) && holdsRecord(join(boxes, name)));
  if (found.length === 0) return undefined;
  const count = found.length === 1 ? "there is 1 box" : `there are ${found.length} boxes`;
  return `${basename(database)} is missing or empty, but ${count}`;
}
