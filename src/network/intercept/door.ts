/**
 * Asking the program whose plugins decide about requests, from the interceptor: the request goes to that
 * program, which has it go on from here, or answers itself.
 *
 * @module
 */
import type { RequestConnection } from "../hooks.ts";
import { endToEnd, isWebSocket } from "./messages.ts";

/** What is said of a request, as JSON in percent-encoding. */
export const REQUEST_HEADER = "hutch-request";
/** In an answer: `HOW PLUGIN`, how and by whom the request is denied. */
export const ANSWER_HEADER = "hutch-denied";
/** In an answer to a WebSocket's beginning: what it begins with ({@link SocketHead}). */
export const HEAD_HEADER = "hutch-head";
/** The URL of a request that goes on, in percent-encoding. */
export const URL_HEADER = "hutch-url";
const OWN_HEADERS = [REQUEST_HEADER, ANSWER_HEADER, HEAD_HEADER, URL_HEADER];

/** A request of a box, beside its method, headers and body. */
export interface DoorRequest {
  readonly url: string;
  readonly connection: RequestConnection;
  readonly websocket: boolean;
  /** Where it goes on. */
  readonly upstream: { readonly port: number; readonly token: string };
}

/** What a WebSocket begins with. */
interface SocketHead {
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
}

/** Longer than hooks may take by themselves: it is for a program that stands still, in `ms`. */
const PATIENCE_MS = 40_000;

/** What became of a request that was asked about. */
export type DoorAnswer =
  | { readonly response: Response }
  /** Its way goes on here: a WebSocket's. */
  | { readonly head: Request }
  | { readonly denied: string; readonly response: Response };

/** A request on its way. */
interface Waiting {
  readonly onward: (request: Request) => Promise<Response>;
  readonly from: Request;
  /** Whether the program has the word. */
  asked: (waits: boolean) => void;
}

/** Asks programs. */
export class DoorAsker implements AsyncDisposable {
  readonly #waiting = new Map<string, Waiting>();
  readonly #server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => this.#goOn(request),
  );
  readonly #patienceMs: number;

  /** @param patienceMs See {@link PATIENCE_MS}. */
  constructor(patienceMs = PATIENCE_MS) {
    this.#patienceMs = patienceMs;
  }

  /**
   * @param door `PORT-TOKEN`, as the program says.
   * @param onward What becomes of it when the program lets it go on.
   * @throws what `fetch` throws when the box gives it up.
   */
  async ask(
    request: Request,
    { door, connection, onward }: {
      readonly door: string;
      readonly connection: RequestConnection;
      readonly onward: (request: Request) => Promise<Response>;
    },
  ): Promise<DoorAnswer> {
    const [port, ...place] = door.split("-");
    const token = crypto.randomUUID();
    const websocket = isWebSocket(request);
    const headers = without(endToEnd(request.headers));
    const about: DoorRequest = {
      url: request.url,
      connection,
      websocket,
      upstream: { port: this.#server.addr.port, token },
    };
    headers.set(REQUEST_HEADER, encodeURIComponent(JSON.stringify(about)));
    const late = new AbortController();
    let [timer, over]: [ReturnType<typeof setTimeout> | undefined, boolean] = [undefined, false];
    const asked = (waits: boolean) => {
      clearTimeout(timer);
      timer = waits && !over ? setTimeout(() => late.abort(), this.#patienceMs) : undefined;
    };
    asked(true);
    this.#waiting.set(token, { onward, from: request, asked });
    try {
      const response = await fetch(`http://127.0.0.1:${port}/${place.join("-")}`, {
        method: request.method,
        headers,
        body: websocket ? null : request.body,
        redirect: "manual",
        signal: AbortSignal.any([request.signal, late.signal]),
      });
      const denied = response.headers.get(ANSWER_HEADER);
      const clean = new Response(response.body, {
        status: response.status,
        statusText: response.statusText,
        headers: without(response.headers),
      });
      if (denied !== null) return { denied, response: clean };
      const head = response.headers.get(HEAD_HEADER);
      return websocket && head !== null ? { head: headOf(head) } : { response: clean };
    } catch (error) {
      if (request.signal.aborted) throw error;
      const why = late.signal.aborted ? "late" : "gone";
      const text = late.signal.aborted ? "didn't answer in time" : "has gone";
      const response = new Response(`hutch: the program that decides about requests ${text}\n`, {
        status: 403,
      });
      return { denied: `${why} -`, response };
    } finally {
      over = true;
      asked(false);
      this.#waiting.delete(token);
    }
  }

  /** Others on this machine can connect as well: they don't know a token, which is for one request. */
  async #goOn(heard: Request): Promise<Response> {
    const token = new URL(heard.url).pathname.slice(1);
    const waiting = this.#waiting.get(token);
    const url = heard.headers.get(URL_HEADER);
    if (!waiting || url === null) return new Response(null, { status: 403 });
    this.#waiting.delete(token);
    waiting.asked(false);
    const headers = without(heard.headers);
    headers.delete("host");
    try {
      return await waiting.onward(
        new Request(decodeURIComponent(url), {
          method: heard.method,
          headers,
          body: heard.body,
          redirect: "manual",
          signal: AbortSignal.any([heard.signal, waiting.from.signal]),
        }),
      );
    } finally {
      waiting.asked(true);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#waiting.clear();
    await this.#server.shutdown();
  }
}

/** Headers, but those by which programs and interceptors talk. */
function without(from: Headers): Headers {
  const headers = new Headers(from);
  for (const name of OWN_HEADERS) headers.delete(name);
  return headers;
}

/** The beginning of a WebSocket as hooks made it. */
function headOf(text: string): Request {
  const { url, headers }: SocketHead = JSON.parse(decodeURIComponent(text));
  return new Request(url, { headers: headers.map(([name, value]) => [name, value]) });
}
