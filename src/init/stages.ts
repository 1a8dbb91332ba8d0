/**
 * The stages of a box's start, each as the core runs it; plugins wrap them.
 *
 * @module
 */
import { makeFolder, removeIfThere } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import type { GuestMount, Hello } from "../guest/messages.ts";
import type {
  BootOutput,
  DiskVolume,
  ImageOutput,
  LayoutOutput,
  ResolvedVolume,
  SharedVolume,
  Stages,
  SystemOutput,
} from "../plugin/contract.ts";
import { GATEWAYS, GUEST_ADDRESSES, macAddressOf, MTU, NAME_SERVER } from "../network/addresses.ts";
import { isIntercepted } from "../network/secrets.ts";
import { boxPaths } from "../runtime/paths.ts";
import type {
  DiskLock,
  MachineDisk,
  MachineResume,
  MachineShare,
  MachineShares,
} from "../vmm/engine.ts";
import { KERNEL_COMMAND_LINE } from "../vmm/kernel.ts";
import { type BoxProcess, lifeOf, OrderFailed, tailOf, untilEnded } from "../vmm/machine.ts";
import { readExitFile } from "../vmm/machine_file.ts";
import { resolveVolumes } from "../volumes/resolve.ts";
import type { ProcessAhead } from "./ahead.ts";
import { ensureDisk, filesBelow } from "./box_disk.ts";
import type { StartContext } from "./context.ts";
import { checkKept, goOn, type Kept } from "./kept.ts";
import { type Preboot, preboot } from "./preboot.ts";
import { networkOrders, portsOf, refusedOrder, secretLine } from "./network_stage.ts";
import { processOptions } from "./process_options.ts";

/** Text of the console that goes into an error, in characters. */
const CONSOLE_TAIL = 1_500;
/** The system's disk and the box's own: volumes come behind them. */
const OWN_DISKS = 2;

/** `layout`: the box's folders. */
export async function layout({ box, paths }: StartContext): Promise<LayoutOutput> {
  const own = boxPaths(paths, box.id);
  await makeFolder(own.folder);
  await makeSocketFolder(paths.sockets);
  return own;
}

/** Makes the folder for sockets; refuses one that somebody else owns or can write to. */
async function makeSocketFolder(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  const { uid, mode, isDirectory } = await Deno.lstat(path);
  if (isDirectory && uid === Deno.uid() && ((mode ?? 0) & 0o077) === 0) return;
  throw new HutchError(
    "home_unusable",
    `Cannot keep sockets in ${path}: it isn't a folder that only this user can use`,
    { hint: `remove it, or set XDG_RUNTIME_DIR to a private folder` },
  );
}

/** `image`: the base disk of the pinned image. */
export async function image({ box, baseDisk, signal }: StartContext): Promise<ImageOutput> {
  const { digest } = box.image;
  const { path, format } = await baseDisk(digest, signal);
  return { digest, disk: { path, format, readOnly: true } };
}

/** `system`: kernel and system disk. */
export async function system(context: StartContext): Promise<SystemOutput> {
  const { kernelPath, diskPath } = await context.system();
  return {
    kernelPath,
    commandLine: KERNEL_COMMAND_LINE,
    disk: { path: diskPath, format: "raw", readOnly: true },
  };
}

/** `disk`: the box's overlay; a restart finds it made. */
export async function disk(
  context: StartContext,
  input: Stages["disk"]["input"],
): Promise<MachineDisk> {
  const { diskPath } = input.layout;
  const disk = { id: context.box.id, own: input.layout, diskMiB: context.box.diskMiB };
  await ensureDisk(context, disk, input.image.disk);
  const below = [...filesBelow(context, disk), input.image.disk.path];
  return { path: diskPath, format: "qcow2", readOnly: false, below };
}

/** `volumes`: what the box asked for, as some plugin knows it. */
export async function volumes(
  { box, handle, plugins, signal }: StartContext,
  input: Stages["volumes"]["input"],
): Promise<readonly ResolvedVolume[]> {
  return await resolveVolumes(box, {
    folder: input.layout.folder,
    ask: (question) => plugins.ask("volume", question, { signal, box: handle }),
  });
}

/** The folders and files as the machine gets them; undefined when there are none. */
export function sharesOf(
  volumes: readonly ResolvedVolume[],
  own: LayoutOutput,
): MachineShares | undefined {
  const list = volumes.filter((volume) => volume.kind === "share").map(shareOf);
  if (list.length === 0) return undefined;
  return { folder: own.sharesFolder, socketPath: own.sharesSocketPath, list };
}

function shareOf({ tag, hostPath, readOnly, uid, gid, owner }: SharedVolume): MachineShare {
  const share = { tag, path: hostPath, readOnly };
  if (!owner) return share;
  const to = [owner.uid, owner.gid] as const;
  return { ...share, owner: { from: [uid, gid], to, required: owner.required } };
}

/** The volumes that are disks, in the order in which the machine gets them behind its own. */
function diskVolumes(volumes: readonly ResolvedVolume[]): DiskVolume[] {
  return volumes.filter((volume) => volume.kind === "disk");
}

/** Their disks, and who else may have them meanwhile. */
export function disksOf(
  volumes: readonly ResolvedVolume[],
): { readonly disks: readonly MachineDisk[]; readonly locks: readonly DiskLock[] } {
  const found = diskVolumes(volumes);
  return {
    disks: found.map(({ hostPath, format, readOnly }) => ({ path: hostPath, format, readOnly })),
    locks: found.map(({ hostPath, readOnly }) => ({ path: hostPath, shared: readOnly })),
  };
}

function mountsOf(volumes: readonly ResolvedVolume[]): GuestMount[] {
  const disks = diskVolumes(volumes);
  return volumes.map((volume): GuestMount => {
    const { guestPath: path, readOnly, noexec } = volume;
    const place = { path, readOnly, noexec };
    switch (volume.kind) {
      case "share":
        return { ...place, tag: volume.tag };
      case "tmpfs":
        return { ...place, tmpfs: volume.sizeMiB ?? 0, mode: volume.mode };
      case "disk":
        return { ...place, disk: OWN_DISKS + disks.indexOf(volume), grow: volume.grow };
    }
  });
}

/** A box process, and what it was started with. */
export interface Booted extends BootOutput {
  readonly process: BoxProcess;
  /** Where its boot is kept, or will be. */
  readonly preboot: Preboot | undefined;
}

/** `boot`: an engine starts the machine in a box process. */
export async function boot(
  context: StartContext,
  input: Stages["boot"]["input"],
  own: LayoutOutput,
  { ahead, kept }: { readonly ahead: ProcessAhead; readonly kept: Kept | undefined },
): Promise<Booted> {
  const { box, signal } = context;
  const selected = await ahead.engine(input.engine);
  const { engine, report } = selected;
  if (kept) await checkKept(kept, own, { ...input.spec, engine: engine.name });
  const machine = { engine, report, spec: input.spec };
  const early = kept ? undefined : await preboot(context, machine, own);
  const options = await processOptions(context, own, {
    engine: selected,
    machine: input.spec,
    network: input.network,
  });
  const start = async (resume: MachineResume | undefined) => {
    const waiting = await ahead.process(options);
    await removeIfThere(own.consolePath);
    return await waiting.start({
      spec: { ...input.spec, engine: report.parts, ...resume ? { resume } : {} },
      limits: { maxDurationMs: box.maxDurationMs, idleTimeoutMs: box.idleTimeoutMs },
      orders: networkOrders(input.network, own),
      beside: engine.beside,
      secretLine: await secretLine(context, input.network, own),
      signal,
    });
  };
  const resume = early?.resume ?? input.spec.resume;
  const process = await start(resume).catch(async (error: unknown) => {
    if (error instanceof OrderFailed) throw refusedOrder(input.network, own, error);
    if (!early?.resume) throw error;
    await early.failed(error);
    return await start(undefined);
  });
  const ports = portsOf(input.network, process.answers);
  return { engine: engine.name, pid: process.pid, ports, process, preboot: early };
}

/** `connect`: the agent's hello, or why it won't come. */
export async function connect(
  { signal }: StartContext,
  input: Stages["connect"]["input"],
  own: LayoutOutput,
  process: BoxProcess,
): Promise<{ client: GuestClient; hello: Hello }> {
  const life = lifeOf(own.lockPath);
  try {
    const client = await GuestClient.connect(own.socketPath, {
      signal,
      timeoutMs: input.timeoutMs,
      lostReason: () => endedReason(own, life),
    });
    return { client, hello: client.hello };
  } catch (error) {
    const code = error instanceof HutchError ? error.code : undefined;
    if (code === "connection_lost") {
      const how = await process.ended(); // its sockets close when it is about to end
      throw await bootError(own, `its machine ended (${how}) before the agent answered`);
    }
    if (code === "boot_timeout") throw await timedOut(own, input.timeoutMs);
    throw error;
  }
}

/** Why the box process ended, once it has; for whoever loses the connection to it. */
export async function endedReason(
  own: LayoutOutput,
  life: string | undefined,
): Promise<string | undefined> {
  await untilEnded(own.lockPath, life);
  const exit = readExitFile(own.exitPath);
  return exit?.message || exit?.reason;
}

async function bootError(own: LayoutOutput, fallback: string): Promise<HutchError> {
  const exit = readExitFile(own.exitPath);
  const log = await tailOf(own.logPath, CONSOLE_TAIL);
  const reason = [exit?.message || fallback, log].filter((text) => text !== "").join(": ");
  return new HutchError(
    "boot_failed",
    `Cannot boot: ${reason}${await consoleText(own)}`,
    { hint: `see ${own.consolePath} and ${own.logPath}` },
  );
}

async function timedOut(own: LayoutOutput, timeoutMs: number): Promise<HutchError> {
  return new HutchError(
    "boot_timeout",
    `Cannot boot: the agent did not answer within ${timeoutMs} ms${await consoleText(own)}`,
    { hint: `see ${own.consolePath}, or allow more time (--boot-timeout)` },
  );
}

async function consoleText(own: LayoutOutput): Promise<string> {
  const text = await tailOf(own.consolePath, CONSOLE_TAIL);
  return text === "" ? "; its console is empty" : `; its console ends with:\n${text}`;
}

/** `configure`: the box's view of itself. */
export async function configure(
  { authority, box, disks, signal, trust }: StartContext,
  input: Stages["configure"]["input"],
  client: GuestClient,
  { kept, preboot }: { readonly kept: Kept | undefined; readonly preboot: Preboot | undefined },
): Promise<{ ms: number }> {
  const { hostname, network } = input;
  const mac = network.mode === "none" ? undefined : macAddressOf(box.id);
  const went = kept || preboot?.resume
    ? await goOn(client, { hostname, mac, held: kept?.memory.held ?? [], signal })
    : 0;
  const made = kept ? 0 : await makeView(input, client, { init: box.init !== null, signal });
  if (network.mode !== "none" && isIntercepted(network)) {
    await trust(client, (await authority()).certificate);
  }
  if (disks.toRenew(box.id)) {
    const renewal = renew(client, kept ? [hostname] : [], signal);
    const onDisk = renewal.done.then(() => disks.renewed(box.id));
    // A box that goes on doesn't wait for its disk. Should that fail, its next start does it again.
    if (kept) onDisk.catch(() => {});
    await (kept ? renewal.changed : onDisk);
  }
  return { ms: went + made };
}

async function makeView(
  { hostname, grow, volumes, network }: Stages["configure"]["input"],
  client: GuestClient,
  { init, signal }: { readonly init: boolean; readonly signal: AbortSignal },
): Promise<number> {
  const mounts = mountsOf(volumes);
  const device = network.mode === "none" ? {} : {
    addresses: GUEST_ADDRESSES,
    gateways: GATEWAYS,
    mtu: MTU,
    hosts: network.hosts,
    resolv: `nameserver ${NAME_SERVER}\n`,
  };
  const first = init ? { init } : {};
  const request = { op: "configure", hostname, grow, mounts, ...first, ...device } as const;
  const { ms } = await client.request(request, { signal });
  return ms;
}

/**
 * Makes a box somebody else than the one whose disk it has: its machine id, SSH host keys and random seed.
 *
 * @param args The host name, for a box that didn't boot.
 */
function renew(
  client: GuestClient,
  args: readonly string[],
  signal: AbortSignal,
): { readonly changed: Promise<void>; readonly done: Promise<void> } {
  const stream = client.open({
    ...{ op: "exec", builtin: "renew", argv: ["renew", ...args], env: [], cwd: "/", user: "" },
    stdin: false,
  }, { signal });
  const changed = Promise.withResolvers<void>();
  const done = (async () => {
    try {
      const said = new Response(stream.stderr).text().catch(() => "");
      const word = await stream.stdout.getReader().read();
      if (word.value) changed.resolve();
      const { code } = await stream.exit;
      if (code !== 0) throw notRenewed((await said).trim());
    } finally {
      await stream.close();
    }
  })();
  done.then(changed.resolve, changed.reject);
  changed.promise.catch(() => {}); // not everybody waits for it
  return { changed: changed.promise, done };
}

function notRenewed(said: string): HutchError {
  return new HutchError(
    "guest_failed",
    `Cannot give the box an identity of its own: ${said.slice(0, 500) || "it failed"}`,
    { hint: "it is tried again when the box starts next" },
  );
}
