/**
 * What takes the place of servers for a box with secrets, or whose requests hooks decide about: HTTP and
 * TLS end here, by Deno's own stack, and go on from here with the secrets in them. `ffi/net/gate.c` sends it the connections.
 *
 * @module
 */
import { type Issuer, type KeyPair } from "./authority.ts";
import { DoorAsker } from "./door.ts";
import { acceptAll, close, type Duplex, join, readHead, Valve, writeAll } from "./pipe.ts";
import { handle } from "./requests.ts";
import { type InterceptedSecret, Leak, Swapper } from "./swap.ts";
import { type Destination, plainClient, Upstream } from "./upstream.ts";

/** Of the line before each connection. */
const LINE_LIMIT = 2_048;
/** Names that have a server of their own at a time. */
const MAX_FRONTS = 256;
/** Connections with both their ends, more of which are refused. */
const MAX_OPEN = 4_000;

/** What an {@link Interceptor} is made with. */
export interface InterceptorOptions {
  /** Unix socket on which connections come, each behind a line `tls|http ADDRESS PORT NAME DOOR`. */
  readonly socketPath: string;
  readonly issuer: Issuer;
  readonly secrets: readonly InterceptedSecret[];
  /** Authorities of servers beside Deno's own, as PEM. */
  readonly caCerts: readonly string[];
  /** A placeholder was sent to a host that mustn't have the secret; nothing of it went on. */
  readonly leaked: (leak: { readonly secret: string } & Destination) => void;
  /** A hook denied a request: `HOW PLUGIN`. */
  readonly hooked: (denial: { readonly how: string } & Destination) => void;
}

/** A connection of the box's. */
interface Flow {
  readonly destination: Destination;
  readonly client: Deno.HttpClient;
  /** Where its requests are asked about: `PORT-TOKEN`, or `-` for nowhere. */
  readonly door: string;
  /** Where what the box says waits. */
  readonly valve: Valve;
}

/** A running interceptor. */
export class Interceptor implements AsyncDisposable {
  readonly #options: InterceptorOptions;
  readonly #listener: Deno.UnixListener;
  readonly #upstream: Upstream;
  /** Servers that speak TLS in a name's place, by their names. */
  readonly #fronts = new Map<string, Promise<Deno.HttpServer<Deno.NetAddr>>>();
  /** Where connections to them are going, by the ports that they come from. */
  readonly #flows = new Map<number, Flow>();
  readonly #plainFront = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request, { remoteAddr }) => this.#answer(request, remoteAddr.port),
  );
  readonly #asker = new DoorAsker();
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

  /** HTTP ends at a server in the name's place; by TLS with a certificate for it. */
  async #take(connection: Deno.UnixConn): Promise<void> {
    const { head, rest } = await readHead(connection, "\n", LINE_LIMIT);
    const [kind, address = "", port, name = "", door = "-"] = head.split(" ");
    const destination = { name, address, port: Number(port), secure: kind === "tls" };
    const front = destination.secure ? await this.#frontOf(name) : this.#plainFront;
    const client = destination.secure ? this.#upstream.client : plainClient(destination);
    const inner = await Deno.connect({ hostname: "127.0.0.1", port: front.addr.port });
    const { port: from } = inner.localAddr;
    const valve = new Valve();
    this.#flows.set(from, { destination, client, door, valve });
    this.#open.add(inner);
    if (destination.secure) this.#upstream.remember(destination);
    try {
      await writeAll(inner, rest);
      await join(connection, inner, { forth: valve });
    } finally {
      this.#open.delete(inner);
      this.#flows.delete(from);
      close(inner);
      if (!destination.secure) client.close();
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
      (request, { remoteAddr }) => this.#answer(request, remoteAddr.port),
    );
  }

  async #answer(request: Request, from: number): Promise<Response> {
    // Others on this machine can connect as well.
    const flow = this.#flows.get(from);
    if (!flow) return new Response(null, { status: 403 });
    const { destination, client, door, valve } = flow;
    const { secrets, caCerts, hooked } = this.#options;
    return await handle(request, {
      ...{ destination, client, caCerts, valve },
      // Without TLS nothing is replaced, and no placeholder of a secret goes on.
      swapper: new Swapper(secrets, destination.secure ? destination.name : undefined),
      leaked: (leak) => this.#tell(leak, destination),
      door: door === "-" ? undefined : { asker: this.#asker, word: door },
      denied: (how) => hooked({ how, ...destination }),
    });
  }

  #tell({ secret }: Leak, destination: Destination): void {
    this.#options.leaked({ secret, ...destination });
  }

  /** Ends all connections at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#open) close(connection);
    const fronts = await Promise.allSettled([this.#plainFront, ...this.#fronts.values()]);
    this.#upstream[Symbol.dispose]();
    await this.#asker[Symbol.asyncDispose]();
    await Promise.allSettled(
      fronts.map((front) => front.status === "fulfilled" ? front.value.shutdown() : undefined),
    );
  }
}
