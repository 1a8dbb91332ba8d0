/**
 * The files of named volumes: `NAME/data` or `NAME/disk.img`, and the record beside them.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { Ext4Image } from "../../ffi/helper.ts";
import { asNoSpace, removeIfThere } from "../atomic_file.ts";
import { randomId } from "../box/config.ts";
import { HutchError } from "../errors.ts";
import { parseVolumeRecord, type VolumeRecord } from "../state/volumes.ts";

const RECORD = "volume.json";

/** The record beside a volume's files. */
export function readRecord(place: string): VolumeRecord {
  return parseVolumeRecord(Deno.readTextFileSync(join(place, RECORD)));
}

/** Makes a volume's files where nobody sees them yet; the folder's path. */
export async function prepareVolume(folder: string, record: VolumeRecord): Promise<string> {
  const fresh = join(folder, `.${record.name}.${randomId()}.new`);
  try {
    await Deno.mkdir(fresh, { recursive: true, mode: 0o700 });
    if (record.sizeMiB === null) {
      await Deno.mkdir(join(fresh, "data"));
      await Deno.chmod(join(fresh, "data"), 0o755); // whatever the umask is
    } else await makeDisk(join(fresh, "disk.img"), record);
    await Deno.writeTextFile(join(fresh, RECORD), JSON.stringify(record), { mode: 0o600 });
    return fresh;
  } catch (error) {
    await removeIfThere(fresh);
    throw asNoSpace(error, folder);
  }
}

/** Writes an empty ext4 file system, which the first box that has it grows to its disk. */
async function makeDisk(path: string, { name, createdAt, sizeMiB }: VolumeRecord): Promise<void> {
  using image = Ext4Image.create(path, `volume ${name} ${createdAt}`);
  await image.finish();
  const least = Math.ceil((await Deno.stat(path)).size / 2 ** 20);
  if ((sizeMiB ?? 0) < least) {
    throw new HutchError(
      "invalid_option",
      `Cannot make volume ${JSON.stringify(name)} of ${sizeMiB} MiB: it needs ${least} MiB`,
    );
  }
  await Deno.truncate(path, (sizeMiB ?? 0) * 2 ** 20);
}

/** Puts the files in place, unless whole ones are there. */
export function placeVolume(fresh: string, place: string): void {
  if (existsSync(place)) {
    if (isWhole(place)) return; // somebody was faster, or the record in the database was lost
    if (holdsData(place)) {
      throw new HutchError(
        "state_corrupt",
        `Cannot make volume ${
          JSON.stringify(basename(place))
        }: ${place} has files of one whose record ` +
          `(${RECORD}) can't be read or doesn't fit`,
        { hint: "move what is in there to another place, then remove that folder" },
      );
    }
    Deno.renameSync(place, `${fresh}.gone`);
  }
  Deno.renameSync(fresh, place);
}

function isWhole(place: string): boolean {
  let record: VolumeRecord;
  try {
    record = readRecord(place);
  } catch (error) {
    const damaged = error instanceof SyntaxError || error instanceof HutchError;
    if (damaged || error instanceof Deno.errors.NotFound) return false;
    throw error; // it may well be whole
  }
  return existsSync(join(place, record.sizeMiB === null ? "data" : "disk.img"));
}

/** Whether something would be lost with a volume's folder. */
function holdsData(place: string): boolean {
  if (existsSync(join(place, "disk.img"))) return true;
  try {
    return !Deno.readDirSync(join(place, "data"))[Symbol.iterator]().next().done;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Clears away what killed programs have left. */
export async function sweepVolumes(folder: string): Promise<void> {
  const old = Date.now() - 3_600_000; // younger ones may be somebody's work
  for (const { name } of await readNames(folder)) {
    if (!/^\..*\.(new|gone)$/.test(name)) continue;
    const { mtime } = await Deno.stat(join(folder, name)).catch(() => ({ mtime: null }));
    if (name.endsWith(".gone") || (mtime && mtime.getTime() < old)) {
      await removeIfThere(join(folder, name));
    }
  }
}

async function readNames(folder: string): Promise<Deno.DirEntry[]> {
  try {
    return await Array.fromAsync(Deno.readDir(folder));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
