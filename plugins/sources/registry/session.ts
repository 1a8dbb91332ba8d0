/**
 * Requests to one repository of a registry, with what lets us in.
 *
 * @module
 */
import { HutchError } from "../../../mod.ts";
import { Authenticator, type AuthenticatorOptions } from "./auth.ts";
import { errorDetail } from "./body.ts";
import {
  type Answer,
  type SendOptions,
  type Sent,
  Transport,
  type TransportOptions,
} from "./transport.ts";

/** Whom a {@link RegistrySession} speaks to. */
export interface RegistrySessionOptions
  extends TransportOptions, Pick<AuthenticatorOptions, "credentials" | "plainHttpAllowed"> {
  /** As in references. */
  readonly registry: string;
  readonly repository: string;
}

/** What is sent, without what lets us in. */
export interface SessionSent extends Omit<Sent, "headers" | "form"> {
  readonly headers: Readonly<Record<string, string>>;
}

/** Sends requests; asks for a way in when the registry wants to know who we are. */
export class RegistrySession {
  readonly #options: RegistrySessionOptions;
  readonly #root: URL;
  readonly #transport: Transport;
  readonly #authenticator: Authenticator;

  /** @param actions What is to be allowed where the registry doesn't say it, such as `pull`. */
  constructor(options: RegistrySessionOptions, actions: string) {
    this.#options = options;
    this.#root = apiRoot(options.registry, options.plainHttpAllowed(options.registry));
    this.#transport = new Transport(options);
    this.#authenticator = new Authenticator({
      ...options,
      transport: this.#transport,
      root: this.#root,
      scope: `repository:${options.repository}:${actions}`,
    });
  }

  /** The address of something in the repository. */
  url(path: string): URL {
    return new URL(`${this.#options.repository}/${path}`, this.#root);
  }

  /** Whether the registry may have us send something to an address. */
  mayName(url: URL): boolean {
    if (url.username !== "" || url.password !== "") return false;
    return url.protocol === "https:" ||
      (url.protocol === "http:" && this.#root.protocol === "http:");
  }

  /**
   * Sends a request.
   *
   * @throws {HutchError} `registry_denied`, and what the transport throws.
   */
  async send(url: URL, { headers, ...rest }: SessionSent, options: SendOptions): Promise<Answer> {
    const sent = new Headers({ ...headers, "user-agent": "hutch" });
    const { signal } = options;
    // Whoever the registry sends us to may not know what belongs to the registry.
    const own = url.origin === this.#root.origin;
    let authorization = own ? await this.#authenticator.current(signal) : undefined;
    // Twice, since a token that worked before may have run out meanwhile, or allow too little.
    for (let round = 0;; round++) {
      if (authorization !== undefined) sent.set("authorization", authorization);
      const answer = await this.#transport.send(url, { ...rest, headers: sent }, options);
      if (answer.status !== 401 || round === 2) return answer;
      if (answer.origin !== this.#root.origin) return answer;
      await answer.body.cancel();
      const challenge = answer.headers.get("www-authenticate");
      authorization = await this.#authenticator.renew(challenge, authorization, signal);
    }
  }

  /** The error for an answer that is none. @param doing Such as `read debian:12`. */
  async refusal(answer: Answer, doing: string): Promise<HutchError> {
    const { registry } = this.#options;
    const said = await errorDetail(answer.body);
    const detail = said === undefined ? undefined : this.#authenticator.redact(said);
    const tail = `${registry} answers ${answer.status}${detail === undefined ? "" : `: ${detail}`}`;
    if (answer.status === 401 || answer.status === 403) {
      return new HutchError("registry_denied", `Cannot ${doing}: ${tail}`, {
        hint: `check the image's name; a private image needs credentials (hutch login ${registry})`,
      });
    }
    return new HutchError(
      "registry_failed",
      `Cannot ${doing}: ${tail}`,
      answer.status === 429 ? { hint: "the registry limits requests; try again later" } : {},
    );
  }
}

/** Where a registry's API is: Docker's is known by a name that its API doesn't have. */
export function apiRoot(registry: string, plainHttp: boolean): URL {
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  return new URL(`${plainHttp ? "http" : "https"}://${host}/v2/`);
}
