/**
 * The way from the interceptor to servers: HTTP and TLS are Deno's own; the address is the one that
 * the box was going to, which the box's network has looked at, and not what this machine calls so.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { GATEWAYS } from "../addresses.ts";
import { acceptAll, close, join, readHead, writeAll } from "./pipe.ts";

const HEAD_LIMIT = 8 * 1024;
/** More addresses than these aren't remembered at a time. */
const MAX_ADDRESSES = 4_096;

/** Where a connection of the box's was going. */
export interface Destination {
  /** The name that it said, in lower case. */
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** By TLS. */
  readonly secure: boolean;
}

/** Connects to where the box was going; its gateway is this machine. */
export async function dial(
  { address, port }: Pick<Destination, "address" | "port">,
): Promise<Deno.TcpConn> {
  return await Deno.connect({ hostname: hostOf(address), port });
}

function hostOf(address: string): string {
  const [v4, v6] = GATEWAYS;
  return address === v4 ? "127.0.0.1" : address === v6 ? "::1" : address;
}

/** A client for what goes to one place without TLS. */
export function plainClient({ address, port }: Destination): Deno.HttpClient {
  return Deno.createHttpClient({
    proxy: { transport: "tcp", hostname: hostOf(address), port },
  });
}

/** A client for `fetch` and `WebSocket` that knows where names are by {@link Upstream.remember}. */
export class Upstream implements Disposable {
  readonly client: Deno.HttpClient;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #password = randomBytes(24).toString("hex");
  readonly #addresses = new Map<string, Destination>();

  /** @param caCerts Authorities beside Deno's own, as PEM. */
  constructor(caCerts: readonly string[]) {
    this.client = Deno.createHttpClient({
      caCerts: [...caCerts],
      proxy: {
        url: `http://127.0.0.1:${this.#listener.addr.port}`,
        basicAuth: { username: "hutch", password: this.#password },
      },
    });
    void acceptAll(this.#listener, (connection) => {
      void this.#tunnel(connection).catch(() => close(connection));
    });
  }

  /** The last one of a name and port counts. */
  remember(destination: Destination): void {
    const key = `${destination.name}:${destination.port}`;
    this.#addresses.delete(key);
    this.#addresses.set(key, destination);
    const [oldest] = this.#addresses.keys();
    if (this.#addresses.size > MAX_ADDRESSES && oldest !== undefined) {
      this.#addresses.delete(oldest);
    }
  }

  /** Others on this machine can connect as well: they don't know the password. */
  async #tunnel(connection: Deno.TcpConn): Promise<void> {
    const { head, rest } = await readHead(connection, "\r\n\r\n", HEAD_LIMIT);
    const [, target = ""] = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head) ?? [];
    const [, given = ""] = /\r\nproxy-authorization: *basic +(\S+)/i.exec(head) ?? [];
    const known = given === btoa(`hutch:${this.#password}`);
    const destination = known ? this.#addresses.get(target.toLowerCase()) : undefined;
    if (!destination) throw new Error("a connection that isn't the client's own");
    const server = await dial(destination);
    try {
      await writeAll(server, rest);
      await writeAll(connection, new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
    } catch (error) {
      close(server);
      throw error;
    }
    await join(connection, server);
  }

  [Symbol.dispose](): void {
    this.client.close();
    this.#listener.close();
  }
}
