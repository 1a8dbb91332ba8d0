/**
 * A box's configuration as a file in its folder: what its record is rebuilt from when the database is
 * damaged.
 *
 * @module
 */
import { join } from "node:path";
import { asNoSpace } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { parseConfig } from "../state/box_rows.ts";
import type { BoxConfig } from "./options.ts";

const NAME = "box.json";
/** The disk of a box that is imported, until its record is written: without that, nothing is of any worth. */
export const UNFINISHED = "import.new";
/**
 * What a box that was never started has in its folder, or one whose import was killed: nothing that
 * would be missed.
 */
const WORTHLESS = /^(?:box\.json(?:\.[0-9a-f]{8}\.new)?|import\.new|memory|[a-z]+\.lock)$/;
/** Largest file that is read, in bytes. */
const LIMIT = 16 * 2 ** 20;

/**
 * Writes the file, whole or not at all, and makes the box's folder. Blocks, since the transaction
 * that it is part of does.
 *
 * @throws HutchError `no_space`, `home_unusable`.
 */
export function writeBoxFile({ folder }: Pick<LayoutOutput, "folder">, config: BoxConfig): void {
  const path = join(folder, NAME);
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
  try {
    Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
    try {
      Deno.writeTextFileSync(temporary, JSON.stringify(config), { mode: 0o600 });
      Deno.renameSync(temporary, path);
    } catch (error) {
      removeQuietly(temporary);
      throw error;
    }
  } catch (error) {
    throw asNoSpace(error, path);
  }
}

/**
 * Reads the file of the box with this id.
 *
 * @throws Error that says what is wrong with it; `Deno.errors.NotFound` when it isn't there.
 */
export function readBoxFile({ folder }: Pick<LayoutOutput, "folder">, id: string): BoxConfig {
  const path = join(folder, NAME);
  const { isFile, size } = Deno.lstatSync(path);
  if (!isFile || size > LIMIT) throw new HutchError("state_corrupt", "it is not a small file");
  const config = parseConfig(Deno.readTextFileSync(path));
  if (config.id !== id) throw new HutchError("state_corrupt", `it is of box ${config.id}`);
  return config;
}

/** Whether a folder holds a box's configuration, readable or not, or its data. */
export function holdsRecord(folder: string): boolean {
  for (const { name } of Deno.readDirSync(folder)) {
    if (name === NAME || !WORTHLESS.test(name)) return true;
  }
  return false;
}

/** Whether a box's folder holds more than a box that was never started has, or that was never recorded. */
export function holdsData(folder: string): boolean {
  const entries = [...Deno.readDirSync(folder)];
  if (entries.some(({ name }) => name === UNFINISHED)) return false;
  for (const { name, isFile } of entries) {
    if ((!isFile && name !== "memory") || !WORTHLESS.test(name)) return true;
  }
  return false;
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It was never made; the error that counts is the one being thrown.
  }
}
