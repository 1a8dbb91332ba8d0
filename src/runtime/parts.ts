/**
 * The parts of a runtime, opened and wired together.
 *
 * @module
 */
import { join } from "node:path";
import { Ext4Image, probeKvm as countDown, readKernel } from "../../ffi/helper.ts";
import { writeBoxFile } from "../box/box_file.ts";
import { Box } from "../box/box.ts";
import type { BoxContext } from "../box/context.ts";
import { ChainShortener } from "../box/shorten.ts";
import { makeAuthority } from "../network/intercept/authority.ts";
import { Keepers } from "../box/keepers.ts";
import { Logins } from "../images/registry/credentials.ts";
import { hostPlatform } from "../images/platform.ts";
import type { RegistryConfig, RegistrySettings } from "../images/registry/registries.ts";
import { ImageManager } from "../images/manage/manage.ts";
import { ImageStore } from "../images/store.ts";
import type { AskOfImages } from "../images/store_options.ts";
import { baseDiskBuilder } from "../images/base_disk/unpack.ts";
import { errorText, HutchError } from "../errors.ts";
import { denialWords } from "../box/network_talk.ts";
import { RequestDoor } from "../network/request_door.ts";
import { PluginHost } from "../plugin/host.ts";
import { BoxRecords } from "../state/boxes.ts";
import { openDatabase } from "../state/database.ts";
import { DetachedCommands } from "../state/detached.ts";
import { DiskTable } from "../state/disks.ts";
import { ImageTable } from "../state/images.ts";
import { Keepings } from "../state/keepings.ts";
import { keepReserve } from "../state/reserve.ts";
import { VolumeTable } from "../state/volumes.ts";
import { kernelPath } from "../vmm/kernel.ts";
import { probeKvm, rememberedKvm } from "../vmm/kvm.ts";
import { systemDiskPath } from "../vmm/system_disk.ts";
import { defaultPlugins } from "./defaults.ts";
import { makeHome, orphans, pathsOfHome } from "./home.ts";
import { HomeLock } from "./home_lock.ts";
import { Journal } from "./journal.ts";
import { findAgent, kernelLibrary } from "./native.ts";
import { RegistryLogins } from "./logins.ts";
import type { RuntimeOptions } from "./options.ts";
import { readRegistries } from "./registry_config.ts";
import { boxPaths, type Paths } from "./paths.ts";
import type { Runtime } from "./runtime.ts";
import { type Volumes, volumesOf } from "./volumes.ts";

/** What a runtime works with. */
export interface RuntimeParts {
  readonly context: BoxContext;
  /** The boxes that the program holds, by their ids. */
  readonly boxes: Map<string, Box>;
  readonly images: ImageStore;
  readonly manager: ImageManager;
  readonly logins: RegistryLogins;
  readonly volumes: Volumes;
  readonly journal: Journal;
  /** Aborted when the boxes have been let go. */
  readonly closing: AbortController;
  /** Everything that was opened. */
  readonly resources: AsyncDisposableStack;
}

/**
 * Opens a home and what works on it.
 *
 * @param boot The host's boot id.
 * @param runtime Gives the runtime, once it is made, to plugins.
 */
export async function openParts(
  options: RuntimeOptions,
  boot: string,
  runtime: () => Runtime,
): Promise<RuntimeParts> {
  const paths = pathsOfHome(options.home);
  const named = registriesOf(options);
  const registries = withoutSecrets(named);
  const log = options.log ?? (() => {});
  const closing = new AbortController();
  await using resources = new AsyncDisposableStack();
  await makeHome(paths);
  resources.use(HomeLock.share(paths.home));
  const database = openDatabase(paths.database, { refuseNew: () => orphans(paths) });
  keepReserve(paths.database);
  resources.defer(() => keepReserve(paths.database)); // of what may have been spent, or given back
  resources.defer(() => database.close());
  const boxes = new Map<string, Box>();
  const records = new BoxRecords(database, (config) => {
    writeBoxFile(boxPaths(paths, config.id), config);
  });
  const journal = new Journal({
    database,
    path: paths.database,
    retention: options.events,
    log,
    dropped: (event) => plugins.emit("events.dropped", event),
    find: (box) => records.find(box).config.id,
  });
  resources.use(journal);
  const plugins = new PluginHost([...defaultPlugins(), ...options.plugins ?? []], {
    log,
    runtime,
    boxOf: (id) => boxes.get(id),
    record: (event) => journal.record(event),
  });
  resources.use(plugins);
  const logins = new Logins({ path: paths.credentials, helper: options.credentialHelper });
  const registryLogins = new RegistryLogins({ sources: plugins.sources, registries, logins });
  const ledger = new ImageTable(database);
  const verify: AskOfImages["verify"] = (image, signal) => plugins.ask("verify", image, { signal });
  const images = new ImageStore({
    paths,
    records: ledger,
    sources: plugins.sources,
    platform: hostPlatform(),
    build: baseDiskBuilder(options.imageLimits),
    ...options.parallelDownloads === undefined
      ? {}
      : { parallelDownloads: options.parallelDownloads },
    registries,
    ask: {
      credentials: async (name, signal) => {
        const registry = name.toLowerCase();
        return named.get(registry)?.credentials ??
          await plugins.ask("credentials", { registry: name }, { signal }) ??
          await logins.find(registry, signal);
      },
      verify,
    },
    on: {
      pulling: (reference) => plugins.emit("image.pulling", { reference }),
      pulled: ({ reference, digest }, ms) =>
        plugins.emit("image.pulled", { reference, digest, ms }),
    },
  });
  const manager = new ImageManager({
    paths,
    ledger,
    store: images,
    sources: plugins.sources,
    verify,
    tagged: ({ reference, digest }) => plugins.emit("image.tagged", { reference, digest }),
    removed: ({ reference, digest }) => plugins.emit("image.removed", { reference, digest }),
  });
  const shortener = resources.use(new ChainShortener());
  const kvmPath = join(paths.system, "kvm.json");
  const context: BoxContext = {
    paths,
    records,
    disks: new DiskTable(database),
    detached: new DetachedCommands(database),
    keepings: new Keepings(database),
    keepers: new Keepers({ plugins: options.pluginSpecifiers ?? [] }),
    plugins,
    images,
    imageManager: manager,
    counters: journal,
    door: resources.use(new RequestDoor({ denial: denialWords })),
    shorten: (box) => shortener.soon(context, box),
    boxOf: (id) => boxes.get(id),
    adopt: (config, detached) => {
      const box = new Box(context, config, { detached });
      boxes.set(config.id, box);
      return box;
    },
    forget: (box) => {
      if (boxes.get(box.id) === box) boxes.delete(box.id);
    },
    bootId: boot,
    signal: closing.signal,
    log,
    engines: plugins.engines,
    preboot: options.preboot ?? true,
    baseDisk: (digest, signal) => images.disk(digest, { signal }),
    system: () => system(paths),
    authority: once(makeAuthority),
    secretValues: new Map(),
    kvm: once(() => rememberedKvm(kvmPath, boot, () => probeKvm(countDown))),
  };
  return {
    context,
    boxes,
    images,
    manager,
    logins: registryLogins,
    volumes: volumesOf(paths, new VolumeTable(database)),
    journal,
    closing,
    resources: resources.move(),
  };
}

/** Sources ask for credentials, and get those of the registry that wants them. */
function withoutSecrets(
  registries: ReadonlyMap<string, RegistryConfig>,
): ReadonlyMap<string, RegistrySettings> {
  return new Map(
    [...registries].map(([name, { credentials: _credentials, ...settings }]) => [name, settings]),
  );
}

function registriesOf({ registries = {} }: RuntimeOptions): ReadonlyMap<string, RegistryConfig> {
  try {
    return readRegistries(registries, Deno.cwd());
  } catch (error) {
    if (error instanceof HutchError) throw error;
    throw new HutchError("invalid_option", `Cannot open a runtime: ${errorText(error)}`);
  }
}

async function system(paths: Paths): Promise<{ kernelPath: string; diskPath: string }> {
  // Both are waited for, even when one fails: nothing is written behind a start that has failed.
  const [kernel, disk] = await Promise.allSettled([
    kernelLibrary().then((library) => kernelPath(paths.system, library, readKernel)),
    findAgent().then((agent) => systemDiskPath(paths.system, agent, Ext4Image.create)),
  ]);
  if (kernel.status === "rejected") throw kernel.reason;
  if (disk.status === "rejected") throw disk.reason;
  return { kernelPath: kernel.value, diskPath: disk.value };
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => made ??= make();
}
