/**
 * Where a program hears of its boxes' requests from their interceptors, when it has hooks for these. Each
 * request comes here, and goes back to the interceptor on its way to its host: values of secrets stay there.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import type { RequestConnection } from "./hooks.ts";
import {
  ANSWER_HEADER,
  type DoorRequest,
  HEAD_HEADER,
  REQUEST_HEADER,
  URL_HEADER,
} from "./intercept/door.ts";

/** Handles a request of one box; what it throws is a denial. */
export type RequestHandler = (
  request: Request,
  connection: RequestConnection,
  next: (request: Request) => Promise<Response>,
) => Promise<Response>;

/** A box's place at the door. */
export interface DoorPlace extends Disposable {
  /** What the box's network is told, as a word. */
  readonly word: string;
}

/** One box's. */
interface Place {
  readonly handler: RequestHandler;
  /** To its interceptors, by their ports: straight, whatever proxy this program has. */
  readonly clients: Map<number, Deno.HttpClient>;
}

/** How long what is on its way may take when the door closes, in `ms`. */
const CLOSING_MS = 1_000;

/** What {@link RequestDoor} is made with. */
export interface RequestDoorOptions {
  /** How an error is a denial: `HOW PLUGIN` as words; undefined: it is a failure on the way. */
  readonly denial: (error: unknown) => string | undefined;
}

/** One for a program; listens once there is a box that needs it. */
export class RequestDoor implements AsyncDisposable {
  readonly #options: RequestDoorOptions;
  readonly #places = new Map<string, Place>();
  #server: Deno.HttpServer<Deno.NetAddr> | undefined;

  constructor(options: RequestDoorOptions) {
    this.#options = options;
  }

  /** Takes requests of a box from now on. */
  open(handler: RequestHandler): DoorPlace {
    this.#server ??= Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      (request) => this.#take(request),
    );
    const token = crypto.randomUUID();
    const clients = new Map<number, Deno.HttpClient>();
    this.#places.set(token, { handler, clients });
    return {
      word: `${this.#server.addr.port}-${token}`,
      [Symbol.dispose]: () => {
        this.#places.delete(token);
        closeAll(clients);
      },
    };
  }

  /** Others on this machine can connect as well: they don't know the token. */
  async #take(heard: Request): Promise<Response> {
    const place = this.#places.get(new URL(heard.url).pathname.slice(1));
    const about = heard.headers.get(REQUEST_HEADER);
    if (!place || about === null) {
      return new Response(null, { status: 403, headers: { [ANSWER_HEADER]: "gone -" } });
    }
    const asked: DoorRequest = JSON.parse(decodeURIComponent(about));
    const headers = new Headers(heard.headers);
    for (const name of [REQUEST_HEADER, "host"]) headers.delete(name);
    if (asked.websocket) headers.set("upgrade", "websocket");
    const request = new Request(asked.url, {
      method: heard.method,
      headers,
      body: heard.body,
      redirect: "manual",
    });
    try {
      const { handler, clients } = place;
      let [answered]: (Response | undefined)[] = [];
      const answer = await handler(request, asked.connection, async (made) => {
        // What another body was measured by doesn't hold for one that a hook has made.
        if (made !== request) made.headers.delete("content-length");
        return answered = await onward(made, asked, clients);
      });
      return withoutOwn(answer, answer !== answered);
    } catch (error) {
      const denial = this.#options.denial(error);
      return new Response(`hutch: ${denial ? errorText(error) : "the request's way is broken"}\n`, {
        status: denial ? 403 : 502,
        headers: denial ? { [ANSWER_HEADER]: denial } : {},
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { clients } of this.#places.values()) closeAll(clients);
    this.#places.clear();
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, CLOSING_MS);
    await Promise.race([this.#server?.shutdown(), late.promise]);
    clearTimeout(timer);
  }
}

function closeAll(clients: Map<number, Deno.HttpClient>): void {
  for (const client of clients.values()) client.close();
  clients.clear();
}

/** Back to the interceptor; a WebSocket's beginning is told instead, since it is joined there. */
async function onward(
  request: Request,
  { upstream: { port, token }, websocket }: DoorRequest,
  clients: Map<number, Deno.HttpClient>,
): Promise<Response> {
  if (websocket) {
    const head = { url: request.url, headers: [...request.headers] };
    return new Response(null, {
      status: 204,
      headers: { [HEAD_HEADER]: encodeURIComponent(JSON.stringify(head)) },
    });
  }
  const client = clients.get(port) ??
    Deno.createHttpClient({ proxy: { transport: "tcp", hostname: "127.0.0.1", port } });
  clients.set(port, client);
  const headers = new Headers(request.headers);
  headers.set(URL_HEADER, encodeURIComponent(request.url));
  return await fetch(`http://127.0.0.1:${port}/${token}`, {
    method: request.method,
    headers,
    body: request.body,
    redirect: "manual",
    signal: request.signal,
    client,
  });
}

/** What servers and plugins say in the name of hutch's own headers counts for nothing. */
function withoutOwn(response: Response, changed: boolean): Response {
  const headers = new Headers(response.headers);
  headers.delete(ANSWER_HEADER);
  if (changed) headers.delete("content-length");
  const { status, statusText, body } = response;
  return new Response(body, { status, statusText, headers });
}
