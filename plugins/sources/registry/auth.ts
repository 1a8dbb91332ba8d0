/**
 * Getting in: anonymous and named tokens, and passwords.
 *
 * @module
 */
import { errorText, HutchError } from "../../../mod.ts";
import { fieldOf, readLimited } from "./body.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Transport } from "./transport.ts";

/** What a registry lets a user in by. */
export type RegistryCredentials =
  | { readonly username: string; readonly password: string }
  | { readonly token: string };

/** Whom an {@link Authenticator} speaks to, and as whom. */
export interface AuthenticatorOptions {
  readonly transport: Transport;
  /** Root of the registry's API. */
  readonly root: URL;
  readonly credentials: RegistryCredentials | undefined;
}

const TOKEN_ANSWER_LIMIT = 1024 * 1024;

/** Keeps one `Authorization` header per repository. */
export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #known = new Map<string, Promise<string>>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** The header that was accepted before or may be; undefined to ask without. */
  async current(repository: string): Promise<string | undefined> {
    const known = this.#known.get(repository);
    if (known) return await known.catch(() => undefined);
    const { credentials } = this.#options;
    return credentials && "token" in credentials ? bearer(credentials.token) : undefined;
  }

  /**
   * A new header after `refused` (undefined: none was sent) got a 401 with this
   * `WWW-Authenticate`. Many requests at once share one trip to the token server.
   *
   * @throws {HutchError} `registry_denied` when there is no way in.
   */
  async renew(
    repository: string,
    header: string | null,
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const known = this.#known.get(repository);
    if (known) {
      const other = await known.catch(() => undefined);
      if (other !== undefined && other !== refused) return other; // somebody was faster
    }
    if (this.#known.get(repository) === known) {
      const fresh = this.#answer(parseChallenges(header ?? ""), repository, refused, signal);
      this.#known.set(repository, fresh);
      fresh.catch(() => {
        if (this.#known.get(repository) === fresh) this.#known.delete(repository);
      });
    }
    return await (this.#known.get(repository) ?? this.#denied("it can't be let in"));
  }

  #answer(
    challenges: readonly Challenge[],
    repository: string,
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const { credentials } = this.#options;
    const named = credentials && "username" in credentials ? credentials : undefined;
    const token = challenges.find(({ scheme }) => scheme === "bearer");
    if (token && !(credentials && "token" in credentials)) {
      return this.#token(token, repository, named, signal);
    }
    if (challenges.some(({ scheme }) => scheme === "basic") && named) {
      const header = basic(named);
      if (header !== refused) return Promise.resolve(header);
    }
    return this.#denied(
      credentials === undefined ? "it asks for credentials" : "it doesn't take the credentials",
    );
  }

  async #token(
    challenge: Challenge,
    repository: string,
    named: { readonly username: string; readonly password: string } | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const { root, transport } = this.#options;
    const url = this.#realm(challenge.parameters.get("realm") ?? "");
    const service = challenge.parameters.get("service");
    if (service !== undefined) url.searchParams.set("service", service);
    const scope = challenge.parameters.get("scope") ?? `repository:${repository}:pull`;
    url.searchParams.append("scope", scope);
    const headers = new Headers({ accept: "application/json", "user-agent": "hutch" });
    if (named) headers.set("authorization", basic(named));
    const answer = await transport.get(url, headers, signal);
    if (answer.status === 401 || answer.status === 403) {
      await answer.body.cancel();
      return this.#denied(`${url.host} gives no token for it`);
    }
    if (answer.status !== 200) {
      await answer.body.cancel();
      throw this.#failed(`token server ${url.host} answers ${answer.status}`);
    }
    let value: unknown;
    try {
      const bytes = await readLimited(answer.body, TOKEN_ANSWER_LIMIT);
      const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes));
      value = fieldOf(parsed, "token") ?? fieldOf(parsed, "access_token");
    } catch (error) {
      if (signal.aborted) throw error;
      throw this.#failed(`token server ${url.host} gives no token: ${errorText(error)}`, error);
    }
    if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) {
      throw this.#failed(`token server ${url.host} of ${root.host} gives no token`);
    }
    return bearer(value);
  }

  /** The registry chooses the address, so it must be as safe as the registry's own. */
  #realm(text: string): URL {
    const { root } = this.#options;
    const url = URL.canParse(text) ? new URL(text) : undefined;
    const safe = url?.protocol === "https:" ||
      (url?.protocol === "http:" && root.protocol === "http:");
    if (!url || !safe || url.username !== "" || url.password !== "") {
      throw this.#failed("it names no safe token server");
    }
    url.hash = "";
    return url;
  }

  #failed(problem: string, cause?: unknown): HutchError {
    const message = `Cannot log in to ${this.#options.root.host}: ${problem}`;
    return new HutchError("registry_failed", message, { cause });
  }

  #denied(problem: string): Promise<never> {
    return Promise.reject(
      new HutchError(
        "registry_denied",
        `Cannot log in to ${this.#options.root.host}: ${problem}`,
        { hint: "check the image's name; a private image needs credentials" },
      ),
    );
  }
}

function bearer(token: string): string {
  return `Bearer ${token}`;
}

function basic(named: { readonly username: string; readonly password: string }): string {
  const bytes = new TextEncoder().encode(`${named.username}:${named.password}`);
  return `Basic ${bytes.toBase64()}`;
}
