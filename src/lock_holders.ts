/**
 * Who holds a file lock, as Linux tells it.
 *
 * @module
 */

/** Processes that hold a lock (`flock`) on a file or folder; empty where that can't be found out. */
export function lockHolders(path: string): number[] {
  return holders(path, () => true);
}

/** Whether a process is known to hold a lock (`flock`) on a file or folder. */
export function holdsLock(pid: number, path: string): boolean {
  return holders(path, (holder) => holder === pid).length > 0;
}

function holders(path: string, wanted: (pid: number) => boolean): number[] {
  try {
    const { ino } = Deno.statSync(path);
    const real = Deno.realPathSync(path);
    const pids = new Set<number>();
    for (const line of Deno.readTextFileSync("/proc/locks").split("\n")) {
      // 1: FLOCK  ADVISORY  WRITE 708 08:01:131074 0 EOF
      const [, number, inode] = /^\d+: FLOCK +\S+ +\S+ +(\d+) \S+:(\d+) /.exec(line) ?? [];
      const pid = Number(number);
      // The device there isn't always the one that stat gives: the open file says which it is.
      if (Number(inode) === ino && wanted(pid) && hasOpen(pid, real)) pids.add(pid);
    }
    return [...pids];
  } catch {
    return [];
  }
}

function hasOpen(pid: number, path: string): boolean {
  try {
    for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
      if (linkOf(`/proc/${pid}/fd/${name}`) === path) return true;
    }
  } catch {
    // It has ended, or is somebody else's.
  }
  return false;
}

function linkOf(path: string): string | undefined {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return undefined; // closed meanwhile
  }
}
