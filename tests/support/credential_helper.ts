/**
 * Programs `docker-credential-NAME` for one test.
 *
 * @module
 */
import { join } from "node:path";
import { TempFolder } from "./temp.ts";

/** A folder of helpers that is searched first until disposed. */
export class CredentialHelpers implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly #path = Deno.env.get("PATH") ?? "";

  constructor() {
    Deno.env.set("PATH", `${this.#folder.path}:${this.#path}`);
  }

  /** Where helpers may keep things. */
  get folder(): string {
    return this.#folder.path;
  }

  /** Adds a helper: a shell script that gets the action as `$1`. */
  async add(name: string, script: string): Promise<void> {
    const path = join(this.folder, `docker-credential-${name}`);
    await Deno.writeTextFile(path, `#!/bin/sh\ncd '${this.folder}' || exit 9\n${script}\n`);
    await Deno.chmod(path, 0o755);
  }

  /** Adds a helper that keeps what it is given, as the real ones do: one file per server. */
  async addKeeper(name: string): Promise<void> {
    await this.add(
      name,
      `read -r line
file() { printf '%s' "$1" | tr -c 'a-zA-Z0-9.' _; }
case $1 in
  store)
    server=$(printf '%s' "$line" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/')
    printf '%s' "$line" >"kept-$(file "$server")" ;;
  get)
    cat "kept-$(file "$line")" 2>/dev/null || {
      echo credentials not found in native keychain; exit 1
    } ;;
  erase) rm "kept-$(file "$line")" ;;
esac`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    Deno.env.set("PATH", this.#path);
    await this.#folder[Symbol.asyncDispose]();
  }
}
