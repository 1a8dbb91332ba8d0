/**
 * What the end-to-end tests share: homes, runtimes on the engine under test, the command line as
 * a process, and a look at what is left behind.
 *
 * `HUTCH_TEST_ENGINE` names the engine: `qemu` (emulation), `qemu-kvm`, `libkrun`. The last two
 * run inside the emulated machine with KVM.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type BoxOptions, type Plugin, Runtime, type RuntimeOptions } from "../../mod.ts";
import { fileURLToPath } from "node:url";
import { helper } from "../../ffi/library.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { ACTIVE } from "../../src/state/boxes.ts";
import { processesOf, until } from "../support/processes.ts";

export { processesOf, until };

helper(); // loaded once, not by the first test that needs it

/** The checkout. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** The command line's module. */
export const MAIN = join(ROOT, "src/cli/main.ts");

/** The engine under test, as tests are told. */
export const TEST_ENGINE = Deno.env.get("HUTCH_TEST_ENGINE") ?? "qemu";
/** The engine's name as boxes are told. */
export const ENGINE = TEST_ENGINE === "libkrun" ? "libkrun" : "qemu";
/** The image of most tests; memory is small so that many fit. */
export const BOX = {
  ...{ image: "builtin:busybox", memory: 128, engine: ENGINE },
  bootTimeoutMs: 180_000, // the emulated machine with KVM is slow, and other tests run beside it
} satisfies BoxOptions;

/** How many starts made the tests' homes: where machines are emulated, the second one's boot is kept. */
export const HOME_STARTS = TEST_ENGINE === "qemu" ? 2 : 1;

/** Where the template is kept for the whole run; without it, it goes with this file's tests. */
const GIVEN = Deno.env.get("HUTCH_TEST_TEMPLATE");
let template: Promise<string> | undefined;

/**
 * A home that already has kernel, system disk, busybox image and its base disk, so that each test
 * has a home of its own without paying for them. They are made once, by a real start.
 */
export async function makeHome(): Promise<string> {
  template ??= makeTemplate();
  const home = await Deno.makeTempDir({ prefix: "hutch-home-" });
  await copyHome(await template, home);
  return home;
}

async function makeTemplate(): Promise<string> {
  if (GIVEN !== undefined && await Deno.stat(GIVEN).then(() => true, () => false)) return GIVEN;
  const home = GIVEN === undefined
    ? await Deno.makeTempDir({ prefix: "hutch-template-" })
    : `${GIVEN}.new`;
  {
    await using runtime = await Runtime.open({ home });
    for (let start = 0; start < HOME_STARTS; start++) {
      await using box = await runtime.create(BOX);
      await box.exec("true");
    }
  }
  if (GIVEN === undefined) {
    globalThis.addEventListener("unload", () => Deno.removeSync(home, { recursive: true }));
    return home;
  }
  await Deno.rename(home, GIVEN);
  return GIVEN;
}

async function copyHome(from: string, to: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("cp", {
    args: ["-a", "--sparse=always", "--reflink=auto", `${from}/.`, to],
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}

/** Runs a test in a home of its own and then checks that nothing of it is left. */
export async function withHome(run: (home: string) => Promise<void>): Promise<void> {
  const home = await makeHome();
  try {
    await run(home);
    await assertNothingLeft(home);
  } finally {
    await killLeftOvers(home);
    await Deno.remove(home, { recursive: true });
  }
}

/** {@link withHome} with an open runtime. */
export function withRuntime(
  run: (runtime: Runtime, home: string) => Promise<void>,
  options: Omit<RuntimeOptions, "home"> & { plugins?: readonly Plugin[] } = {},
): Promise<void> {
  return withHome(async (home) => {
    await using runtime = await Runtime.open({ ...options, home });
    await run(runtime, home);
  });
}

/** What a run of the command line gave. */
export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Uint8Array<ArrayBuffer>;
}

/** Starts the command line in a home. */
export function spawnHutch(
  home: string,
  args: readonly string[],
  options: { stdin?: "piped" | "null"; env?: Record<string, string> } = {},
): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-prompt", MAIN, ...args],
    stdin: options.stdin ?? "null",
    stdout: "piped",
    stderr: "piped",
    env: { HUTCH_HOME: home, ...options.env },
  }).spawn();
}

/** Runs the command line in a home. */
export async function hutch(
  home: string,
  args: readonly string[],
  options: { stdin?: Uint8Array<ArrayBuffer>; env?: Record<string, string> } = {},
): Promise<CliResult> {
  const child = spawnHutch(home, args, {
    stdin: options.stdin ? "piped" : "null",
    ...(options.env ? { env: options.env } : {}),
  });
  const output = child.output();
  if (options.stdin) {
    const writer = child.stdin.getWriter();
    await writer.write(options.stdin).then(() => writer.close()).catch(() => {});
  }
  const { code, stdout, stderr } = await output;
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
    stdoutBytes: stdout,
  };
}

/** Options of `run` and `create` for the engine under test. */
export const RUN = ["--engine", ENGINE, "--memory", "128m", "--boot-timeout", "3m"] as const;

/** No process, socket, lock or unfinished file of this home is left, and no record claims more. */
export async function assertNothingLeft(home: string): Promise<void> {
  await until(
    async () => (await processesOf(home)).length === 0,
    async () => `processes are left: ${JSON.stringify(await processesOf(home))}`,
  );
  const { sockets } = pathsOf(home);
  const boxes = [...names(join(home, "boxes"))];
  for (const name of names(sockets)) {
    assert.ok(!boxes.includes(name.split(".")[0] ?? ""), `socket ${name} is left`);
  }
  const { stdout } = await new Deno.Command("find", {
    args: [home, "-name", "*.lock", "-o", "-name", "*.new", "-o", "-name", "*.tmp"],
  }).output();
  const left = new TextDecoder().decode(stdout).split("\n")
    .filter((path) => path !== "" && !path.endsWith("qemu.lock"));
  assert.deepEqual(left, [], "locks or unfinished files are left");
  await using runtime = await Runtime.open({ home });
  for (const box of await runtime.list({ all: true })) {
    assert.ok(
      !ACTIVE.includes(box.status),
      `${box.name} is ${box.status}`,
    );
    assert.ok(boxes.includes(box.id) || box.status === "configured", `${box.name} has no folder`);
  }
  const ids = (await runtime.list({ all: true })).map((box) => box.id);
  assert.deepEqual(boxes.filter((id) => !ids.includes(id)), [], "folders without records are left");
}

async function killLeftOvers(home: string): Promise<void> {
  for (const { pid } of await processesOf(home)) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
}

function* names(folder: string): Generator<string> {
  try {
    for (const entry of Deno.readDirSync(folder)) yield entry.name;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
