/**
 * Points at which a program can die: before and after each write to state. Nothing of the product
 * knows of them: what writes is wrapped, in the program that is to die, before it loads the product.
 *
 * @module
 */
import { DatabaseSync, StatementSync } from "node:sqlite";
import { Readable } from "node:stream";

/** Options of {@link CrashPoints}. */
export interface CrashPointsOptions {
  /** The point at which to die; none to live on. */
  readonly at: string | undefined;
  /** Writes elsewhere don't count. */
  readonly folders: readonly string[];
}

/** Functions of `Deno` that change files, all of which name the changed one first, or last. */
const CHANGES = ["mkdir", "rename", "remove", "writeTextFile", "writeFile", "open"] as const;

/** Wraps what writes, tells the points that are passed, and dies at one of them. */
export class CrashPoints {
  readonly #options: CrashPointsOptions;
  readonly #times = new Map<string, number>();
  readonly #tables = new Set<string>();
  /** Names of opened files. */
  readonly #files = new WeakMap<Deno.FsFile, string>();
  #deed = "open";
  #inTransaction = false;
  /** Every point that was passed, in order. */
  readonly passed: string[] = [];

  /** Wraps nothing yet. */
  constructor(options: CrashPointsOptions) {
    this.#options = options;
  }

  /** What follows belongs to this deed: its name begins the names of its points. */
  deed(name: string): void {
    this.#deed = name;
  }

  /** Does these one after the other. */
  async play(
    deeds: readonly (readonly [name: string, deed: () => Promise<unknown>])[],
  ): Promise<void> {
    for (const [name, deed] of deeds) {
      this.deed(name);
      await deed();
    }
  }

  /** Wraps changes of files. */
  wrapFiles(): void {
    for (const name of CHANGES) {
      wrap(Deno, name, (args) => this.#fileChange(name, args), this.#around);
      wrap(Deno, `${name}Sync`, (args) => this.#fileChange(name, args), this.#around);
    }
  }

  /** Wraps what is done to opened files and folders. */
  wrapContents(): void {
    const remember = <T>(known: string, run: () => T): T => {
      const opened = run();
      const keep = (file: unknown) => file instanceof Deno.FsFile && this.#files.set(file, known);
      if (opened instanceof Promise) void opened.then(keep, () => {});
      else keep(opened);
      return opened;
    };
    for (const name of ["open", "openSync"]) {
      wrap(Deno, name, ([path]) => this.#known(String(path)), remember);
    }
    for (const name of ["write", "truncate", "sync"]) {
      const nameOf = (_: unknown, self: unknown) => {
        const known = self instanceof Deno.FsFile ? this.#files.get(self) : undefined;
        return known === undefined ? undefined : `${name} in ${known}`;
      };
      wrap(Deno.FsFile.prototype, name, nameOf, this.#around);
      wrap(Deno.FsFile.prototype, `${name}Sync`, nameOf, this.#around);
    }
  }

  /** Wraps statements and transactions, and the moment at which a process was spawned. */
  wrapState(): void {
    wrap(StatementSync.prototype, "run", (_, statement) => {
      if (!(statement instanceof StatementSync)) return undefined;
      const sql = statement.sourceSQL.replaceAll(/\s+/g, " ");
      const [change = ""] = /^(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM) \w+/.exec(sql) ?? [];
      if (change === "") return undefined;
      if (!this.#inTransaction) return change;
      this.#tables.add(change);
      return undefined; // nothing of it counts before the commit
    }, this.#around);
    wrap(DatabaseSync.prototype, "exec", (args) => {
      const [sql] = args;
      if (sql === "BEGIN IMMEDIATE") this.#begin();
      if (sql === "ROLLBACK") this.#inTransaction = false;
      if (sql !== "COMMIT") return undefined;
      this.#inTransaction = false;
      if (this.#tables.has("INSERT INTO events")) return "commit of events";
      return this.#tables.size > 0 ? `commit of ${[...this.#tables].join(", ")}` : undefined;
    }, this.#around);
    // The first thing that is done with a box process.
    wrap(Readable.prototype, "setEncoding", () => "spawn", this.#around);
  }

  #begin(): void {
    this.#inTransaction = true;
    this.#tables.clear();
  }

  #fileChange(name: string, args: readonly unknown[]): string | undefined {
    const [first, second, third] = args;
    const options = name === "open" ? second : name.startsWith("write") ? third : undefined;
    if (name === "open" && !makes(options)) return undefined;
    const known = this.#known(String(name === "rename" ? second : first));
    return known === undefined ? undefined : `${name} ${known}`;
  }

  /** A path's name, the same in every home; undefined elsewhere. */
  #known(path: string): string | undefined {
    const folder = this.#options.folders.find((folder) => path.startsWith(`${folder}/`));
    if (folder === undefined) return undefined;
    return path.slice(folder.length + 1)
      .replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "UUID")
      .replaceAll(/\b[0-9a-f]{12}\b/g, "BOX")
      .replace(/\.[0-9a-f]{8}\.new$/, ".new").replace(/([0-9a-f]{8})[0-9a-f]{56}/, "$1…");
  }

  readonly #around = <T>(what: string, run: () => T): T => {
    this.reach(`before ${what}`);
    const result = run();
    if (!(result instanceof Promise)) {
      this.reach(`after ${what}`);
      return result;
    }
    void result.then(() => this.reach(`after ${what}`), () => {});
    return result;
  };

  /** Is at a point; those that aren't at a write the victim tells by itself. */
  reach(what: string): void {
    const name = `${this.#deed}: ${what}`;
    const times = (this.#times.get(name) ?? 0) + 1;
    this.#times.set(name, times);
    const point = times === 1 ? name : `${name} (${times})`;
    this.passed.push(point);
    if (point === this.#options.at) die();
  }
}

/** Puts `around` around a function of an object, for those calls that `name` names. */
function wrap(
  of: object,
  name: string,
  nameOf: (args: readonly unknown[], self: unknown) => string | undefined,
  around: (what: string, run: () => unknown) => unknown,
): void {
  const original: unknown = Reflect.get(of, name);
  if (typeof original !== "function") throw new Error(`there is no ${name}`);
  Object.defineProperty(of, name, {
    configurable: true,
    writable: true,
    value(this: unknown, ...args: unknown[]): unknown {
      const run = (): unknown => Reflect.apply(original, this, args);
      const what = nameOf(args, this);
      return what === undefined ? run() : around(what, run);
    },
  });
}

function makes(options: unknown): boolean {
  return typeof options === "object" && options !== null &&
    ["create", "createNew", "truncate"].some((name) => Reflect.get(options, name) === true);
}

/** As this program can be killed at any time. */
function die(): never {
  Deno.kill(Deno.pid, "SIGKILL");
  for (;;); // the signal is on its way
}
