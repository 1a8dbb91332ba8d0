/**
 * Getting in: anonymous and named tokens, and passwords.
 *
 * @module
 */
import { type Credentials, HutchError } from "../../../mod.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { requestToken, type TokenRequest } from "./token.ts";
import type { Transport } from "./transport.ts";

/** Whom an {@link Authenticator} speaks to, and as whom. */
export interface AuthenticatorOptions {
  readonly transport: Transport;
  /** As in references. */
  readonly registry: string;
  /** Root of the registry's API. */
  readonly root: URL;
  /** What is to be allowed, where the registry doesn't say it; undefined: to log in, no more. */
  readonly scope: string | undefined;
  /** Whom to be; asked once, and only when the registry wants to know. */
  readonly credentials: () => Promise<Credentials | undefined>;
  /** Whether a secret may go to this `host[:port]` in plain HTTP. */
  readonly plainHttpAllowed: (host: string) => boolean;
}

/** An accepted header, or one that may be. */
interface Pass {
  readonly header: string;
  /** When to get another, by `performance.now()`. */
  readonly until: number;
}

/** Secrets shorter than this can't be struck from a text without spoiling it. */
const SHORT = 4;

/** Keeps the `Authorization` header of one repository. */
export class Authenticator {
  readonly #options: AuthenticatorOptions;
  #known: Promise<Pass> | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;
  /** What the registry asked for last. */
  #challenges: readonly Challenge[] = [];
  /** Why there are no credentials although there should be some. */
  #excuse: HutchError | undefined;
  #refresh: string | undefined;
  readonly #secrets = new Set<string>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** A refresh token that the token server gave in place of a password. */
  get refreshToken(): string | undefined {
    return this.#refresh;
  }

  /**
   * The header that was accepted before or may be; undefined to ask without. One that is about to
   * run out is replaced.
   */
  async current(signal: AbortSignal): Promise<string | undefined> {
    const known = this.#known;
    const pass = await known?.catch(() => undefined);
    if (!pass || performance.now() < pass.until) return pass?.header;
    // What it was worth shows when it is used, should there be no other.
    return await this.#replace(known, undefined, signal).catch((error) => {
      if (signal.aborted) throw error;
      return pass.header;
    });
  }

  /**
   * A new header after `refused` (undefined: none was sent) got a 401 with this
   * `WWW-Authenticate`, which must be the registry's own. Many requests at once share one trip to
   * the token server.
   *
   * @throws {HutchError} `registry_denied` when there is no way in.
   */
  async renew(
    header: string | null,
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const known = this.#known;
    const other = await known?.catch(() => undefined);
    if (other !== undefined && other.header !== refused) return other.header; // somebody was faster
    if (this.#known === known) this.#challenges = parseChallenges(header ?? "");
    return await this.#replace(known, refused, signal);
  }

  /** A text of the server's without the secrets that it may have been told; undefined if unsure. */
  redact(text: string): string | undefined {
    let clean = text;
    for (const secret of this.#secrets) {
      if (secret.length < SHORT) return undefined;
      clean = clean.replaceAll(secret, "…");
    }
    return clean;
  }

  async #replace(
    known: Promise<Pass> | undefined,
    refused: string | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    if (this.#known === known || this.#known === undefined) {
      const fresh = this.#answer(refused, signal);
      this.#known = fresh;
      fresh.catch(() => {
        if (this.#known === fresh) this.#known = known;
      });
    }
    return (await this.#known).header;
  }

  async #answer(refused: string | undefined, signal: AbortSignal): Promise<Pass> {
    const credentials = await this.#asked();
    const challenge = this.#challenges.find(({ scheme }) => scheme === "bearer");
    if (challenge && !(credentials && "token" in credentials)) {
      return await this.#token(challenge, credentials, signal);
    }
    const basicTaken = this.#challenges.some(({ scheme }) => scheme === "basic");
    let header: string | undefined;
    if (credentials && "token" in credentials) header = challenge && bearer(credentials.token);
    else if (credentials && "password" in credentials && basicTaken) header = basic(credentials);
    if (header !== undefined && header !== refused) return { header, until: Infinity };
    throw this.#denied(
      credentials === undefined ? "it asks for credentials" : "it doesn't take the credentials",
    );
  }

  /** The credentials, checked: `fetch` would repeat a value that it can't send in its error. */
  async #asked(): Promise<Credentials | undefined> {
    this.#credentials ??= Promise.resolve().then(this.#options.credentials);
    let credentials: Credentials | undefined;
    try {
      credentials = await this.#credentials;
    } catch (error) {
      // A broken store of logins mustn't keep anybody from what is open to all.
      if (!(error instanceof HutchError) || error.code !== "credentials_unavailable") throw error;
      this.#excuse = error;
    }
    if (credentials === undefined) return undefined;
    if ("password" in credentials) {
      const { username, password } = credentials;
      if (/[\p{Cc}:]/u.test(username)) {
        throw this.#unfit("the user name has a colon or a control character");
      }
      // A password may have any: some are whole files of JSON, and base64 carries them.
      this.#hide(password, basic(credentials).slice("Basic ".length));
    } else {
      const token = "token" in credentials ? credentials.token : credentials.identityToken;
      if (!/^[\x21-\x7e]+$/.test(token)) throw this.#unfit("the token isn't one word of ASCII");
      this.#hide(token);
    }
    return credentials;
  }

  async #token(
    { parameters }: Challenge,
    credentials: Exclude<Credentials, { readonly token: string }> | undefined,
    signal: AbortSignal,
  ): Promise<Pass> {
    const { transport, scope } = this.#options;
    const realm = this.#realm(parameters.get("realm") ?? "", credentials !== undefined);
    const asked = parameters.get("scope") ?? scope ?? "";
    const got = await requestToken({
      transport,
      registry: this.#options.registry,
      realm,
      service: parameters.get("service"),
      // To log in is to ask for nothing, even where the registry's root would want something.
      scopes: scope === undefined ? [] : asked.split(" ").filter((each) => each !== ""),
      as: this.#as(credentials),
      keep: scope === undefined,
      signal,
    }).catch((error) => {
      throw this.#excused(error);
    });
    // The one before may not be good any more.
    if (got.refresh !== undefined) this.#refresh = got.refresh;
    this.#hide(got.token, ...got.refresh === undefined ? [] : [got.refresh]);
    return { header: bearer(got.token), until: got.until };
  }

  #as(
    credentials: Exclude<Credentials, { readonly token: string }> | undefined,
  ): TokenRequest["as"] {
    if (credentials === undefined) return { kind: "nobody" };
    if ("identityToken" in credentials) {
      return { kind: "refresh", token: this.#refresh ?? credentials.identityToken };
    }
    return { kind: "named", username: credentials.username, basic: basic(credentials) };
  }

  /**
   * The registry chooses the address, so it must be as safe as the registry's own; and a secret
   * goes in plain HTTP only where that was allowed by name.
   */
  #realm(text: string, withSecret: boolean): URL {
    const { root, plainHttpAllowed } = this.#options;
    const url = URL.canParse(text) ? new URL(text) : undefined;
    const safe = url?.protocol === "https:" || (url?.protocol === "http:" &&
      root.protocol === "http:" && (!withSecret || plainHttpAllowed(url.host)));
    if (!url || !safe || url.username !== "" || url.password !== "") {
      throw new HutchError(
        "registry_failed",
        `Cannot log in to ${this.#options.registry}: it names no safe token server`,
      );
    }
    url.hash = "";
    return url;
  }

  #hide(...secrets: readonly string[]): void {
    for (const secret of secrets) this.#secrets.add(secret);
  }

  #unfit(problem: string): HutchError {
    return new HutchError(
      "invalid_option",
      `Cannot log in to ${this.#options.registry}: ${problem}`,
      { hint: "look at what gives the credentials: a plugin, the configuration, or a login" },
    );
  }

  #denied(problem: string): HutchError {
    const { registry } = this.#options;
    return this.#excused(
      new HutchError("registry_denied", `Cannot log in to ${registry}: ${problem}`, {
        hint: `check the image's name; a private image needs credentials (hutch login ${registry})`,
      }),
    );
  }

  /** A refusal of us as nobody, told with the reason why we came as nobody. */
  #excused<E>(error: E): E | HutchError {
    const excuse = this.#excuse;
    if (!excuse || !(error instanceof HutchError) || error.code !== "registry_denied") return error;
    return new HutchError(error.code, `${error.message}; ${lowerFirst(excuse.message)}`, {
      cause: excuse,
      ...excuse.hint === undefined ? {} : { hint: excuse.hint },
    });
  }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function bearer(token: string): string {
  return `Bearer ${token}`;
}

function basic(named: { readonly username: string; readonly password: string }): string {
  const bytes = new TextEncoder().encode(`${named.username}:${named.password}`);
  return `Basic ${bytes.toBase64()}`;
}
