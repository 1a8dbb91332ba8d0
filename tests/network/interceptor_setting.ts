/** An interceptor between a real client and real servers, whose TLS is by an authority of its own each. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Issuer, type KeyPair, makeAuthority } from "../../src/network/intercept/authority.ts";
import { Interceptor } from "../../src/network/intercept/interceptor.ts";
import { join as joinConnections, readHead, writeAll } from "../../src/network/intercept/pipe.ts";
import type { InterceptedSecret } from "../../src/network/intercept/swap.ts";
import { TempFolder } from "../support/temp.ts";

export const VALUE = "the value/of it";
export const SECRET: InterceptedSecret = {
  name: "TOKEN",
  value: VALUE,
  placeholder: "hutch-secret-0123456789abcdef0123456789abcdef",
  hosts: ["api.test", "*.sub.test"],
  places: ["header"],
};

/** A server, an interceptor before it, and a client behind that: whoever it asks for is the server. */
export class Setting implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly client: Deno.HttpClient;
  readonly leaks: string[];
  /** What hooks denied. */
  readonly hooked: string[];
  readonly socketPath: string;
  readonly port: number;

  private constructor(
    stack: AsyncDisposableStack,
    given: Pick<Setting, "client" | "leaks" | "hooked" | "socketPath" | "port">,
  ) {
    this.#stack = stack;
    this.client = given.client;
    this.leaks = given.leaks;
    this.hooked = given.hooked;
    this.socketPath = given.socketPath;
    this.port = given.port;
  }

  static async make(
    handler: (request: Request) => Response | Promise<Response>,
    secret: Partial<InterceptedSecret> = {},
    http2 = true,
    door = "-",
  ): Promise<Setting> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(new TempFolder());
    const [own, theirs] = await Promise.all([makeAuthority(), makeAuthority()]);
    const names = ["api.test", "x.sub.test", "other.test"];
    const port = await serve(stack, theirs, names, handler);
    const leaks: string[] = [];
    const hooked: string[] = [];
    const socketPath = join(folder.path, "s");
    stack.use(
      new Interceptor({
        socketPath,
        issuer: await Issuer.of(own),
        secrets: [{ ...SECRET, ...secret }],
        caCerts: [theirs.certificate],
        leaked: ({ secret, name }) => void leaks.push(`${secret} ${name}`),
        hooked: ({ how, name }) => void hooked.push(`${how} ${name}`),
      }),
    );
    const proxy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    stack.defer(() => proxy.close());
    void (async () => {
      for await (const connection of proxy) {
        void tunnel(connection, { socketPath, port, door }).catch(() => {});
      }
    })();
    const client = Deno.createHttpClient({
      caCerts: [own.certificate],
      proxy: { url: `http://127.0.0.1:${proxy.addr.port}` },
      http2,
    });
    stack.defer(() => client.close());
    return new Setting(stack.move(), { client, leaks, hooked, socketPath, port });
  }

  fetch(url: string, init: RequestInit = {}): Promise<Response> {
    return fetch(url, { ...init, client: this.client });
  }

  /**
   * Sends so many `MiB` to `/echo`, whose server gives back what it gets, and checks what comes; how many
   * `MiB` this process had more than before, at most.
   */
  async echoed(mib: number): Promise<number> {
    const piece = 2 ** 18;
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(piece).fill(sent / piece));
        sent += piece;
        if (sent === mib * 2 ** 20) controller.close();
      },
    });
    const answer = await this.fetch("https://api.test/echo", { method: "POST", body });
    const before = Deno.memoryUsage().rss;
    let got = 0;
    let most = before;
    for await (const bytes of answer.body ?? []) {
      assert.equal(bytes[0], Math.floor(got / piece) % 256, `the byte at ${got}`);
      got += bytes.length;
      most = Math.max(most, Deno.memoryUsage().rss);
    }
    assert.equal(got, mib * 2 ** 20);
    return (most - before) / 2 ** 20;
  }

  /** What a server says to a request without TLS, as it is written: all of it, up to the connection's end. */
  async plain(line: string, text: string): Promise<string> {
    const connection = await Deno.connect({ transport: "unix", path: this.socketPath });
    await writeAll(connection, new TextEncoder().encode(`${line}\n${text}`));
    return await new Response(connection.readable).text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}

/** One certificate for all names, by a server for each that the tests need: the first says them all. */
async function serve(
  stack: AsyncDisposableStack,
  authority: KeyPair,
  names: readonly string[],
  handler: (request: Request) => Response | Promise<Response>,
): Promise<number> {
  const issuer = await Issuer.of(authority);
  const fronts = new Map<string, number>();
  for (const name of names) {
    const { certificate, key } = await issuer.issue(name);
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, cert: certificate, key, onListen() {} },
      handler,
    );
    stack.defer(() => server.shutdown());
    fronts.set(name, server.addr.port);
  }
  ports.set(fronts.get("api.test") ?? 0, fronts);
  return fronts.get("api.test") ?? 0;
}

/** Servers of other names, by the port of `api.test`. */
const ports = new Map<number, ReadonlyMap<string, number>>();

export async function tunnel(
  connection: Deno.TcpConn,
  { socketPath, port, door = "-" }: {
    readonly socketPath: string;
    readonly port: number;
    readonly door?: string;
  },
): Promise<void> {
  const { head, rest } = await readHead(connection, "\r\n\r\n", 8192);
  const [, name = ""] = /^CONNECT ([^:]+):/.exec(head) ?? [];
  const inner = await Deno.connect({ transport: "unix", path: socketPath });
  const to = ports.get(port)?.get(name) ?? port;
  await writeAll(inner, new TextEncoder().encode(`tls 127.0.0.1 ${to} ${name} ${door}\n`));
  await writeAll(inner, rest);
  await writeAll(connection, new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
  await joinConnections(connection, inner);
}
