/**
 * Requests of a box on their way to their hosts, with its secrets in them.
 *
 * @module
 */
import { Leak, Swapper } from "./swap.ts";
import type { Destination } from "./upstream.ts";

/** What {@link passOn} works with. */
export interface Passing {
  readonly destination: Destination;
  readonly swapper: Swapper;
  readonly client: Deno.HttpClient;
  readonly leaked: (leak: Leak) => void;
}

/** Headers of one connection, not of the message; `host` and its kin are the URL's. */
const OWN_HEADERS = [
  ...["connection", "host", "http2-settings", "keep-alive", "proxy-authorization"],
  ...["proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
];
const WEBSOCKET_HEADER = /^sec-websocket-/;
const BAD_GATEWAY = 502;

/** Sends a request on, and gives its answer. What is said here of failures has no value of a secret. */
export async function passOn(request: Request, passing: Passing): Promise<Response> {
  const { destination, swapper, client } = passing;
  const leaking = new AbortController();
  try {
    const url = urlOf(request, destination, swapper);
    if (!url) return said(421, `this connection is for ${destination.name}`);
    const headers = headersOf(request, swapper);
    if (request.headers.get("upgrade")?.toLowerCase() === "websocket") {
      return await joinSockets(request, url, headers, client);
    }
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
function urlOf(request: Request, { name, port }: Destination, swapper: Swapper): URL | undefined {
  const url = new URL(request.url);
  if (url.hostname.replace(/\.$/, "") !== name) return undefined;
  url.protocol = "https:";
  url.hostname = name;
  url.port = String(port);
  url.search = swapper.text(url.search, "query");
  swapper.text(url.pathname, "query"); // a place where none is replaced
  return url;
}

function headersOf(request: Request, swapper: Swapper): Headers {
  const listed = (request.headers.get("connection") ?? "").toLowerCase().split(/\s*,\s*/);
  const headers = new Headers();
  for (const [name, value] of request.headers) {
    if (OWN_HEADERS.includes(name) || listed.includes(name) || WEBSOCKET_HEADER.test(name)) {
      continue;
    }
    headers.append(name, swapper.header(name, value));
  }
  return headers;
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

/** The box's WebSocket and one to the server; each message goes to the other as it is. */
async function joinSockets(
  request: Request,
  url: URL,
  headers: Headers,
  client: Deno.HttpClient,
): Promise<Response> {
  url.protocol = "wss:";
  const asked = request.headers.get("sec-websocket-protocol")?.split(/\s*,\s*/) ?? [];
  const server = new WebSocket(url, { protocols: asked, headers, client });
  server.binaryType = "arraybuffer";
  await new Promise<void>((resolve, reject) => {
    server.onopen = () => resolve();
    server.onerror = () => reject(new Error("the server doesn't take it"));
  });
  const { socket, response } = Deno.upgradeWebSocket(request, {
    idleTimeout: 0,
    ...server.protocol === "" ? {} : { protocol: server.protocol },
  });
  socket.binaryType = "arraybuffer";
  // What the server says before the box's side is open waits.
  const early: (string | ArrayBuffer)[] = [];
  server.onmessage = ({ data }) => void early.push(data);
  socket.onopen = () => {
    for (const data of early.splice(0)) socket.send(data);
    server.onmessage = ({ data }) => sendTo(socket, data);
    if (server.readyState === WebSocket.CLOSED) socket.close();
  };
  socket.onmessage = ({ data }) => sendTo(server, data);
  server.onclose = ({ code, reason }) => closeAs(socket, code, reason);
  socket.onclose = ({ code, reason }) => closeAs(server, code, reason);
  server.onerror = socket.onerror = () => {}; // the close comes after it
  return response;
}

function sendTo(socket: WebSocket, data: string | ArrayBuffer): void {
  if (socket.readyState === WebSocket.OPEN) socket.send(data);
}

/** Codes that an endpoint may not send itself mean that there was none. */
function closeAs(socket: WebSocket, code: number, reason: string): void {
  if (socket.readyState >= WebSocket.CLOSING) return;
  if (code === 1000 || (code >= 3000 && code < 5000)) socket.close(code, reason);
  else socket.close();
}
