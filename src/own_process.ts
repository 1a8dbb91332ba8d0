/**
 * Starting processes of hutch's own from wherever its modules came from: a folder, a URL, or a
 * program made with `deno compile`.
 *
 * Such a program is its own Deno: started again, it runs what it was made of. What tells it to be a
 * process of hutch's is a ticket: a file that its parent writes for this one start, named with a secret
 * in the environment. No argument has a meaning, and neither has a variable without its file.
 *
 * A module without imports: box processes load it.
 *
 * @module
 */

/** Has the ticket's secret and path. */
const VARIABLE = "HUTCH_OWN_PROCESS";

/** What a process of hutch's own can be. */
export type OwnRole = "box" | "interceptor" | "keeper";

/** What a ticket says. */
interface Ticket {
  readonly secret: string;
  /** Number of the process that wrote it. */
  readonly parent: number;
  readonly role: OwnRole;
  readonly args: readonly string[];
}

/** How a process of hutch's own is started. */
export interface OwnCommand {
  readonly command: readonly [program: string, ...args: string[]];
  /** Beside what else the process is to see. */
  readonly env: Readonly<Record<string, string>>;
}

/** Whether this is a program made with `deno compile`. */
export function isCompiled(): boolean {
  return Deno.build.standalone;
}

/**
 * The command for one start.
 *
 * @param folder Where a ticket may be: private to the user.
 * @param flags Those of `deno run`, without effect in a compiled program, whose permissions are fixed.
 */
export function ownCommand({ role, module, args, flags, folder }: {
  readonly role: OwnRole;
  readonly module: string;
  readonly args: readonly string[];
  readonly flags: readonly string[];
  readonly folder: string;
}): OwnCommand {
  if (!isCompiled()) {
    return { command: [Deno.execPath(), "run", ...flags, module, ...args], env: {} };
  }
  const secret = crypto.randomUUID();
  const path = `${folder}/${role}.ticket`;
  const ticket: Ticket = { secret, parent: Deno.pid, role, args };
  Deno.writeTextFileSync(path, JSON.stringify(ticket), { mode: 0o600 });
  return { command: [Deno.execPath()], env: { [VARIABLE]: `${secret} ${path}` } };
}

/**
 * What this process was started to be, if it is one of hutch's own in a compiled program. The ticket
 * is gone after that, and so is the variable.
 */
export function claimTicket(): Pick<Ticket, "role" | "args"> | undefined {
  if (!isCompiled()) return undefined;
  const { state } = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  if (state !== "granted") return undefined;
  const [, secret, path] = /^([0-9a-f-]{36}) (.+)$/.exec(Deno.env.get(VARIABLE) ?? "") ?? [];
  Deno.env.delete(VARIABLE);
  if (secret === undefined || path === undefined) return undefined;
  try {
    const { uid } = Deno.lstatSync(path);
    const ticket: Ticket = JSON.parse(Deno.readTextFileSync(path));
    if (uid !== Deno.uid() || ticket.secret !== secret || ticket.parent !== Deno.ppid) {
      return undefined;
    }
    Deno.removeSync(path);
    return ticket;
  } catch {
    return undefined; // used, or never there: somebody else's variable
  }
}

/** The lock file of a process's packages. */
export interface ProcessLock {
  readonly path: string;
  /** It is hutch's own, which nothing is added to. */
  readonly own: boolean;
}

/**
 * The lock file that hutch's modules are in a checkout with; undefined: there is none. By it a process
 * finds packages that the program has by a lock file too: Deno then keeps nothing of a registry's by
 * which others could find them.
 */
export function ownLock(): ProcessLock | undefined {
  const url = new URL("../deno.lock", import.meta.url);
  if (url.protocol !== "file:" || isCompiled()) return undefined;
  const path = decodeURIComponent(url.pathname);
  if (Deno.permissions.querySync({ name: "read", path }).state === "granted") {
    try {
      Deno.statSync(path);
    } catch {
      return undefined; // the modules were copied without it
    }
  }
  return { path, own: true };
}

/** A copy of it at `path`, for a process that loads other modules too; undefined where it can't be read. */
export async function copyLock(path: string): Promise<ProcessLock | undefined> {
  const own = ownLock();
  if (own === undefined) return undefined;
  if (Deno.permissions.querySync({ name: "read", path: own.path }).state !== "granted") {
    return undefined;
  }
  await Deno.copyFile(own.path, path);
  return { path, own: false };
}

/**
 * The first words after `deno run` for a process that runs `modules` (absolute URLs) and nothing
 * else: it is quiet, asks nobody, and what the user's program is configured with is not for it.
 *
 * @param lock That of its packages; without it they are those that Deno's cache knows as the newest.
 */
export function processFlags(modules: readonly string[], lock?: ProcessLock): string[] {
  return [
    ...["--quiet", "--no-prompt", "--no-config"],
    ...lock === undefined ? ["--no-lock"] : [`--lock=${lock.path}`],
    // What hutch's own lock file names may be fetched, and else what is in Deno's cache counts alone.
    lock?.own ? "--frozen" : "--cached-only",
    ...(modules.some(isRemote) ? ["--allow-import"] : []),
  ];
}

/**
 * Puts modules from the network, with all they import, into Deno's cache by loading them. They are
 * for other processes, and do nothing unless they are the main one.
 */
export async function cacheModules(modules: readonly string[]): Promise<void> {
  for (const module of modules.filter(isRemote)) await import(module);
}

/**
 * The same for a module that imports packages, with these. Who loads it by a lock file keeps nothing of
 * what registries say, by which a process without one would find them; and who loads it without hutch's
 * may have others.
 *
 * @param lock What the process will have.
 */
export async function cachePackages(module: string, lock?: ProcessLock): Promise<void> {
  await cacheModules([module]);
  if (lock?.own || isCompiled() || cachedPackages.has(module)) return;
  const own = ownLock();
  const flags = lock && own
    ? ["--frozen", `--lock=${own.path}`]
    : ["--no-lock", ...isRemote(module) ? ["--allow-import"] : []];
  const args = ["cache", "--quiet", "--no-config", ...flags, module];
  // What it fails at, the process tells of that needs it.
  const { success } = await new Deno.Command(Deno.execPath(), { args, stdin: "null" }).output();
  if (success) cachedPackages.add(module);
}

const cachedPackages = new Set<string>();

function isRemote(module: string): boolean {
  return /^https?:/.test(module);
}
