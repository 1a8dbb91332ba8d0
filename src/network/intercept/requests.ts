/**
 * Requests of a box on their way to their hosts, with its secrets in them.
 *
 * @module
 */
import type { DoorAsker } from "./door.ts";
import { endToEnd, isWebSocket } from "./messages.ts";
import { joinSockets } from "./sockets.ts";
import { Leak, Swapper } from "./swap.ts";
import type { Valve } from "./pipe.ts";
import type { Destination } from "./upstream.ts";

/** What {@link handle} works with. */
export interface Passing {
  readonly destination: Destination;
  readonly swapper: Swapper;
  readonly client: Deno.HttpClient;
  /** Authorities of servers beside Deno's own, as PEM. */
  readonly caCerts: readonly string[];
  /** Where what the box says waits while there is no room for it. */
  readonly valve: Valve;
  readonly leaked: (leak: Leak) => void;
  /** Asks the program that decides about it; undefined where none does. */
  readonly door: { readonly asker: DoorAsker; readonly word: string } | undefined;
  /** A hook denied it: `HOW PLUGIN`. */
  readonly denied: (how: string) => void;
}

const BAD_GATEWAY = 502;

/** Does with a request of the box what hooks say, and gives its answer. */
export async function handle(request: Request, passing: Passing): Promise<Response> {
  const { destination, door } = passing;
  const url = urlOf(request, destination);
  if (!url) return said(421, `this connection is for ${destination.name}`);
  const asked = isWebSocket(request)
    ? new Request(url, { headers: request.headers, signal: request.signal })
    : new Request(url, request);
  if (!door) return await passOn(asked, passing, request);
  const { name, address, port } = destination;
  const answer = await door.asker.ask(asked, {
    door: door.word,
    connection: { name, address, port },
    onward: (made) => passOn(made, passing, request),
  });
  if ("denied" in answer) passing.denied(answer.denied);
  return "head" in answer ? await passOn(answer.head, passing, request) : answer.response;
}

/**
 * Sends a request on, and gives its answer. What is said here of failures has no value of a secret.
 *
 * @param own The box's own, where it is a WebSocket's beginning.
 */
async function passOn(request: Request, passing: Passing, own: Request): Promise<Response> {
  const { destination, swapper, client } = passing;
  const leaking = new AbortController();
  try {
    const url = urlOf(request, destination);
    if (!url) return said(421, `this connection is for ${destination.name}`);
    url.search = swapper.text(url.search, "query");
    swapper.text(url.pathname, "query"); // a place where none is replaced
    const headers = new Headers();
    for (const [name, value] of endToEnd(request.headers)) {
      headers.append(name, swapper.header(name, value));
    }
    if (isWebSocket(own)) return await joinSockets(own, { url, headers }, passing);
    const body = bodyOf(request, headers, swapper, (leak) => {
      passing.leaked(leak);
      leaking.abort(leak);
    });
    const signal = AbortSignal.any([request.signal, leaking.signal]);
    const init = { method: request.method, headers, redirect: "manual", client, signal } as const;
    if (body) return await fetch(url, { ...init, body });
    // A connection that was kept may have just ended, which nothing tells before.
    return await fetch(url, init).catch(() => fetch(url, init));
  } catch (error) {
    if (!(error instanceof Leak)) return said(BAD_GATEWAY, `cannot reach ${destination.name}`);
    if (!leaking.signal.aborted) passing.leaked(error);
    return said(403, error.message);
  }
}

function said(status: number, text: string): Response {
  return new Response(`hutch: ${text}\n`, { status });
}

/** Where it goes; undefined for a request to another host than its connection's. */
function urlOf(request: Request, { name, port, secure }: Destination): URL | undefined {
  const url = new URL(request.url);
  const own = name.startsWith("[") ? new URL(`http://${name}`).hostname : name; // as URLs write addresses
  if (url.hostname.replace(/\.$/, "") !== own) return undefined;
  url.protocol = secure ? "https:" : "http:";
  url.hostname = name;
  url.port = String(port);
  return url;
}

function bodyOf(
  request: Request,
  headers: Headers,
  swapper: Swapper,
  leaked: (leak: Leak) => void,
): ReadableStream<Uint8Array> | null {
  const through = request.body && swapper.body();
  if (!through || !request.body) return request.body;
  headers.delete("content-length"); // a value may be longer than what stands for it
  return request.body.pipeThrough(through.stream(leaked));
}
