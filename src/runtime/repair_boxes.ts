/**
 * Records of boxes from their folders.
 *
 * @module
 */
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { holdsData, readBoxFile, writeBoxFile } from "../box/box_file.ts";
import type { BoxConfig, BoxStatus } from "../box/options.ts";
import { endedState } from "../box/reconcile.ts";
import { errorText } from "../errors.ts";
import { lockHolders } from "../lock_holders.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { type BoxState, NEW_STATE } from "../state/boxes.ts";
import { dropBox, readBoxes, restoreBox } from "../state/restore.ts";
import { bootId } from "../vmm/kvm.ts";
import { isAlive } from "../vmm/machine.ts";
import { readExitFile } from "../vmm/machine_file.ts";
import { defaultPlugins } from "./defaults.ts";
import { boxPaths, type Paths } from "./paths.ts";

/** A box whose record was rebuilt. */
export interface RestoredBox {
  /** The box's id. */
  readonly id: string;
  /** The box's name. */
  readonly name: string;
  /** What it is now. */
  readonly status: BoxStatus;
  /** What was wrong with its record. */
  readonly problem: string;
}

/** A box that has no record any more; what is in its folder is still there. */
export interface LostBox {
  /** Null where it has none. */
  readonly folder: string | null;
  /** Why it is lost. */
  readonly problem: string;
}

/** What became of the boxes. */
export interface RepairedBoxes {
  readonly kept: number;
  readonly restored: readonly RestoredBox[];
  readonly lost: readonly LostBox[];
}

/** Written into a folder that is left alone, so that nothing clears it away. */
const NOTE = "repair.txt";

/**
 * Makes the tables of boxes whole.
 *
 * @param trusted All rows were there: a folder without one and without data is no box.
 */
export async function repairBoxes(
  paths: Paths,
  database: DatabaseSync,
  trusted: boolean,
): Promise<RepairedBoxes> {
  const restored: RestoredBox[] = [];
  const lost: LostBox[] = [];
  const { records, stateless, damaged } = readBoxes(database);
  const seen = new Set<string>();
  const take = async (config: BoxConfig, problem: string) => {
    const own = boxPaths(paths, config.id);
    const state = await stateFrom(config, own);
    if (restoreBox(database, config, state)) {
      // A machine that may stand still is looked at by the next program, which can ask it.
      const status = state.status === "stopping" ? "running" : state.status;
      restored.push({ id: config.id, name: config.name, status, problem });
    } else {
      lose(own, `its name ${JSON.stringify(config.name)} is taken by another box`);
    }
  };
  const lose = ({ folder }: LayoutOutput, problem: string) => {
    const here = isFolder(folder);
    if (here) {
      Deno.writeTextFileSync(join(folder, NOTE), `Not restored: ${problem}\n`, { mode: 0o600 });
    }
    lost.push({ folder: here ? folder : null, problem });
  };
  for (const { config } of records) {
    seen.add(config.id);
    keepFile(boxPaths(paths, config.id), config);
  }
  for (const config of stateless) {
    seen.add(config.id);
    keepFile(boxPaths(paths, config.id), config);
    await take(config, "its state was lost");
  }
  for (const { id, name, problem } of damaged) {
    seen.add(id);
    const own = boxPaths(paths, id);
    try {
      const config = readBoxFile(own, id);
      await take(config, `its record was damaged: ${problem}`);
    } catch (error) {
      dropBox(database, id);
      lose(
        own,
        `the record of box ${JSON.stringify(name)} was damaged (${problem}), and ${
          fileProblem(error)
        }`,
      );
    }
  }
  for (const id of foldersIn(paths.boxes)) {
    if (seen.has(id)) continue;
    const own = boxPaths(paths, id);
    if (trusted && !holdsData(own.folder)) continue; // of a creation that didn't get further
    try {
      await take(readBoxFile(own, id), "it had no record");
    } catch (error) {
      if (holdsData(own.folder) || !(error instanceof Deno.errors.NotFound)) {
        lose(own, `it has no record, and ${fileProblem(error)}`);
      }
    }
  }
  return { kept: records.length, restored, lost };
}

/** A box's state, as its folder shows it. */
async function stateFrom(config: BoxConfig, own: LayoutOutput): Promise<BoxState> {
  const machine = await readMachine(join(own.folder, "machine.json"));
  if (!machine) return NEW_STATE;
  const { engine, startedAt } = machine;
  const known = { ...NEW_STATE, engine, startedAt };
  if (isAlive(own.lockPath)) {
    const pid = lockHolders(own.lockPath)[0] ?? null;
    return { ...known, status: "stopping", pid, bootId: await bootId() };
  }
  const exit = readExitFile(own.exitPath);
  if (exit) return endedState({ config, state: known }, exit, "");
  return { ...known, status: "stopped", reason: "how it ended went with its record" };
}

async function readMachine(
  path: string,
): Promise<{ engine: string | null; startedAt: string | null } | undefined> {
  try {
    const { mtime } = await Deno.lstat(path);
    const runner: unknown = JSON.parse(await Deno.readTextFile(path))?.runner;
    const engines = defaultPlugins().flatMap(({ engines = [] }) => engines);
    const engine = engines.find((each) => each.runner === runner)?.name ?? null;
    return { engine, startedAt: mtime?.toISOString() ?? null };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    return { engine: null, startedAt: null }; // it was started; by what, is lost
  }
}

/** Writes the file of a box that has none, or another version's. */
function keepFile(own: LayoutOutput, config: BoxConfig): void {
  try {
    if (JSON.stringify(readBoxFile(own, config.id)) === JSON.stringify(config)) return;
  } catch {
    // It isn't there, or damaged.
  }
  writeBoxFile(own, config);
}

function foldersIn(boxes: string): string[] {
  try {
    return [...Deno.readDirSync(boxes)]
      .filter(({ name, isDirectory }) => isDirectory && /^[0-9a-f]{12}$/.test(name))
      .map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function isFolder(path: string): boolean {
  try {
    return Deno.lstatSync(path).isDirectory;
  } catch {
    return false;
  }
}

function fileProblem(error: unknown): string {
  return error instanceof Deno.errors.NotFound
    ? "there is no box.json"
    : `its box.json can't be read: ${errorText(error)}`;
}
