/**
 * Named volumes: folders and disks that home keeps, whatever becomes of the boxes that have them.
 *
 * @module
 */
import { join } from "node:path";
import { exists, removeIfThere } from "../atomic_file.ts";
import { randomId } from "../box/config.ts";
import { parseSizeMiB } from "../box/size.ts";
import { HutchError } from "../errors.ts";
import { nearest } from "../suggest.ts";
import type { VolumeRecord, VolumeTable, VolumeUser } from "../state/volumes.ts";
import type { Paths } from "./paths.ts";
import { placeVolume, prepareVolume, readRecord, sweepVolumes } from "./volume_files.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
/** What other kinds of volumes are written with. */
const RESERVED = ["bind", "disk", "git", "tmpfs", "volume"];

/** A named volume; plain JSON, as `hutch volume inspect` prints it. */
export interface VolumeInfo extends VolumeRecord {
  /** Its folder, or the file of its disk. */
  readonly path: string;
  /** The boxes that have it, running or not. */
  readonly boxes: readonly VolumeUser[];
}

/** Options of {@link Volumes.create}. */
export interface VolumeCreateOptions {
  /** `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`. Default: made up. */
  readonly name?: string;
  /** Free-form pairs for finding it again. */
  readonly labels?: Readonly<Record<string, string>>;
  /**
   * Most that it holds, in `MiB` or as text such as `"10g"`. The volume is a disk of this size then,
   * which one running box at a time can write to. @default {a folder without a limit}
   */
  readonly size?: number | string;
}

/** Which volumes are meant. */
export interface VolumeListOptions {
  /** All of these labels, with these values; `true` for any value. @default {all volumes} */
  readonly labels?: Readonly<Record<string, string | true>>;
}

/** What {@link Volumes.prune} did, or would do. */
export interface VolumePruneReport {
  /** Names of what went. */
  readonly volumes: readonly string[];
}

/** The named volumes of a home. */
export interface Volumes {
  /**
   * Makes a volume; one that is there is given as it is, unless `size` asks for another kind.
   *
   * @throws HutchError `invalid_option`, `name_taken`, `no_space`.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await runtime.volumes.create({ name: "data", labels: { team: "web" } });
   * await using box = await runtime.create({ image: "builtin:busybox", volumes: ["data:/data"] });
   * await box.exec("touch", ["/data/file"]);
   * ```
   */
  create(options?: VolumeCreateOptions): Promise<VolumeInfo>;
  /** The volumes that there are, by name. */
  list(options?: VolumeListOptions): Promise<VolumeInfo[]>;
  /**
   * Finds a volume by its name.
   *
   * @throws HutchError `volume_not_found`.
   */
  get(name: string): Promise<VolumeInfo>;
  /**
   * Removes a volume and what is in it.
   *
   * @throws HutchError `volume_in_use` with the boxes that have it, `volume_not_found`.
   */
  remove(name: string): Promise<void>;
  /** Removes all volumes that no box has; `dryRun` only says which. */
  prune(options?: VolumeListOptions & { readonly dryRun?: boolean }): Promise<VolumePruneReport>;
}

/** The volumes of a home. */
export function volumesOf({ volumes: folder }: Paths, table: VolumeTable): Volumes {
  const placeOf = (name: string) => join(folder, name);

  function infoOf(record: VolumeRecord): VolumeInfo {
    const place = placeOf(record.name);
    const path = join(place, record.sizeMiB === null ? "data" : "disk.img");
    return { ...record, path, boxes: table.users(record.name) };
  }

  function known(name: string): VolumeRecord {
    const record = table.get(name);
    if (record) return record;
    const near = nearest(name, table.list().map((each) => each.name));
    throw new HutchError(
      "volume_not_found",
      `Cannot find volume ${JSON.stringify(name)}: there is none`,
      {
        hint: near === undefined
          ? "hutch volume ls lists all"
          : `did you mean ${JSON.stringify(near)}?`,
      },
    );
  }

  async function create(options: VolumeCreateOptions = {}): Promise<VolumeInfo> {
    const { name = `vol-${randomId()}`, labels = {}, size } = options;
    checkVolumeName(name);
    checkLabels(labels);
    const sizeMiB = size === undefined ? null : parseSizeMiB(size, "the volume's size");
    const record = table.get(name);
    if (record && await exists(infoOf(record).path)) return infoOf(wanted(record, size, sizeMiB));
    const createdAt = new Date().toISOString();
    // What somebody has taken the files of is made anew, as it was.
    const fresh = await prepareVolume(folder, record ?? { name, createdAt, labels, sizeMiB });
    try {
      const made = table.add(name, () => {
        placeVolume(fresh, placeOf(name));
        return readRecord(placeOf(name));
      });
      return infoOf(wanted(made, size, sizeMiB));
    } finally {
      await removeIfThere(fresh);
    }
  }

  function select({ labels = {} }: VolumeListOptions = {}): VolumeInfo[] {
    return table.list()
      .filter((each) =>
        Object.entries(labels).every(([key, value]) =>
          Object.hasOwn(each.labels, key) && (value === true || each.labels[key] === value)
        )
      ).map(infoOf);
  }

  /** The boxes that have it, when that keeps it from being removed. */
  async function take(name: string): Promise<readonly VolumeUser[]> {
    const gone = join(folder, `.${name}.${randomId()}.gone`);
    const users = table.remove(name, () => {
      try {
        Deno.renameSync(placeOf(name), gone);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    });
    if (users.length === 0) await removeIfThere(gone);
    return users;
  }

  return {
    create,
    list: async (options) => await select(options),
    get: (name) => Promise.resolve().then(() => infoOf(known(name))),
    async remove(name) {
      known(name);
      const users = await take(name);
      if (users.length === 0) return;
      throw new HutchError(
        "volume_in_use",
        `Cannot remove volume ${JSON.stringify(name)}: ${
          users.map((box) => `box "${box.name}"`).join(", ")
        } ${users.length === 1 ? "has" : "have"} it`,
        { hint: "remove the boxes first (hutch rm)" },
      );
    },
    async prune({ dryRun = false, ...options } = {}) {
      const names: string[] = [];
      for (const { name, boxes } of select(options)) {
        if (boxes.length > 0) continue;
        if (dryRun || (await take(name)).length === 0) names.push(name);
      }
      if (!dryRun) await sweepVolumes(folder);
      return { volumes: names };
    },
  };
}

/** Throws `invalid_option` unless the text can be a volume's name. */
export function checkVolumeName(name: string): void {
  if (NAME.test(name) && !RESERVED.includes(name)) return;
  throw new HutchError(
    "invalid_option",
    `Cannot name a volume ${JSON.stringify(name)}: ${
      RESERVED.includes(name)
        ? "volumes of another kind are written so"
        : "a name has 1 to 63 of A-Z a-z 0-9 . _ - and begins with a letter or digit"
    }`,
  );
}

function checkLabels(labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (key !== "" && typeof value === "string") continue;
    throw new HutchError(
      "invalid_option",
      `Cannot set label ${JSON.stringify(key)}: a key isn't empty, and its value is text`,
    );
  }
}

/** Of a name that is taken, what was asked for must be what is there. */
function wanted(
  record: VolumeRecord,
  size: VolumeCreateOptions["size"],
  sizeMiB: number | null,
): VolumeRecord {
  if (size === undefined || record.sizeMiB === sizeMiB) return record;
  throw new HutchError(
    "name_taken",
    `Cannot make volume ${JSON.stringify(record.name)} of ${sizeMiB} MiB: there is one ${
      record.sizeMiB === null ? "without a limit" : `of ${record.sizeMiB} MiB`
    }`,
    { hint: "choose another name" },
  );
}
