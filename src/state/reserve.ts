/**
 * Room that is kept for when the disk is full. Ending and removing boxes gives room back, but has to be
 * written down first: without it, that would fail just when it is needed.
 *
 * @module
 */
import { isNoSpace } from "../atomic_file.ts";

/** Enough for SQLite to open the database and write down the ends of many boxes, in bytes. */
const SIZE = 512 * 1024;
/** What tells a full disk from one that has failed, in bytes: as much as SQLite takes at a time. */
const PROBE = 64 * 1024;

/** Fills the reserve of a database up, as far as that can be done: without it everything works, too. */
export function keepReserve(database: string): void {
  const path = reservePath(database);
  try {
    if (sizeOf(path) >= SIZE) return;
    using file = Deno.openSync(path, { write: true, create: true, mode: 0o600 });
    write(file, SIZE);
  } catch {
    // The disk is full, or the home is gone: whoever needs it hears of that.
  }
}

/** Gives the reserve of a database up; whether there was one. */
export function spendReserve(database: string): boolean {
  try {
    Deno.removeSync(reservePath(database));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Whether there is no room beside a database: SQLite calls that an I/O error where it maps memory. */
export function isDiskFull(database: string): boolean {
  const path = `${database}-probe.tmp`;
  try {
    using file = Deno.openSync(path, { write: true, create: true, truncate: true, mode: 0o600 });
    write(file, PROBE);
    return false;
  } catch (error) {
    return isNoSpace(error);
  } finally {
    try {
      Deno.removeSync(path);
    } catch {
      // It couldn't be made.
    }
  }
}

function reservePath(database: string): string {
  return `${database}-reserve`;
}

function write(file: Deno.FsFile, size: number): void {
  const block = new Uint8Array(PROBE);
  for (let written = 0; written < size;) written += file.writeSync(block);
}

function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}
