/**
 * Requests that survive a network: time limits, redirects, and retries of what may pass.
 *
 * @module
 */
import { errorText, HutchError } from "../../../mod.ts";
import { readLimited, withStallLimit } from "./body.ts";

/** How patient a {@link Transport} is, and what it connects with. */
export interface TransportOptions {
  /** Time for an answer's beginning, and between two pieces of it, in `ms`. */
  readonly timeoutMs: number;
  /** Pause before the first retry, in `ms`; it doubles each time, and is varied by a half. */
  readonly retryDelayMs: number;
  /** How often a request is sent, the first time included. */
  readonly attempts: number;
  /** Connects to an address other than as `fetch` does by itself. @default {nothing} */
  readonly clientFor?: (url: URL) => Deno.HttpClient | undefined;
}

/** What is sent. */
export interface Sent {
  readonly headers: Headers;
  /** Sent by POST; goes nowhere that the server merely names. @default {none: GET} */
  readonly form?: URLSearchParams;
  /** @default {GET; POST for a form} */
  readonly method?: "HEAD" | "POST" | "PATCH" | "PUT";
  /** Made for each try; goes nowhere that the server merely names. @default {none} */
  readonly body?: () => Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** Options of {@link Transport.send}. */
export interface SendOptions {
  readonly signal: AbortSignal;
  /**
   * Gets the body of a good answer (200) before it is given, and all of it again when it breaks: as
   * many bytes as this, and one more where there are more. @default {bodies are given as they come}
   */
  readonly whole?: number;
  /** How often at most it is sent. @default {the transport's attempts} */
  readonly attempts?: number;
}

/** An answer; its body must be read or cancelled. */
export interface Answer {
  /** Where it came from, after all redirects. */
  readonly origin: string;
  readonly status: number;
  readonly headers: Headers;
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** Answers that may be others next time. */
export const TRANSIENT: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const REDIRECT_LIMIT = 5;
const RETRY_AFTER_LIMIT_MS = 60_000;

/** An error of one try. Has no cause: that of `fetch` repeats addresses, which may be signed. */
export class PassingError extends HutchError {
  /** Whether the next try may do better. */
  readonly again: boolean;

  constructor(
    code: "registry_unreachable" | "registry_failed",
    message: string,
    { again, hint }: { readonly again: boolean; readonly hint: string },
  ) {
    super(code, message, { hint });
    this.again = again;
  }
}

/** Sends the requests of one image's download. */
export class Transport {
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Gets `url`, or sends something to it. Answers that may be better next time (429, 5xx) and
   * connections that fail are tried again; one that nobody answered isn't, since that took long
   * enough already. `Authorization` goes to no other origin than the first.
   *
   * @throws {HutchError} `registry_unreachable`, `registry_failed` for a bad redirect or a broken body,
   * `cancelled`
   */
  async send(url: URL, sent: Sent, { signal, whole, attempts }: SendOptions): Promise<Answer> {
    for (let attempt = 1;; attempt++) {
      const last = attempt >= (attempts ?? this.#options.attempts);
      let pause = this.#options.retryDelayMs * 2 ** (attempt - 1) * (0.5 + Math.random());
      try {
        const answer = await this.#follow(url, sent, signal);
        if (answer.status === 200 && whole !== undefined) return await gathered(answer, whole);
        if (last || !TRANSIENT.has(answer.status)) return answer;
        const asked = retryAfterMs(answer.headers.get("retry-after"));
        if (asked !== undefined && asked > RETRY_AFTER_LIMIT_MS) return answer;
        await answer.body.cancel();
        pause += asked ?? 0; // varied too: others were told the same
      } catch (error) {
        if (signal.aborted) throw cancelled(url, signal);
        if (last || !(error instanceof PassingError && error.again)) throw error;
      }
      await this.#pause(pause, url, signal);
    }
  }

  async #follow(first: URL, sent: Sent, signal: AbortSignal): Promise<Answer> {
    let url = first;
    const { form, method } = sent;
    const kept = new Headers(sent.headers);
    for (let hop = 0; hop <= REDIRECT_LIMIT; hop++) {
      const answer = await this.#once(url, { ...sent, headers: kept }, signal);
      const location = REDIRECTS.has(answer.status) ? answer.headers.get("location") : null;
      // Where something is says that it is there: what it redirects to may take no HEAD.
      if (location === null || method === "HEAD") return answer;
      await answer.body.cancel();
      const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
      // A form holds a secret for the one that it was made for, and what is uploaded may be one.
      if (!next || form !== undefined || method !== undefined || !allowed(url, next)) {
        throw new HutchError(
          "registry_failed",
          `Cannot read from ${url.host}: it redirects to what isn't a safe address`,
        );
      }
      if (next.origin !== url.origin) kept.delete("authorization");
      url = next;
    }
    throw new HutchError(
      "registry_failed",
      `Cannot read from ${first.host}: it redirects more than ${REDIRECT_LIMIT} times`,
    );
  }

  async #once(
    url: URL,
    { headers, form, method, body }: Sent,
    signal: AbortSignal,
  ): Promise<Answer> {
    const late = new AbortController();
    const { timeoutMs, clientFor } = this.#options;
    let timer = setTimeout(() => late.abort(), timeoutMs);
    let answered = false;
    const goesOn = () => {
      if (answered) return;
      clearTimeout(timer);
      timer = setTimeout(() => late.abort(), timeoutMs);
    };
    const content = body?.();
    const client = clientFor?.(url);
    try {
      const response = await fetch(url, {
        headers,
        redirect: "manual",
        signal: AbortSignal.any([signal, late.signal]),
        ...form === undefined ? {} : { method: "POST", body: form },
        ...method === undefined ? {} : { method },
        ...content === undefined ? {} : {
          body: content instanceof ReadableStream ? noting(content, goesOn) : content,
        },
        ...client === undefined ? {} : { client },
      });
      return {
        origin: url.origin,
        status: response.status,
        headers: response.headers,
        body: withStallLimit(response.body ?? empty(), timeoutMs, url.host),
      };
    } catch (error) {
      if (signal.aborted) throw cancelled(url, signal);
      if (late.signal.aborted) {
        throw noAnswer(url, `no answer within ${timeoutMs} ms`, { again: false });
      }
      throw unreachable(url, innermost(error));
    } finally {
      answered = true;
      clearTimeout(timer);
    }
  }

  #pause(ms: number, url: URL, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        reject(cancelled(url, signal));
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", end);
        resolve();
      }, ms);
      signal.addEventListener("abort", end, { once: true });
      if (signal.aborted) end();
    });
  }
}

/** Only to the web, and never from an encrypted connection to a plain one. */
function allowed(from: URL, to: URL): boolean {
  if (to.username !== "" || to.password !== "") return false;
  return to.protocol === "https:" || (to.protocol === "http:" && from.protocol === "http:");
}

/** Seconds or a date, as `ms` from now. */
function retryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

/** The answer with its body read: all, or one byte more than `limit`. */
async function gathered(answer: Answer, limit: number): Promise<Answer> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await readLimited(answer.body, limit) ?? new Uint8Array(limit + 1);
  } catch (error) {
    if (error instanceof HutchError) throw error; // it said nothing for long enough
    const { host } = new URL(answer.origin);
    throw new PassingError("registry_failed", `Cannot read from ${host}: the connection broke`, {
      again: true,
      hint: "try again",
    });
  }
  return { ...answer, body: new Blob([bytes]).stream() };
}

function noAnswer(
  { host }: URL,
  problem: string,
  { again, hint = "check its name and the network" }: {
    readonly again: boolean;
    readonly hint?: string;
  },
): PassingError {
  return new PassingError("registry_unreachable", `Cannot reach ${host}: ${problem}`, {
    again,
    hint,
  });
}

/** What says the same to everybody who asks again is said at once, and what would help. */
function unreachable(url: URL, problem: string): PassingError {
  if (/fatal alert: CertificateRequired/.test(problem)) {
    return noAnswer(url, problem, {
      again: false,
      hint: `name a certificate in the configuration: registries["${url.host}"].clientCertificate`,
    });
  }
  if (/invalid peer certificate/.test(problem)) {
    return noAnswer(url, problem, {
      again: false,
      hint: `name its authority's PEM file in the configuration: registries["${url.host}"].ca`,
    });
  }
  if (/InvalidContentType/.test(problem)) {
    return noAnswer(url, "it doesn't speak TLS", {
      again: false,
      hint: `if it is to be trusted without: --insecure-registry ${url.host}`,
    });
  }
  return noAnswer(url, problem, { again: true });
}

/** The innermost reason: the outer ones repeat the address. */
function innermost(error: unknown): string {
  let inner = error;
  for (let depth = 0; depth < 8; depth++) {
    if (!(inner instanceof Error) || inner.cause === undefined) break;
    inner = inner.cause;
  }
  const text = errorText(inner);
  const reason = /client error \(\w+\): (.*)$/s.exec(text)?.[1] ?? text;
  return reason.replace(/\bhttps?:\/\/\S+/g, (address) => address.replace(/[?#].*$/, ""));
}

function cancelled(url: URL, signal: AbortSignal): HutchError {
  return new HutchError("cancelled", `Cannot read from ${url.host}: it was cancelled`, {
    cause: signal.reason,
  });
}

/** The stream as it is; tells each time that some of it was taken. */
function noting(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  taken: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        taken();
        controller.enqueue(chunk);
      },
    }),
  );
}

function empty(): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
