/**
 * Where things are in a home folder, and the short private folder for sockets.
 *
 * @module
 */
import { join } from "node:path";
import type { LayoutOutput } from "../plugin/contract.ts";

/** Paths in one home. */
export interface Paths {
  readonly home: string;
  readonly database: string;
  /** Verified blobs by digest: `blobs/sha256/HEX`; unfinished ones in `partial`. */
  readonly blobs: string;
  readonly partial: string;
  /** What `hutch login` was told. */
  readonly credentials: string;
  /** Base disks by manifest digest. */
  readonly disks: string;
  /** Disks that were boxes' own and are shared by now, in a folder each. */
  readonly backing: string;
  /** Kernel and system disk, by digest. */
  readonly system: string;
  /** One folder per box. */
  readonly boxes: string;
  /** One folder per named volume. */
  readonly volumes: string;
  /** Sockets; outside of home, since socket paths are limited to about 100 bytes. */
  readonly sockets: string;
}

/** The default home: `HUTCH_HOME`, else `~/.hutch`. */
export function defaultHome(): string {
  const named = Deno.env.get("HUTCH_HOME");
  if (named) return named;
  const user = Deno.env.get("HOME");
  return join(user && user !== "" ? user : "/", ".hutch");
}

/** The paths below `home`, which must be absolute. */
export function pathsOf(home: string): Paths {
  return {
    home,
    database: join(home, "state.db"),
    blobs: join(home, "blobs", "sha256"),
    partial: join(home, "blobs", "partial"),
    credentials: join(home, "credentials.json"),
    disks: join(home, "disks"),
    backing: join(home, "backing"),
    system: join(home, "system"),
    boxes: join(home, "boxes"),
    volumes: join(home, "volumes"),
    sockets: socketFolder(),
  };
}

/** The paths of one box. */
export function boxPaths(paths: Paths, id: string): LayoutOutput {
  const folder = join(paths.boxes, id);
  return {
    folder,
    diskPath: join(folder, "disk.qcow2"),
    consolePath: join(folder, "console.log"),
    logPath: join(folder, "box.log"),
    outputFolder: join(folder, "log"),
    snapshotsFolder: join(folder, "snapshots"),
    memoryFolder: join(folder, "memory"),
    exitPath: join(folder, "exit.json"),
    lockPath: join(folder, "running.lock"),
    operationLockPath: join(folder, "operation.lock"),
    ownerLockPath: join(folder, "owner.lock"),
    socketPath: join(paths.sockets, `${id}.sock`),
    channelPath: join(paths.sockets, `${id}.guest`),
    sharesFolder: join(folder, "shares"),
    sharesSocketPath: join(paths.sockets, `${id}.shares`),
    controlPath: join(paths.sockets, `${id}.control`),
    networkSocketPath: join(paths.sockets, `${id}.net`),
    networkControlPath: join(paths.sockets, `${id}.netctl`),
    secretsSocketPath: join(paths.sockets, `${id}.secrets`),
  };
}

function socketFolder(): string {
  const runtime = Deno.env.get("XDG_RUNTIME_DIR");
  return runtime ? join(runtime, "hutch") : `/tmp/hutch-${Deno.uid() ?? 0}`;
}
