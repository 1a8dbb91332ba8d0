/**
 * What goes through the interceptor of a box's secrets, which takes TLS apart and puts it together again,
 * against the same straight between its client and its server: without a machine, on the loopback.
 *
 * @module
 */
import { join } from "node:path";
import { Issuer, makeAuthority } from "../../src/network/intercept/authority.ts";
import { INTERCEPTOR_MODULE, type InterceptorInput } from "../../src/network/intercept/input.ts";
import { join as joinConnections, readHead, writeAll } from "../../src/network/intercept/pipe.ts";
import { type Figure, figure } from "./stats.ts";

const MIB = 128;
const REQUESTS = 300;
const NAME = "bench.test";

/** Runs the benchmark with an interceptor's own process below `folder`. */
export async function benchInterceptor(folder: string, runs: number): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack();
  const mib = Number(Deno.env.get("BENCH_INTERCEPTOR_MIB") ?? MIB);
  const [own, theirs] = await Promise.all([makeAuthority(), makeAuthority()]);
  const { certificate, key } = await (await Issuer.of(theirs)).issue(NAME);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, cert: certificate, key, onListen() {} },
    async (request) => {
      let bytes = 0;
      for await (const piece of request.body ?? []) bytes += piece.length;
      return new Response(`${bytes}`);
    },
  );
  stack.defer(() => server.shutdown());
  const socketPath = join(folder, "interceptor");
  const input: InterceptorInput = {
    ...{ socketPath, controlPath: join(folder, "none"), authority: own },
    secrets: [{
      ...{ name: "TOKEN", value: "a value", placeholder: "hutch-secret-of-the-benchmark" },
      ...{ hosts: [NAME], places: ["header"] },
    }],
    caCerts: [theirs.certificate],
  };
  await startInterceptor(stack, input);
  const straight = proxy(stack, (connection, rest) => pass(connection, rest, server.addr.port));
  const through = proxy(stack, async (connection, rest) => {
    const inner = await Deno.connect({ transport: "unix", path: socketPath });
    const line = `tls 127.0.0.1 ${server.addr.port} ${NAME} -\n`;
    await writeAll(inner, new TextEncoder().encode(line));
    await writeAll(inner, rest);
    await joinConnections(connection, inner);
  });
  const ways = [
    [clientOf(stack, straight, theirs.certificate), "floors"],
    [clientOf(stack, through, own.certificate), "ours"],
  ] as const;
  const sent = { ours: [] as number[], floors: [] as number[] };
  const asked = { ours: [] as number[], floors: [] as number[] };
  for (let run = 0; run < runs; run++) {
    for (const [client, into] of ways) {
      await ask(client, 1); // its connection is made
      const from = performance.now();
      await ask(client, mib * 2 ** 20);
      sent[into].push(mib / ((performance.now() - from) / 1_000));
      const begun = performance.now();
      for (let i = 0; i < REQUESTS; i++) await ask(client, 10);
      asked[into].push((performance.now() - begun) / REQUESTS);
    }
  }
  const floorName = "straight";
  return [
    figure({ name: `interceptor: ${mib} MiB of a request`, ...sent, floorName, unit: "MiB/s" }),
    figure({
      name: "interceptor: a request on a kept connection",
      ...asked,
      floorName,
      unit: "ms",
    }),
  ];
}

async function startInterceptor(
  stack: AsyncDisposableStack,
  input: InterceptorInput,
): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", INTERCEPTOR_MODULE],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  stack.defer(async () => {
    await writer.close();
    await child.status;
    await child.stdout.cancel();
  });
  await writer.write(new TextEncoder().encode(`${JSON.stringify(input)}\n`));
  const reader = child.stdout.getReader();
  if ((await reader.read()).done) throw new Error("the interceptor ended");
  reader.releaseLock();
}

/** A proxy that gives each connection to `take`, with what came behind its head. */
function proxy(
  stack: AsyncDisposableStack,
  take: (connection: Deno.TcpConn, rest: Uint8Array) => Promise<void>,
): number {
  const listener = stack.adopt(Deno.listen({ hostname: "127.0.0.1", port: 0 }), (it) => it.close());
  void (async () => {
    for await (const connection of listener) {
      void (async () => {
        const { rest } = await readHead(connection, "\r\n\r\n", 8192);
        await writeAll(connection, new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
        await take(connection, rest);
      })().catch(() => {});
    }
  })();
  return listener.addr.port;
}

async function pass(connection: Deno.TcpConn, rest: Uint8Array, port: number): Promise<void> {
  const inner = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(inner, rest);
  await joinConnections(connection, inner);
}

function clientOf(stack: AsyncDisposableStack, port: number, ca: string): Deno.HttpClient {
  const made = Deno.createHttpClient({ caCerts: [ca], proxy: { url: `http://127.0.0.1:${port}` } });
  return stack.adopt(made, (client) => client.close());
}

async function ask(client: Deno.HttpClient, bytes: number): Promise<void> {
  const piece = new Uint8Array(Math.min(bytes, 256 * 1024));
  let left = bytes;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left > 0) controller.enqueue(piece.subarray(0, Math.min(left, piece.length)));
      left -= Math.min(left, piece.length);
      if (left === 0) controller.close();
    },
  });
  const headers = { authorization: "Bearer hutch-secret-of-the-benchmark" };
  const answer = await fetch(`https://${NAME}/`, { method: "POST", body, headers, client });
  if (await answer.text() !== `${bytes}`) throw new Error(`the server says ${answer.status}`);
}
