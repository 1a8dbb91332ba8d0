/**
 * A copy's way into a box or out of it: checks, a running box, the plugins' hooks.
 *
 * @module
 */
import type { CopyInInput, CopyOutInput } from "../plugin/contract.ts";
import type { Box } from "./box.ts";
import type { BoxContext } from "./context.ts";
import { checkCopyIn, checkCopyOut } from "./copy_check.ts";
import { copyError } from "./copy_error.ts";
import type { CopyResult } from "./copy_options.ts";
import { copyIn, copyOut, type CopyWatcher } from "./copy_transfer.ts";
import type { GuestClient } from "../guest/client.ts";

/** What {@link runCopyIn} and {@link runCopyOut} work with. */
export interface CopyPort extends CopyWatcher {
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

function since(from: number): number {
  return Math.round((performance.now() - from) * 10) / 10;
}
