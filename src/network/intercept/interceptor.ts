/**
 * What takes the place of servers for a box with secrets: TLS ends here, by Deno's own stack, and goes
 * on from here with the secrets in it. `ffi/net/gate.c` sends it the connections.
 *
 * @module
 */
import { type Issuer, type KeyPair } from "./authority.ts";
import { acceptAll, close, type Duplex, join, readHead, writeAll } from "./pipe.ts";
import { passOn } from "./requests.ts";
import { type InterceptedSecret, Leak, Swapper } from "./swap.ts";
import { type Destination, dial, Upstream } from "./upstream.ts";

/** Of the line before each connection. */
const LINE_LIMIT = 1_024;
/** Names that have a server of their own at a time. */
const MAX_FRONTS = 256;
/** Connections with both their ends, more of which are refused. */
const MAX_OPEN = 4_000;

/** What an {@link Interceptor} is made with. */
export interface InterceptorOptions {
  /** Unix socket on which connections come, each behind a line `tls|http ADDRESS PORT NAME`. */
  readonly socketPath: string;
  readonly issuer: Issuer;
  readonly secrets: readonly InterceptedSecret[];
  /** Authorities of servers beside Deno's own, as PEM. */
  readonly caCerts: readonly string[];
  /** A placeholder was sent to a host that mustn't have the secret; nothing of it went on. */
  readonly leaked: (leak: { readonly secret: string } & Destination) => void;
}

/** A running interceptor. */
export class Interceptor implements AsyncDisposable {
  readonly #options: InterceptorOptions;
  readonly #listener: Deno.UnixListener;
  readonly #upstream: Upstream;
  /** Servers that speak TLS in a name's place, by their names. */
  readonly #fronts = new Map<string, Promise<Deno.HttpServer<Deno.NetAddr>>>();
  /** Where connections to them are going, by the ports that they come from. */
  readonly #flows = new Map<number, Destination>();
  readonly #open = new Set<Duplex>();

  /** Listens from here on. */
  constructor(options: InterceptorOptions) {
    this.#options = options;
    this.#upstream = new Upstream(options.caCerts);
    this.#listener = Deno.listen({ transport: "unix", path: options.socketPath });
    void acceptAll(this.#listener, (connection) => this.#begin(connection));
  }

  #begin(connection: Deno.UnixConn): void {
    if (this.#open.size >= MAX_OPEN) return close(connection);
    this.#open.add(connection);
    void this.#take(connection).catch(() => {}).finally(() => {
      this.#open.delete(connection);
      close(connection);
    });
  }

  async #take(connection: Deno.UnixConn): Promise<void> {
    const { head, rest } = await readHead(connection, "\n", LINE_LIMIT);
    const [kind, address = "", port, name = ""] = head.split(" ");
    const destination = { name, address, port: Number(port) };
    if (kind === "http") await this.#watch(connection, destination, rest);
    else await this.#end(connection, destination, rest);
  }

  /** Without TLS nothing is replaced, and no placeholder of a secret goes on. */
  async #watch(
    connection: Deno.UnixConn,
    destination: Destination,
    first: Uint8Array,
  ): Promise<void> {
    const none = this.#options.secrets.map((secret) => ({ ...secret, hosts: [] }));
    const swapper = new Swapper(none, destination.name).body();
    const through = (bytes: Uint8Array) => swapper?.piece(bytes) ?? bytes;
    try {
      const begin = through(first);
      const server = await dial(destination);
      this.#open.add(server);
      try {
        await writeAll(server, begin);
        await join(connection, server, through);
      } finally {
        this.#open.delete(server);
        close(server);
      }
    } catch (error) {
      if (error instanceof Leak) this.#tell(error, destination);
      throw error;
    }
  }

  /** TLS ends at a server in the name's place. */
  async #end(
    connection: Deno.UnixConn,
    destination: Destination,
    first: Uint8Array,
  ): Promise<void> {
    const front = await this.#frontOf(destination.name);
    const inner = await Deno.connect({ hostname: "127.0.0.1", port: front.addr.port });
    const { port } = inner.localAddr;
    this.#flows.set(port, destination);
    this.#open.add(inner);
    this.#upstream.remember(destination);
    try {
      await writeAll(inner, first);
      await join(connection, inner);
    } finally {
      this.#open.delete(inner);
      this.#flows.delete(port);
      close(inner);
    }
  }

  async #frontOf(name: string): Promise<Deno.HttpServer<Deno.NetAddr>> {
    const known = this.#fronts.get(name);
    const front = known ?? this.#options.issuer.issue(name).then((pair) => this.#makeFront(pair));
    this.#fronts.delete(name);
    this.#fronts.set(name, front); // the newest is the last
    const [oldest] = this.#fronts;
    if (this.#fronts.size > MAX_FRONTS && oldest) {
      this.#fronts.delete(oldest[0]);
      void oldest[1].then((server) => server.shutdown()).catch(() => {});
    }
    return await front;
  }

  #makeFront({ certificate, key }: KeyPair): Deno.HttpServer<Deno.NetAddr> {
    return Deno.serve(
      { hostname: "127.0.0.1", port: 0, cert: certificate, key, onListen() {} },
      async (request, { remoteAddr }) => {
        // Others on this machine can connect as well.
        const destination = this.#flows.get(remoteAddr.port);
        if (!destination) return new Response(null, { status: 403 });
        return await passOn(request, {
          destination,
          swapper: new Swapper(this.#options.secrets, destination.name),
          client: this.#upstream.client,
          leaked: (leak) => this.#tell(leak, destination),
        });
      },
    );
  }

  #tell({ secret }: Leak, destination: Destination): void {
    this.#options.leaked({ secret, ...destination });
  }

  /** Ends all connections at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#open) close(connection);
    const fronts = await Promise.allSettled(this.#fronts.values());
    this.#upstream[Symbol.dispose]();
    await Promise.allSettled(
      fronts.map((front) => front.status === "fulfilled" ? front.value.shutdown() : undefined),
    );
  }
}
