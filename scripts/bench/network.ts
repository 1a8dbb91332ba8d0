/**
 * Transfers between this machine and a box, round trips and new connections, against the same through a
 * `hutch-net` that looks at no frame; and by a rule for a name, against the same without rules. All
 * of it on the loopback. New connections that a plugin is asked about, against those that none is.
 *
 * @module
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Box, type BoxOptions, Runtime } from "../../mod.ts";
import { buildTarget } from "../../ffi/build.ts";
import { PARTS, targetOf } from "../../ffi/parts.ts";
import { fakeResolver } from "../../tests/e2e/network_peers.ts";
import type { BootSetting } from "./boot.ts";
import { type Figure, figure } from "./stats.ts";

/** What goes through a connection, in `MiB`; the emulated machine takes long. */
const MIB = 64;
const LAB_MIB = 8;
const CONNECTIONS = 200;
const TRIPS = 1_000;
const PORT = 7000;
const GATEWAY = "10.213.77.1";
const NAME = "bench.test";
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Runs the benchmark on two boxes, in turn. */
export async function benchNetwork(setting: BootSetting): Promise<Figure[]> {
  const { engine, runs, bare, lab } = setting;
  const mib = lab ? LAB_MIB : MIB;
  const bytes = mib * 2 ** 20;
  const guest = join(bare.folder, "net_guest");
  await build(guest);
  const plain = await unfiltered();
  await using ours = await start(setting);
  Deno.env.set("HUTCH_NET", plain);
  await using floor = await start(setting);
  Deno.env.delete("HUTCH_NET");
  using host = new Host();
  using resolver = await fakeResolver({ [NAME]: GATEWAY });
  await using named = await start(setting, {
    allowNet: [NAME],
    dns: [`127.0.0.1:${resolver.port}`],
  });
  await named.exec("nslookup", ["-type=a", NAME]);
  await using decided = await startDecided(setting);
  const ways = [
    ["from a box to this machine", toHost],
    ["from this machine to a published port", toBox],
  ] as const;
  const figures: Figure[] = [];
  for (const [name, way] of ways) {
    const measured = { ours: [] as number[], floors: [] as number[] };
    for (let run = 0; run < runs; run++) {
      measured.floors.push(await way(floor, host, bytes));
      measured.ours.push(await way(ours, host, bytes));
    }
    figures.push(figure({
      name: `${engine}: ${mib} MiB ${name}`,
      ...measured,
      floorName: "without the filter",
      unit: "MiB/s",
      target: { atLeast: 0.9 },
    }));
  }
  const pairs = { ours: [] as number[], floors: [] as number[] };
  const news = { ours: [] as number[], floors: [] as number[] };
  for (let run = 0; run < runs; run++) {
    pairs.floors.push(await toHost(ours, host, bytes));
    pairs.ours.push(await toHost(named, host, bytes));
    news.floors.push(await rateOf(ours, host));
    news.ours.push(await rateOf(named, host));
  }
  const byName = { floorName: "without rules", target: { atLeast: 0.5 } };
  figures.push(
    figure({
      name: `${engine}: ${mib} MiB to this machine by name`,
      ...pairs,
      ...byName,
      unit: "MiB/s",
    }),
    figure({ name: `${engine}: new connections by name`, ...news, ...byName, unit: "/s" }),
  );
  const rates = { ours: [] as number[], floors: [] as number[] };
  for (let run = 0; run < runs; run++) {
    rates.floors.push(await rateOf(floor, host));
    rates.ours.push(await rateOf(ours, host));
  }
  figures.push(figure({
    name: `${engine}: new connections of a box`,
    ...rates,
    floorName: "without the filter",
    unit: "/s",
    target: { atLeast: 0.9 },
  }));
  figures.push(...await trips(setting, { host, floor, ours, named }));
  const asked = { ours: [] as number[], floors: [] as number[] };
  for (let run = 0; run < runs; run++) {
    asked.floors.push(await rateOf(ours, host));
    asked.ours.push(await rateOf(decided.box, host));
  }
  figures.push(figure({
    name: `${engine}: new connections with a plugin's word`,
    ...asked,
    floorName: "without",
    unit: "/s",
  }));
  return figures;
}

/** What looking at frames adds to a round trip, and what a rule for a name adds to that. */
async function trips(
  { engine, runs }: BootSetting,
  { host, floor, ours, named }: {
    readonly host: Host;
    readonly floor: Box;
    readonly ours: Box;
    readonly named: Box;
  },
): Promise<Figure[]> {
  const plain = { ours: [] as number[], floors: [] as number[] };
  const byName = { ours: [] as number[], floors: [] as number[] };
  for (let run = 0; run < runs; run++) {
    plain.floors.push(await tripOf(floor, host));
    const own = await tripOf(ours, host);
    plain.ours.push(own);
    byName.floors.push(own);
    byName.ours.push(await tripOf(named, host));
  }
  return [
    figure({
      name: `${engine}: round trip to this machine`,
      ...plain,
      floorName: "without the filter",
      unit: "ms",
    }),
    figure({
      name: `${engine}: round trip to this machine by name`,
      ...byName,
      floorName: "without rules",
      unit: "ms",
    }),
  ];
}

/** A box of a runtime whose plugin is asked about each connection. */
async function startDecided(
  setting: BootSetting,
): Promise<AsyncDisposable & { readonly box: Box }> {
  const runtime = await Runtime.open({
    home: join(setting.bare.folder, "home"),
    plugins: [{ name: "decider", network: { onConnect() {} } }],
  });
  const box = await start({ ...setting, runtime });
  return { box, [Symbol.asyncDispose]: () => runtime.close() };
}

async function start(
  { runtime, engine, bare }: BootSetting,
  more: Partial<BoxOptions> = {},
): Promise<Box> {
  const box = await runtime.create({
    ...{ image: "builtin:busybox", engine, memory: bare.memoryMiB, network: "open" },
    ports: [`${PORT}`],
    volumes: [`${bare.folder}/net_guest:/guest:ro`],
    ...more,
  });
  await box.exec("/guest", ["serve", `${PORT}`]);
  return box;
}

/** In `MiB` per second. */
async function toHost(box: Box, host: Host, bytes: number): Promise<number> {
  const from = performance.now();
  const { stdout } = await box.exec("/guest", ["put", GATEWAY, `${host.port}`, `${bytes}`]);
  if (stdout.trim() !== String(bytes)) throw new Error(`the box says: ${stdout}`);
  return bytes / 2 ** 20 / ((performance.now() - from) / 1000);
}

/** In `MiB` per second. */
async function toBox(box: Box, _host: Host, bytes: number): Promise<number> {
  using connection = await Deno.connect({ port: box.ports[0]?.hostPort ?? 0 });
  const from = performance.now();
  await connection.write(new TextEncoder().encode("d\n"));
  const chunk = new Uint8Array(256 * 1024);
  for (let left = bytes; left > 0;) {
    left -= await connection.write(chunk.subarray(0, Math.min(left, chunk.length)));
  }
  await connection.closeWrite();
  const said = await new Response(connection.readable).text();
  if (said.trim() !== String(bytes)) throw new Error(`the box says: ${said}`);
  return bytes / 2 ** 20 / ((performance.now() - from) / 1000);
}

async function rateOf(box: Box, host: Host): Promise<number> {
  const args = ["rate", GATEWAY, `${host.port}`, `${CONNECTIONS}`];
  return Number((await box.exec("/guest", args)).stdout);
}

/** In `ms`. */
async function tripOf(box: Box, host: Host): Promise<number> {
  const args = ["trips", GATEWAY, `${host.echoPort}`, `${TRIPS}`];
  return Number((await box.exec("/guest", args)).stdout);
}

/** Counts what comes, and says how much it was; or says it back. */
class Host implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly port = this.#listener.addr.port;
  readonly echoPort = this.#echo.addr.port;

  constructor() {
    void (async () => {
      for await (const connection of this.#listener) void count(connection).catch(() => {});
    })();
    void (async () => {
      for await (const connection of this.#echo) {
        connection.setNoDelay(true);
        void connection.readable.pipeTo(connection.writable).catch(() => {});
      }
    })();
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    this.#echo.close();
  }
}

async function count(connection: Deno.Conn): Promise<void> {
  using _closed = connection;
  const buffer = new Uint8Array(256 * 1024);
  let bytes = 0;
  for (let n; (n = await connection.read(buffer)) !== null;) bytes += n;
  await connection.write(new TextEncoder().encode(`${bytes}\n`));
}

async function build(output: string): Promise<void> {
  const source = join(ROOT, "tests/e2e/net_guest.c");
  const args = ["-std=gnu11", "-O2", "-static", "-s", "-o", output, source];
  const { code, stderr } = await new Deno.Command("cc", { args }).output();
  if (code !== 0) throw new Error(`cc: ${new TextDecoder().decode(stderr)}`);
}

/** The same program without its filter. */
async function unfiltered(): Promise<string> {
  const output = join(ROOT, "build", "bench", "hutch-net");
  const target = targetOf(PARTS.net, join(ROOT, "ffi"), { output, strict: true });
  const flags = [...target.flags, "-DHUTCH_NET_UNFILTERED", "-Wno-unused"];
  await buildTarget({ ...target, flags });
  return output;
}
