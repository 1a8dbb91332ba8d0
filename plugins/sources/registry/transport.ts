/**
 * Requests that survive a network: time limits, redirects, and retries of what may pass.
 *
 * @module
 */
import { errorText, HutchError } from "../../../mod.ts";
import { withStallLimit } from "./body.ts";

/** How patient a {@link Transport} is. */
export interface TransportOptions {
  /** Time for an answer's beginning, and between two pieces of it, in `ms`. */
  readonly timeoutMs: number;
  /** Pause before the first retry, in `ms`; it doubles each time. */
  readonly retryDelayMs: number;
  /** How often a request is sent, the first time included. */
  readonly attempts: number;
}

/** An answer; its body must be read or cancelled. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

const TRANSIENT: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const REDIRECT_LIMIT = 5;
const RETRY_AFTER_LIMIT_MS = 60_000;
/** Why a request is aborted that nobody answered. */
const TIMED_OUT = new Error("no answer in time");

/** Sends GET requests of one image's download. */
export class Transport {
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Gets `url`. Answers that may be better next time (429, 5xx) and connections that fail are
   * tried again; one that nobody answered isn't, since that took long enough already.
   * `Authorization` goes to no other origin than the first.
   *
   * @throws {HutchError} `registry_unreachable`, `registry_failed` for a bad redirect, `cancelled`
   */
  async get(url: URL, headers: Headers, signal: AbortSignal): Promise<Answer> {
    for (let attempt = 1;; attempt++) {
      const last = attempt >= this.#options.attempts;
      let pause = this.#options.retryDelayMs * 2 ** (attempt - 1);
      try {
        const answer = await this.#follow(url, headers, signal);
        if (last || !TRANSIENT.has(answer.status)) return answer;
        const asked = retryAfterMs(answer.headers.get("retry-after"));
        if (asked !== undefined && asked > RETRY_AFTER_LIMIT_MS) return answer;
        await answer.body.cancel();
        pause = Math.max(pause, asked ?? 0);
      } catch (error) {
        if (signal.aborted) throw cancelled(url, signal);
        const again = error instanceof HutchError && error.code === "registry_unreachable" &&
          error.cause !== TIMED_OUT;
        if (last || !again) throw error;
      }
      await this.#pause(pause, url, signal);
    }
  }

  async #follow(first: URL, headers: Headers, signal: AbortSignal): Promise<Answer> {
    let url = first;
    const sent = new Headers(headers);
    for (let hop = 0; hop <= REDIRECT_LIMIT; hop++) {
      const answer = await this.#once(url, sent, signal);
      const location = REDIRECTS.has(answer.status) ? answer.headers.get("location") : null;
      if (location === null) return answer;
      await answer.body.cancel();
      const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
      if (!next || !allowed(url, next)) {
        throw new HutchError(
          "registry_failed",
          `Cannot read from ${url.host}: it redirects to what isn't a safe address`,
        );
      }
      if (next.origin !== url.origin) sent.delete("authorization");
      url = next;
    }
    throw new HutchError(
      "registry_failed",
      `Cannot read from ${first.host}: it redirects more than ${REDIRECT_LIMIT} times`,
    );
  }

  async #once(url: URL, headers: Headers, signal: AbortSignal): Promise<Answer> {
    const late = new AbortController();
    const { timeoutMs } = this.#options;
    const timer = setTimeout(() => late.abort(TIMED_OUT), timeoutMs);
    try {
      const response = await fetch(url, {
        headers,
        redirect: "manual",
        signal: AbortSignal.any([signal, late.signal]),
      });
      return {
        status: response.status,
        headers: response.headers,
        body: withStallLimit(response.body ?? empty(), timeoutMs, url.host),
      };
    } catch (error) {
      if (signal.aborted) throw cancelled(url, signal);
      const why = late.signal.aborted ? `no answer within ${timeoutMs} ms` : reason(error);
      throw new HutchError("registry_unreachable", `Cannot reach ${url.host}: ${why}`, {
        cause: late.signal.aborted ? TIMED_OUT : error,
        hint: "check its name and the network",
      });
    } finally {
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

/** The innermost reason: the outer ones repeat the address. */
function reason(error: unknown): string {
  let inner = error;
  for (let depth = 0; depth < 8; depth++) {
    if (!(inner instanceof Error) || inner.cause === undefined) break;
    inner = inner.cause;
  }
  const text = errorText(inner);
  return /client error \(\w+\): (.*)$/s.exec(text)?.[1] ?? text;
}

function cancelled(url: URL, signal: AbortSignal): HutchError {
  return new HutchError("cancelled", `Cannot read from ${url.host}: it was cancelled`, {
    cause: signal.reason,
  });
}

function empty(): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
