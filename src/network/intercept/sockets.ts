/**
 * WebSockets of a box, joined to those of their servers.
 *
 * @module
 */
import { close, type Duplex, join, readHead, Valve, writeAll } from "./pipe.ts";
import { type Destination, dial } from "./upstream.ts";

/** So much may wait to be sent before nothing more is taken. */
const HIGH_BYTES = 4 * 2 ** 20;
const LOW_BYTES = 2 ** 20;
/** How often it is looked whether it has gone: nothing tells. In `ms`. */
const LOOK_MS = 10;
const HEAD_LIMIT = 8 * 1024;

/** The way of a WebSocket. */
export interface SocketWay {
  readonly destination: Destination;
  /** Authorities of servers beside Deno's own, as PEM. */
  readonly caCerts: readonly string[];
  /** Where what the box says waits. */
  readonly valve: Valve;
}

/** A way to a server of one connection's own, so that it can be held up. */
class Relay implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Duplex>();
  readonly port = this.#listener.addr.port;
  /** Where what the server says waits. */
  readonly valve = new Valve();

  constructor(destination: Destination) {
    void this.#take(destination).catch(() => {});
  }

  async #take(destination: Destination): Promise<void> {
    const client: Deno.TcpConn = await this.#listener.accept();
    this.#open.add(client);
    this.#listener.close();
    try {
      const rest = destination.secure ? await tunnel(client) : new Uint8Array();
      const server = await dial(destination);
      this.#open.add(server);
      await writeAll(server, rest);
      await join(client, server, { back: this.valve });
    } finally {
      close(client);
    }
  }

  [Symbol.dispose](): void {
    this.valve.set(true);
    close(this.#listener);
    for (const connection of this.#open) close(connection);
  }
}

/** Answers `CONNECT`, as clients ask for a way of TLS; gives what came behind it. */
async function tunnel(client: Deno.TcpConn): Promise<Uint8Array> {
  const { rest } = await readHead(client, "\r\n\r\n", HEAD_LIMIT);
  await writeAll(client, new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
  return rest;
}

/** The box's WebSocket and one to the server; each message goes to the other as it is. */
export async function joinSockets(
  request: Request,
  { url, headers }: { readonly url: URL; readonly headers: Headers },
  { caCerts, destination, valve }: SocketWay,
): Promise<Response> {
  url.protocol = destination.secure ? "wss:" : "ws:";
  await using stack = new AsyncDisposableStack();
  const relay = stack.use(new Relay(destination));
  const { port } = relay;
  const client = stack.adopt(
    Deno.createHttpClient({
      caCerts: [...caCerts],
      proxy: destination.secure
        ? { url: `http://127.0.0.1:${port}` }
        : { transport: "tcp", hostname: "127.0.0.1", port },
    }),
    (it) => it.close(),
  );
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
    for (const data of early.splice(0)) sendTo(socket, data, relay.valve);
    server.onmessage = ({ data }) => sendTo(socket, data, relay.valve);
    if (server.readyState === WebSocket.CLOSED) socket.close();
  };
  socket.onmessage = ({ data }) => sendTo(server, data, valve);
  const kept = stack.move();
  server.onclose = ({ code, reason }) => {
    closeAs(socket, code, reason);
    void kept.disposeAsync();
  };
  socket.onclose = ({ code, reason }) => closeAs(server, code, reason);
  server.onerror = socket.onerror = () => {}; // the close comes after it
  return response;
}

/** What comes waits, from the connection it comes by on, while much of it hasn't gone yet. */
function sendTo(socket: WebSocket, data: string | ArrayBuffer, valve: Valve): void {
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(data);
  if (socket.bufferedAmount < HIGH_BYTES || !valve.isOpen) return;
  valve.set(false);
  const look = setInterval(() => {
    const open = socket.readyState === WebSocket.OPEN;
    if (open && socket.bufferedAmount > LOW_BYTES) return;
    clearInterval(look);
    valve.set(true);
  }, LOOK_MS);
}

/** Codes that an endpoint may not send itself mean that there was none. */
function closeAs(socket: WebSocket, code: number, reason: string): void {
  if (socket.readyState >= WebSocket.CLOSING) return;
  if (code === 1000 || (code >= 3000 && code < 5000)) socket.close(code, reason);
  else socket.close();
}
