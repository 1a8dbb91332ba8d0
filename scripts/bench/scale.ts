/**
 * A home with ten thousand boxes: opening it, listing them, finding one.
 *
 * @module
 */
import { NO_NETWORK } from "../../src/network/options.ts";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BoxConfig, Runtime } from "../../mod.ts";
import { writeBoxFile } from "../../src/box/box_file.ts";
import { boxPaths, pathsOf } from "../../src/runtime/paths.ts";
import { listQuery } from "../../src/state/box_list.ts";
import { BoxRecords, NEW_STATE } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { type Figure, figure, timed } from "./stats.ts";

const BOXES = 10_000;
const LOOKUPS = 200;
const COMMANDS = [["ls", "-a"], ["ls", "-a", "--json"], ["ls", "-a", "--limit", "50"]];
const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** Runs the benchmark in homes of its own below `folder`. */
export async function benchScale(folder: string, runs: number): Promise<Figure[]> {
  const [home, empty] = [join(folder, "many"), join(folder, "none")];
  const ids = await fill(home);
  await (await Runtime.open({ home: empty })).close();
  const found: Record<"opens" | "emptyOpens" | "lists" | "alls" | "wholes" | "pages", number[]> = {
    opens: [],
    emptyOpens: [],
    lists: [],
    alls: [],
    wholes: [],
    pages: [],
  };
  const lookups: Record<"id" | "name" | "prefix", number[]> = { id: [], name: [], prefix: [] };
  for (let run = 0; run < runs; run++) {
    found.emptyOpens.push(await timedOpen(empty));
    found.opens.push(await timedOpen(home));
    await using runtime = await Runtime.open({ home });
    found.lists.push(await timed(() => runtime.list()));
    found.alls.push(
      await timed(async () => {
        const { length } = await runtime.list({ all: true });
        if (length !== BOXES) throw new Error(`${length} boxes were listed`);
      }),
    );
    found.wholes.push(
      await timed(async () => {
        const cpus = (await runtime.list({ all: true })).map(({ config }) => config.cpus);
        if (cpus.length !== BOXES) throw new Error(`${cpus.length} boxes were listed`);
      }),
    );
    const filter = { labels: { shard: "7" }, sort: "name", limit: 50 } as const;
    found.pages.push(await timed(() => runtime.list({ ...filter, all: true })));
    const words = {
      id: (at: number) => ids[at] ?? "",
      name: (at: number) => `box-${at}`,
      prefix: (at: number) => ids[at]?.slice(0, 10) ?? "",
    };
    for (const kind of ["id", "name", "prefix"] as const) {
      const ms = await timed(async () => {
        for (let n = 0; n < LOOKUPS; n++) {
          await runtime.get(words[kind]((n * 7919 + run * 31) % BOXES));
        }
      });
      lookups[kind].push(ms / LOOKUPS);
    }
  }
  const reads = await readings(home, runs);
  const commands = COMMANDS.map((words) => {
    const ours: number[] = [];
    const floors: number[] = [];
    return { words, ours, floors };
  });
  for (let run = 0; run < Math.min(runs, 5); run++) {
    for (const { words, ours, floors } of commands) {
      floors.push(await timed(() => hutch(empty, ...words)));
      ours.push(await timed(() => hutch(home, ...words)));
    }
  }
  const ms = { unit: "ms" } as const;
  return [
    figure({ ...ms, name: "10,000 boxes: open", ours: found.opens, target: { atMost: 50 } }),
    figure({ ...ms, name: "no boxes: open", ours: found.emptyOpens }),
    figure({ ...ms, name: "10,000 boxes: list", ours: found.lists, target: { atMost: 100 } }),
    figure({
      ...ms,
      name: "10,000 boxes: list all",
      ours: found.alls,
      target: { atMost: 100 },
    }),
    figure({
      ...ms,
      name: "10,000 boxes: list all, with configurations",
      ours: found.wholes,
      floors: reads,
      floorName: "reading the rows and their JSON",
      target: { atMost: 2 },
    }),
    figure({
      ...ms,
      name: "10,000 boxes: 50 of a label",
      ours: found.pages,
      target: { atMost: 20 },
    }),
    ...(["id", "name", "prefix"] as const).map((kind) =>
      figure({
        ...ms,
        name: `10,000 boxes: get by ${kind}`,
        ours: lookups[kind],
        target: { atMost: 1 },
      })
    ),
    ...commands.map(({ words, ours, floors }) =>
      figure({
        ...ms,
        name: `10,000 boxes: hutch ${words.join(" ")}, as a process`,
        ours,
        floors,
        floorName: "of none",
      })
    ),
  ];
}

/** Makes a home with boxes that don't run; gives their ids. */
async function fill(home: string): Promise<string[]> {
  await (await Runtime.open({ home })).close();
  const paths = pathsOf(home);
  using database = openDatabase(paths.database);
  const records = new BoxRecords(database, (config) => {
    writeBoxFile(boxPaths(paths, config.id), config);
  });
  const ids: string[] = [];
  for (let n = 0; n < BOXES; n++) {
    // Spread as random ones are, and the same in each run.
    const id = (n * 0x9e3779b97f4a % 2 ** 48).toString(16).padStart(12, "0").slice(-12);
    const one = config(id, n);
    records.add(one);
    if (n % 3 > 0) {
      records.change(id, 0, {
        ...NEW_STATE,
        status: n % 3 === 1 ? "stopped" : "crashed",
        engine: "qemu",
        startedAt: one.createdAt,
        stoppedAt: one.createdAt,
        reason: n % 3 === 1 ? null : "the guest ended by itself",
        stages: { layout: 1, image: 2, system: 2, disk: 8, boot: 90, connect: 210, configure: 12 },
      });
    }
    ids.push(id);
  }
  return ids;
}

function config(id: string, n: number): BoxConfig {
  return {
    id,
    version: 1,
    name: `box-${n}`,
    createdAt: new Date(1.7e12 + n * 1000).toISOString(),
    image: {
      reference: "registry:docker.io/library/debian:12",
      digest: `sha256:${"0123456789abcdef".repeat(4)}`,
    },
    cpus: 2,
    memoryMiB: 512,
    diskMiB: 10240,
    hostname: `box-${n}`,
    labels: { shard: String(n % 100), team: "web" },
    engine: "auto",
    autoRemove: false,
    owned: false,
    bootTimeoutMs: 30_000,
    volumes: [],
    network: NO_NETWORK,
    maxDurationMs: null,
    idleTimeoutMs: null,
    restart: "no",
    health: null,
    main: null,
    init: null,
    stopSignal: "",
    log: { maxBytes: 10 * 2 ** 20, files: 3 },
    exec: {
      env: {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        LANG: "C.UTF-8",
      },
      cwd: "/",
      user: "",
    },
    entrypoint: [],
    command: ["/bin/sh", "-c", "sleep infinity"],
  };
}

/** What a list of all can't be faster than: the same rows, and their JSON parsed. */
async function readings(home: string, runs: number): Promise<number[]> {
  using database = openDatabase(pathsOf(home).database);
  const { sql } = listQuery({});
  const found: number[] = [];
  for (let run = 0; run < runs; run++) {
    const ms = await timed(() => {
      for (const { config, document } of database.prepare(sql).all()) {
        JSON.parse(String(config));
        JSON.parse(String(document));
      }
      return Promise.resolve();
    });
    found.push(ms);
  }
  return found;
}

async function timedOpen(home: string): Promise<number> {
  const from = performance.now();
  await using _runtime = await Runtime.open({ home });
  return performance.now() - from;
}

async function hutch(home: string, ...args: string[]): Promise<void> {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-prompt", MAIN, "--no-config", "--home", home, ...args],
    stdin: "null",
    stdout: "null",
  }).output();
  if (code !== 0) throw new Error(`hutch ended with code ${code}`);
}
