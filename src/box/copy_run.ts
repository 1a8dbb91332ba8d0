/**
 * A copy's way into a box or out of it: checks, a running box, the plugins' hooks, both ends.
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
import type { Box } from "./box.ts";
import type { BoxContext } from "./context.ts";
import { checkCopyIn, checkCopyOut } from "./copy_check.ts";
import { copyError } from "./copy_error.ts";
import { GuestCopy } from "./copy_guest.ts";
import type { CopyOptions, CopyOutOptions, CopyProgress, CopyResult } from "./copy_options.ts";

const MAX_BYTES = 64 * 2 ** 30;
const MAX_ENTRIES = 1_000_000;

/** What {@link runCopyIn} and {@link runCopyOut} work with. */
export interface CopyPort {
  /** Aborted when nobody wants the copy any more. */
  readonly signal: AbortSignal;
  readonly tell: (progress: CopyProgress) => void;
  /** Connects to the guest; boots the box first if it doesn't run. */
  readonly guest: (signal: AbortSignal) => Promise<GuestClient>;
}

/** Copies into a box, with the plugins' hooks around it. */
export async function runCopyIn(
  context: BoxContext,
  box: Box,
  asked: CopyInInput,
  port: CopyPort,
): Promise<CopyResult> {
  checkCopyIn(asked);
  const { signal } = port;
  await port.guest(signal); // hooks find a box that runs
  return await context.plugins.run("copyIn", asked, { signal, box }, async (input) => {
    checkCopyIn(input); // a plugin may have changed it
    const from = performance.now();
    const source = typeof input.source === "string" ? input.source : "-";
    const words = { source, destination: `${box.name}:${input.destination}` };
    const result = await copyIn(await port.guest(signal), input, port).catch((error: unknown) => {
      throw copyError(words, error, signal);
    });
    const { id, name } = box.config;
    const told = { source, destination: input.destination, ...result, ms: since(from) };
    context.plugins.emit("file.copiedIn", { box: id, name, ...told });
    return result;
  });
}

/** Copies out of a box, with the plugins' hooks around it. */
export async function runCopyOut(
  context: BoxContext,
  box: Box,
  asked: CopyOutInput,
  port: CopyPort,
): Promise<CopyResult> {
  checkCopyOut(asked);
  const { signal } = port;
  await port.guest(signal);
  return await context.plugins.run("copyOut", asked, { signal, box }, async (input) => {
    checkCopyOut(input);
    const from = performance.now();
    const destination = typeof input.destination === "string" ? input.destination : "-";
    const words = { source: `${box.name}:${input.source}`, destination };
    const result = await copyOut(await port.guest(signal), input, port).catch((error: unknown) => {
      throw copyError(words, error, signal);
    });
    const { id, name } = box.config;
    const told = { source: input.source, destination, ...result, ms: since(from) };
    context.plugins.emit("file.copiedOut", { box: id, name, ...told });
    return result;
  });
}

async function copyIn(
  client: GuestClient,
  { source, destination, options }: CopyInInput,
  port: CopyPort,
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
    signal: port.signal,
  });
  if (typeof source !== "string") {
    await source.pipeTo(counted(guest.stdin, port), { signal: port.signal })
      .catch((error: unknown) => afterBrokenPipe(guest, error));
    return await guest.end();
  }
  using host = HostCopy.pack(source, ".", { ...packOptions(options), owner: inward(owner) });
  const writer = guest.stdin.getWriter();
  writer.closed.catch(() => {}); // the writes say it
  try {
    // One piece is read while the one before is on its way.
    let writing = Promise.resolve();
    for (let piece = await host.read(); piece; piece = await host.read()) {
      await writing;
      writing = writer.write(piece);
      writing.catch(() => {});
      port.tell(host.progress);
    }
    await writing;
    await writer.close();
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

async function copyOut(
  client: GuestClient,
  { source, destination, options }: CopyOutInput,
  port: CopyPort,
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
    signal: port.signal,
  });
  if (!whole) {
    const options = { preventClose: true, signal: port.signal };
    await guest.stdout.pipeTo(counted(destination, port), options);
    const result = await guest.end();
    await destination.close();
    return result;
  }
  using host = HostCopy.unpack(destination, name, unpackOptions(options));
  for await (const piece of guest.stdout) {
    await host.push(piece);
    port.tell(host.progress);
  }
  const { skipped } = await guest.end();
  await host.finish();
  const { entries, bytes } = host.progress;
  return { entries, bytes, skipped };
}

/** Counts what goes by. */
function counted(sink: WritableStream<Uint8Array>, port: CopyPort): WritableStream<Uint8Array> {
  const writer = sink.getWriter();
  writer.closed.catch(() => {});
  let bytes = 0;
  return new WritableStream({
    async write(chunk) {
      await writer.write(chunk);
      bytes += chunk.length;
      port.tell({ path: ".", entries: 0, bytes });
    },
    async close() {
      await writer.close();
    },
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

function since(from: number): number {
  return Math.round((performance.now() - from) * 10) / 10;
}
