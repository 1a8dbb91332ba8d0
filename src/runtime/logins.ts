/**
 * Logging in to registries and out again.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { Logins } from "../images/registry/credentials.ts";
import { DEFAULT_SCHEME } from "../images/reference.ts";
import { registryName, type RegistrySettings } from "../images/registry/registries.ts";
import type { ImageSource } from "../images/source.ts";
import type { Credentials } from "../plugin/contract.ts";

/** What {@link RegistryLogins} works with. */
export interface RegistryLoginsOptions {
  /** Sources by scheme. */
  readonly sources: ReadonlyMap<string, ImageSource>;
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly logins: Logins;
}

/** Options of {@link RegistryLogins}' operations. */
export interface LoginOptions {
  /** Ends the work. */
  readonly signal?: AbortSignal;
}

/** What became of a login. */
export interface LoginResult {
  /** Name as in references, such as `docker.io`. */
  readonly registry: string;
  /** False where the registry lets in everybody, so that the credentials weren't checked. */
  readonly checked: boolean;
}

/** Tries logins before it keeps them. */
export class RegistryLogins {
  readonly #options: RegistryLoginsOptions;

  constructor(options: RegistryLoginsOptions) {
    this.#options = options;
  }

  /** See `Images.login`. */
  async login(
    text: string,
    credentials: Credentials,
    { signal = new AbortController().signal }: LoginOptions = {},
  ): Promise<LoginResult> {
    const registry = registryName(text);
    refuseEmpty(registry, credentials);
    const source = this.#options.sources.get(DEFAULT_SCHEME);
    if (!source?.logIn) {
      throw new HutchError(
        "invalid_option",
        `Cannot log in to ${registry}: the source ${DEFAULT_SCHEME} knows no logins`,
      );
    }
    const { registries, logins } = this.#options;
    const answer = await source.logIn({ registry, credentials, registries, signal });
    await logins.keep(registry, answer.credentials, signal);
    return { registry, checked: answer.checked };
  }

  /** See `Images.logout`. */
  async logout(
    text: string,
    { signal = new AbortController().signal }: LoginOptions = {},
  ): Promise<boolean> {
    return await this.#options.logins.forget(registryName(text), signal);
  }
}

function refuseEmpty(registry: string, credentials: Credentials): void {
  for (const [name, value] of Object.entries(credentials)) {
    if (value !== "") continue;
    throw new HutchError("invalid_option", `Cannot log in to ${registry}: the ${name} is empty`);
  }
}
