/**
 * Whom to be at registries: what `hutch login` was told, and what Docker knows.
 *
 * @module
 */
import type { Credentials } from "../../plugin/contract.ts";
import { credentialsOf, dockerCredentials, dockerFolder, serverOf } from "./credentials_docker.ts";
import { CredentialsFile } from "./credentials_file.ts";
import { helperErase, helperGet, helperStore, TOKEN_USER } from "./credentials_helper.ts";
import { HutchError } from "../../errors.ts";

/** Where {@link Logins} are. */
export interface LoginsOptions {
  /** The home's own file. */
  readonly path: string;
  /** Keeps new logins in place of the file: the NAME of a `docker-credential-NAME`. @default {none} */
  readonly helper?: string | undefined;
  /** Folder of Docker's `config.json`. @default {`DOCKER_CONFIG`, else `~/.docker`} */
  readonly docker?: string | undefined;
  /** How long a helper may take, in `ms`. @default {60000} */
  readonly helperTimeoutMs?: number;
}

/** The logins of a home. Registries are named as in references, in lower case. */
export class Logins {
  readonly #options: LoginsOptions;
  readonly #file: CredentialsFile;

  constructor(options: LoginsOptions) {
    this.#options = options;
    this.#file = new CredentialsFile(options.path);
  }

  /**
   * Whom to be: by `hutch login`, else by Docker's logins; undefined is nobody.
   *
   * @throws {HutchError} `credentials_unavailable`, `cancelled`
   */
  async find(registry: string, signal: AbortSignal): Promise<Credentials | undefined> {
    const { helper } = this.#options;
    if (helper !== undefined) {
      const login = await helperGet(helper, serverOf(registry), this.#helperOptions(signal));
      if (login) return credentialsOf(login.username, login.secret);
    }
    // Also with a helper: what was told before there was one.
    const own = await this.#file.get(registry);
    if (own) return own;
    const docker = this.#options.docker ?? dockerFolder();
    if (docker === undefined) return undefined;
    return await dockerCredentials(docker, registry, this.#helperOptions(signal));
  }

  /**
   * Keeps credentials in place of those from before.
   *
   * @throws {HutchError} `credentials_unavailable`, `no_space`, `cancelled`
   */
  async keep(registry: string, credentials: Credentials, signal: AbortSignal): Promise<void> {
    const { helper } = this.#options;
    if (helper === undefined) {
      await this.#file.set(registry, credentials, signal);
      return;
    }
    if ("token" in credentials) {
      throw new HutchError(
        "credentials_unavailable",
        `Cannot keep a token for ${registry}: credential helpers take passwords and identity tokens`,
      );
    }
    const login = "identityToken" in credentials
      ? { username: TOKEN_USER, secret: credentials.identityToken }
      : { username: credentials.username, secret: credentials.password };
    await helperStore(helper, serverOf(registry), login, this.#helperOptions(signal));
    await this.#file.set(registry, undefined, signal); // or it would be there twice
  }

  /**
   * Forgets what {@link Logins.keep} was told; Docker's logins stay. Returns whether there was
   * something.
   *
   * @throws {HutchError} `credentials_unavailable`, `no_space`, `cancelled`
   */
  async forget(registry: string, signal: AbortSignal): Promise<boolean> {
    const { helper } = this.#options;
    let known = false;
    if (helper !== undefined) {
      const options = this.#helperOptions(signal);
      known = await helperGet(helper, serverOf(registry), options) !== undefined;
      if (known) await helperErase(helper, serverOf(registry), options);
    }
    return await this.#file.set(registry, undefined, signal) || known;
  }

  #helperOptions(signal: AbortSignal): { signal: AbortSignal; timeoutMs?: number } {
    const { helperTimeoutMs } = this.#options;
    return { signal, ...helperTimeoutMs === undefined ? {} : { timeoutMs: helperTimeoutMs } };
  }
}
