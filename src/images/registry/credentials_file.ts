/**
 * Logins in a file of a home.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { removeIfThere, writeAtomically } from "../../atomic_file.ts";
import { errorText, HutchError } from "../../errors.ts";
import type { Credentials } from "../../plugin/contract.ts";
import { isObject } from "../json.ts";
import { lockFile } from "../wait.ts";

/** Largest file that is read, in bytes. */
const LIMIT = 4 * 1024 * 1024;
const VERSION = 1;

/** A file that any number of programs may use; nobody but its owner can read it. */
export class CredentialsFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * What is kept for a registry.
   *
   * @throws {HutchError} `credentials_unavailable`
   */
  async get(registry: string): Promise<Credentials | undefined> {
    return (await this.#read()).get(registry);
  }

  /**
   * Keeps credentials for a registry; `undefined` forgets them. Returns whether there were some
   * before.
   *
   * @throws {HutchError} `credentials_unavailable`, `no_space`, `cancelled`
   */
  async set(
    registry: string,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<boolean> {
    using _lock = await lockFile(`${this.#path}.lock`, signal);
    const all = await this.#read();
    const before = all.has(registry);
    if (credentials === undefined) {
      if (!before) return false;
      all.delete(registry);
    } else all.set(registry, credentials);
    await this.#write(all);
    return before;
  }

  async #read(): Promise<Map<string, Credentials>> {
    let text: string;
    try {
      const { size } = await Deno.stat(this.#path);
      if (size > LIMIT) throw new Error(`it is larger than ${LIMIT} bytes`);
      text = await Deno.readTextFile(this.#path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return new Map();
      throw this.#unusable(errorText(error));
    }
    let content: unknown;
    try {
      content = JSON.parse(text);
    } catch { /* the parser's message would quote it */ }
    if (!isObject(content)) throw this.#unusable("it isn't a JSON object");
    const { version, registries } = content;
    if (version !== VERSION) throw this.#unusable("it is of another version of hutch");
    if (!isObject(registries)) throw this.#unusable("its registries isn't an object");
    return new Map(
      Object.entries(registries).map(([registry, login]) => [registry, this.#login(login)]),
    );
  }

  #login(value: unknown): Credentials {
    if (isObject(value)) {
      const { username, password, token, identityToken } = value;
      if (typeof username === "string" && typeof password === "string") {
        return { username, password };
      }
      if (typeof identityToken === "string") return { identityToken };
      if (typeof token === "string") return { token };
    }
    throw this.#unusable("a login in it isn't one");
  }

  /** Readers see all of the old file or all of the new one, also after the machine lost power. */
  async #write(all: ReadonlyMap<string, Credentials>): Promise<void> {
    const registries = Object.fromEntries([...all].sort(([a], [b]) => a < b ? -1 : 1));
    const text = `${JSON.stringify({ version: VERSION, registries }, null, 2)}\n`;
    await this.#removeLeftovers();
    await writeAtomically(this.#path, text, { durable: true });
  }

  /** What a program that died was writing; we hold the lock. */
  async #removeLeftovers(): Promise<void> {
    const folder = dirname(this.#path);
    for await (const { name } of Deno.readDir(folder)) {
      const ours = name.startsWith(`${basename(this.#path)}.`) && name.endsWith(".new");
      if (ours) await removeIfThere(join(folder, name));
    }
  }

  #unusable(problem: string): HutchError {
    return new HutchError(
      "credentials_unavailable",
      `Cannot read logins from ${this.#path}: ${problem}`,
      { hint: "remove it, and log in again (hutch login)" },
    );
  }
}
