/**
 * Tokens, as a registry's token server gives them.
 *
 * @module
 */
import { HutchError } from "../../../mod.ts";
import { fieldOf, readLimited } from "./body.ts";
import type { Answer, Sent, Transport } from "./transport.ts";

/** What is asked of a token server. */
export interface TokenRequest {
  readonly transport: Transport;
  /** Host of the registry that sent us there, for errors. */
  readonly registry: string;
  /** The token server. */
  readonly realm: URL;
  readonly service: string | undefined;
  /** What the token is to allow; nothing but to know us when empty. */
  readonly scopes: readonly string[];
  /** `basic` is asked for by GET, a refresh token is exchanged by POST. */
  readonly as:
    | { readonly kind: "nobody" }
    | { readonly kind: "named"; readonly username: string; readonly basic: string }
    | { readonly kind: "refresh"; readonly token: string };
  /** Whether a refresh token is wanted too. */
  readonly keep: boolean;
  readonly signal: AbortSignal;
}

/** A token. */
export interface Token {
  readonly token: string;
  /** A refresh token, if the server gave one. */
  readonly refresh: string | undefined;
  /** When it is nearly too old, by `performance.now()`. */
  readonly until: number;
}

const ANSWER_LIMIT = 1024 * 1024;
/** How we call ourselves: the form asks for a name. */
const CLIENT = "hutch";
/** Life of a token whose server doesn't say, in seconds, as the token specification has it. */
const DEFAULT_LIFE = 60;
/** What of a token's life it is used for. */
const USED_LIFE = 0.9;

/**
 * Gets a token.
 *
 * @throws {HutchError} `registry_denied`, `registry_failed`, and what the transport throws.
 */
export async function requestToken(request: TokenRequest): Promise<Token> {
  const { realm, registry, as } = request;
  const answer = await send(request);
  if (answer.status === 401 || answer.status === 403) {
    await answer.body.cancel();
    const problem = as.kind === "nobody" ? "gives no token for it" : "refuses the credentials";
    throw new HutchError(
      "registry_denied",
      `Cannot log in to ${registry}: token server ${realm.host} ${problem}`,
      {
        hint: as.kind === "nobody"
          ? `check the image's name; a private image needs credentials (hutch login ${registry})`
          : `check user name and password, and log in again (hutch login ${registry})`,
      },
    );
  }
  if (answer.status !== 200) {
    await answer.body.cancel();
    throw failed(request, `answers ${answer.status}`);
  }
  const parsed = await parse(answer);
  if (parsed === undefined) throw failed(request, "gives no token: it answers what isn't JSON");
  const token = word(fieldOf(parsed, "token")) ?? word(fieldOf(parsed, "access_token"));
  if (token === undefined) throw failed(request, "gives no token");
  const life = fieldOf(parsed, "expires_in");
  const seconds = typeof life === "number" && life > 0 ? life : DEFAULT_LIFE;
  return {
    token,
    refresh: word(fieldOf(parsed, "refresh_token")),
    until: performance.now() + seconds * 1000 * USED_LIFE,
  };
}

async function parse({ body }: Answer): Promise<unknown> {
  try {
    return JSON.parse(new TextDecoder().decode(await readLimited(body, ANSWER_LIMIT)));
  } catch {
    return undefined; // the parser's message quotes what it read, which may be most of a token
  }
}

function send({ transport, realm, service, scopes, as, keep, signal }: TokenRequest) {
  const headers = new Headers({ accept: "application/json", "user-agent": CLIENT });
  const ask = (sent: Sent, url = realm): Promise<Answer> =>
    transport.send(url, sent, { whole: ANSWER_LIMIT, signal });
  if (as.kind === "refresh") {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: as.token,
      client_id: CLIENT,
      service: service ?? "",
    });
    if (scopes.length > 0) form.set("scope", scopes.join(" "));
    return ask({ headers, form });
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  if (as.kind === "named") {
    headers.set("authorization", as.basic);
    url.searchParams.set("account", as.username);
  }
  if (keep) {
    url.searchParams.set("client_id", CLIENT);
    url.searchParams.set("offline_token", "true");
  }
  return ask({ headers }, url);
}

function failed({ realm, registry }: TokenRequest, problem: string): HutchError {
  return new HutchError(
    "registry_failed",
    `Cannot log in to ${registry}: token server ${realm.host} ${problem}`,
  );
}

/** Something that a header can hold. */
function word(value: unknown): string | undefined {
  return typeof value === "string" && /^[\x21-\x7e]+$/.test(value) ? value : undefined;
}
