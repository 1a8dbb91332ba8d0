/**
 * A copy between its two ends: this machine's files, and the agent's program in the box.
 *
 * @module
 */
import { posix, resolve } from "node:path";
import {
  CopyFailure,
  copyFlags,
  type CopyOwner,
  HostCopy,
  type HostCopyOptions,
} from "../../ffi/helper.ts";
import { HutchError } from "../errors.ts";
import type { GuestClient } from "../guest/client.ts";
import type { CopyInInput, CopyOutInput } from "../plugin/contract.ts";
import { GuestCopy } from "./copy_guest.ts";
import type { CopyOptions, CopyOutOptions, CopyProgress, CopyResult } from "./copy_options.ts";

/** Bytes that are read at once. */
const PIECE = 1024 * 1024;
const MAX_BYTES = 64 * 2 ** 30;
const MAX_ENTRIES = 1_000_000;

/** Who wants a copy. */
export interface CopyWatcher {
  /** Aborted when nobody wants the copy any more. */
  readonly signal: AbortSignal;
  readonly tell: (progress: CopyProgress) => void;
}

/**
 * Copies into a box.
 *
 * @throws CopyFailure, and what the connection throws.
 */
export async function copyIn(
  client: GuestClient,
  { source, destination, options }: CopyInInput,
  watcher: CopyWatcher,
): Promise<CopyResult> {
  const { owner } = options.preserve ?? {};
  await using guest = await GuestCopy.start(client, "unpack", {
    flags: copyFlags({
      ...unpackFlags(options),
      archive: typeof source !== "string",
      owners: owner !== undefined,
    }),
    path: destination,
    name: typeof source === "string" ? nameOf(resolve(source)) : ".",
    signal: watcher.signal,
  });
  if (typeof source !== "string") {
    await source.pipeTo(counted(guest.stdin, watcher), { signal: watcher.signal })
      .catch((error: unknown) => afterBrokenPipe(guest, error));
    return await guest.end();
  }
  using host = HostCopy.pack(source, ".", { ...packOptions(options), owner: inward(owner) });
  const writer = guest.stdin.getWriter();
  writer.closed.catch(() => {}); // the writes say it
  try {
    // One piece is read while the one before is on its way.
    let writing = Promise.resolve();
    let [room, other] = [new Uint8Array(PIECE), new Uint8Array(PIECE)];
    for (let piece = await host.read(room); piece; piece = await host.read(room)) {
      await writing;
      writing = writer.write(piece);
      writing.catch(() => {});
      watcher.tell(host.progress);
      [room, other] = [other, room];
    }
    await writing;
    await close(writer);
  } catch (error) {
    // A program whose input ends in the middle tidies up.
    await writer.close().catch(() => {});
    if (error instanceof CopyFailure) await guest.end().catch(() => {});
    await afterBrokenPipe(guest, error);
  }
  const { skipped } = host.progress;
  return { ...await guest.end(), skipped };
}

/** The guest's program ended first: what it says is the reason. */
async function afterBrokenPipe(guest: GuestCopy, error: unknown): Promise<void> {
  if (!(error instanceof HutchError) || error.code !== "broken_pipe") throw error;
  await guest.end();
  throw error;
}

/**
 * Copies out of a box.
 *
 * @throws CopyFailure, and what the connection throws.
 */
export async function copyOut(
  client: GuestClient,
  { source, destination, options }: CopyOutInput,
  watcher: CopyWatcher,
): Promise<CopyResult> {
  const name = nameOf(posix.resolve("/", source));
  const whole = typeof destination === "string";
  await using guest = await GuestCopy.start(client, "pack", {
    flags: copyFlags({
      follow: options.followSymlinks ?? false,
      noLinks: options.filter !== undefined,
    }),
    path: source,
    // A stream that others read calls the tree by its name, as Docker does.
    name: whole || /\/\.?$/.test(source) ? "." : name,
    signal: watcher.signal,
  });
  if (!whole) {
    const sink = counted(destination, watcher);
    await guest.stdout.pipeTo(sink, { preventClose: true, signal: watcher.signal });
    try {
      const result = await guest.end();
      await sink.close();
      return result;
    } catch (error) {
      await sink.abort(error).catch(() => {}); // it isn't whole
      throw error;
    }
  }
  using host = HostCopy.unpack(destination, name, unpackOptions(options));
  const room = new Uint8Array(PIECE);
  for (let count = await guest.read(room); count > 0; count = await guest.read(room)) {
    await host.push(room.subarray(0, count));
    watcher.tell(host.progress);
  }
  const { skipped } = await guest.end();
  await host.finish();
  const { entries, bytes } = host.progress;
  return { entries, bytes, skipped };
}

/** Closes a stream, or throws what it failed with: `close` alone only says that it did. */
async function close(writer: WritableStreamDefaultWriter<Uint8Array>): Promise<void> {
  try {
    await writer.close();
  } catch (error) {
    await writer.closed;
    throw error;
  }
}

/** Counts what goes by. */
function counted(
  sink: WritableStream<Uint8Array>,
  watcher: CopyWatcher,
): WritableStream<Uint8Array> {
  const writer = sink.getWriter();
  writer.closed.catch(() => {});
  let bytes = 0;
  return new WritableStream({
    async write(chunk) {
      await writer.write(chunk);
      bytes += chunk.length;
      watcher.tell({ path: ".", entries: 0, bytes });
    },
    close: () => close(writer),
    abort: (reason) => writer.abort(reason),
  });
}

function unpackFlags(options: CopyOptions): HostCopyOptions["flags"] {
  const { overwrite = true, includeParent = false, makeParents = true, preserve } = options;
  const { times = true, modes = true } = preserve ?? {};
  return {
    overwrite,
    parents: makeParents,
    into: includeParent === true,
    intoOld: includeParent === "existing",
    times,
    modes,
  };
}

function packOptions({ followSymlinks = false, filter }: CopyOptions): HostCopyOptions {
  return { flags: { follow: followSymlinks }, filter };
}

function unpackOptions(options: CopyOutOptions): HostCopyOptions {
  const { filter, preserve, maxBytes = MAX_BYTES, maxEntries = MAX_ENTRIES } = options;
  return {
    flags: { ...unpackFlags(options), guarded: true },
    owner: outward(preserve?.owner),
    maxBytes,
    maxEntries,
    filter,
  };
}

type Owner = NonNullable<CopyOptions["preserve"]>["owner"];

function inward(owner: Owner): CopyOwner {
  if (owner === undefined) return "none";
  if (owner === "keep" || "uid" in owner) return owner;
  return owner.map(({ inside, outside, count }) => ({ from: outside, to: inside, count }));
}

function outward(owner: Owner): CopyOwner {
  if (owner === undefined) return "none";
  if (owner === "keep" || "uid" in owner) return owner;
  return owner.map(({ inside, outside, count }) => ({ from: inside, to: outside, count }));
}

/** What a tree is called within another folder. */
function nameOf(path: string): string {
  return posix.basename(path) || ".";
}
