/**
 * Boxes made of a box.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { backingPath, OverlayPlacer } from "../init/box_disk.ts";
import { errorText, HutchError } from "../errors.ts";
import { findSnapshot } from "./find_snapshot.ts";
import { FileLock } from "../file_lock.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { Box } from "./box.ts";
import { checkLabels, checkName, hostnameOf, randomId } from "./config.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";
import type { BoxConfig } from "./options.ts";
import type { CloneOptions } from "./snapshot_options.ts";
import { takeDisk } from "./take_disk.ts";
import { stepOf } from "./transitions.ts";

/** Most boxes at once. */
const MOST = 10_000;
/** Disks that are made before it is others' turn. */
const AT_ONCE = 20;

/** Records clones of a box, and makes their disks; see `Box.clone`. */
export async function cloneBox(
  context: BoxContext,
  id: string,
  options: CloneOptions,
): Promise<BoxConfig[]> {
  const { count = 1, name, labels, consistency = "best" } = options;
  if (!Number.isSafeInteger(count) || count < 1 || count > MOST) {
    throw new HutchError(
      "invalid_option",
      `Cannot make ${count} clones: it is not a whole number from 1 to ${MOST}`,
    );
  }
  if (labels) checkLabels(labels);
  const names = namesOf(name, count);
  for (const each of names) if (each !== undefined) checkName(each);
  using held = await holdBox(context, id, "clone");
  const { record } = held;
  for (const each of names) { // before anything is done
    const holder = each === undefined ? undefined : context.records.byName(each);
    if (holder) stepOf("create", holder);
  }
  const taken = options.snapshot === undefined
    ? await takeDisk(context, record, { consistency })
    : {
      backing: findSnapshot(context.disks, record.config, options.snapshot).backing,
      over: undefined,
    };
  const configs = names.map((each) => cloneConfig(record.config, each, labels));
  const values = context.secretValues.get(id);
  if (values) configs.forEach((config) => void context.secretValues.set(config.id, values));
  const holder = context.records.addClones(configs, taken.backing);
  // Until here the box's own disk was recorded as over it, which kept it.
  if (taken.over !== undefined) context.disks.settle(id, taken.over);
  if (holder) stepOf("create", holder); // throws
  await makeDisks(context, configs, taken.backing);
  context.shorten(id);
  for (const config of configs) {
    const about = { box: config.id, name: config.name };
    context.plugins.emit("box.created", { ...about, image: config.image.reference });
  }
  return configs;
}

/** Starts boxes; waits for all, and throws the first failure. */
export async function startAll(boxes: readonly Box[]): Promise<void> {
  const results = await Promise.allSettled(boxes.map((box) => box.start()));
  const failures = results.filter((result) => result.status === "rejected")
    .map(({ reason }) => reason);
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map(errorText).join("; "));
}

function namesOf(name: string | undefined, count: number): (string | undefined)[] {
  return Array.from({ length: count }, (_, index) => {
    return name === undefined || count === 1 ? name : `${name}-${index + 1}`;
  });
}

/** A box that is like another one, and somebody else. */
export function cloneConfig(
  source: BoxConfig,
  name: string | undefined,
  labels: CloneOptions["labels"],
): BoxConfig {
  const id = randomId();
  const own = name ?? `box-${id}`;
  const ports = source.network.ports.map((port) => ({ ...port, hostPort: 0 }));
  return {
    ...source,
    id,
    version: 1,
    name: own,
    createdAt: new Date().toISOString(),
    hostname: hostnameOf(own),
    labels: { ...labels ?? source.labels },
    network: { ...source.network, ports },
    autoRemove: false,
    owned: false,
  };
}

/** One that isn't made here, for whatever reason, is made by the clone's first start. */
async function makeDisks(
  context: BoxContext,
  configs: readonly BoxConfig[],
  backing: string | null,
): Promise<void> {
  const [first] = configs;
  if (backing === null || !first) return; // each start of a box without a disk makes one
  const below = { path: backingPath(context.paths, backing), format: "qcow2" } as const;
  const { diskPath } = boxPaths(context.paths, first.id);
  try {
    const placer = new OverlayPlacer(diskPath, below, first.diskMiB * 2 ** 20);
    for (const [index, { id }] of configs.entries()) {
      const own = boxPaths(context.paths, id);
      using lock = FileLock.try(own.operationLockPath);
      // Somebody starts it already, or has done so.
      if (lock && !existsSync(own.diskPath)) placer.place(own.diskPath);
      if (index % AT_ONCE === AT_ONCE - 1) await new Promise((resolve) => setTimeout(resolve, 0));
    }
  } catch (error) {
    context.log(`box "${first.name}": a disk is yet to be made: ${errorText(error)}`);
  }
}
