/**
 * Who ran what: a file of JSON lines with every command and every step of a box's life. The file is
 * only appended to, under a lock, so any number of programs may share one; a full one is renamed to
 * `PATH.1`, the one before to `PATH.2`, and so on.
 *
 * A line has `time`, `event` (as in plugins/README.md), `by` (the program's user, uid and pid), the
 * box's `image`, and what the event says: `box`, `name`, `command`, `code`, `signal`, `ms`, …
 * Commands are written with their arguments: pass secrets in another way.
 *
 * Options and their defaults: {@link AuditOptions}.
 *
 * @example
 * ```ts
 * import { Runtime } from "../mod.ts";
 * import { audit } from "./audit.ts";
 * const path = await Deno.makeTempFile();
 * {
 *   await using runtime = await Runtime.open({ plugins: [audit({ path, required: true })] });
 *   await using box = await runtime.create({ image: "builtin:busybox", memory: 128 });
 *   await box.exec("echo", ["hello"]);
 * }
 * console.log(await Deno.readTextFile(path)); // {"time":…,"event":"exec.asked",…}, …
 * ```
 * @module
 */
import { userInfo } from "node:os";
import { definePlugin, type Events, type HutchEvent } from "../mod.ts";
import type { Plugin, PluginContext } from "../mod.ts";

/** Options of {@link audit}. */
export interface AuditOptions {
  /** The file; its folder exists. Made with mode 0600. */
  readonly path: string;
  /** A file that would grow over so many bytes is rotated. @default {10 MiB} */
  readonly maxBytes?: number;
  /** Old files to keep; 0 keeps none. @default {5} */
  readonly keep?: number;
  /** Wait until each line is on the disk. @default {false} */
  readonly sync?: boolean;
  /** Run no command whose line (`exec.asked`) can't be written. @default {false} */
  readonly required?: boolean;
}

/** For how long other programs may hold the file, in `ms`. */
const PATIENCE_MS = 5_000;
const EVENTS = [
  ...["box.created", "box.started", "box.paused", "box.resumed", "box.stopped"] as const,
  ...["box.failed", "box.crashed", "box.removed", "exec.started", "exec.exited"] as const,
  ...["image.pulled", "image.tagged", "image.removed", "plugin.failed"] as const,
] satisfies readonly (keyof Events)[];

/** Makes the plugin. */
export function audit(options: AuditOptions): Plugin {
  const images = new Map<string, string>(); // the last events come when the box isn't known any more
  const by = { user: userName(), uid: Deno.uid(), pid: Deno.pid };
  let tail: Promise<void> = Promise.resolve();
  let giveUpAt = Infinity;
  const write = (line: Readonly<Record<string, unknown>>) => {
    const written = tail.then(() => append(`${JSON.stringify(line)}\n`, options, giveUpAt));
    tail = written.catch(() => {}); // whoever asked hears of it
    return written;
  };
  const listen = ({ type, at, ...about }: HutchEvent, { box }: PluginContext) => {
    const id = "box" in about ? about.box ?? "" : "";
    if (box) images.set(id, box.config.image.reference);
    const image = images.get(id);
    if (type === "box.removed") images.delete(id);
    return write({ time: at, event: type, by, image, ...about });
  };
  return definePlugin({
    name: "audit",
    order: "post", // what the other plugins made of a command is what will be run
    on: Object.fromEntries(EVENTS.map((type) => [type, listen])),
    operations: !options.required ? {} : {
      exec: {
        async before({ command, args, options: { user } }, { box }) {
          const what = { command: [command, ...args], user: user ?? box?.config.exec.user };
          const about = { box: box?.id, name: box?.name, image: box?.config.image.reference };
          const time = new Date().toISOString();
          await write({ time, event: "exec.asked", by, ...about, ...what });
        },
      },
    },
    async setup() {
      (await open(options.path)).close(); // says early that it can't be written
      return {
        async [Symbol.asyncDispose]() {
          giveUpAt = performance.now() + PATIENCE_MS;
          await tail;
        },
      };
    },
  });
}

/** Appends a line in one write, rotating the file before if need be. */
async function append(line: string, options: AuditOptions, giveUpAt: number): Promise<void> {
  const { path, maxBytes = 10 * 2 ** 20, keep = 5, sync = false } = options;
  const until = Math.min(giveUpAt, performance.now() + PATIENCE_MS);
  for (;;) {
    using file = await open(path);
    while (!await file.tryLock(true)) {
      if (performance.now() > until) throw new Error(`${path} is locked by another program`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const [{ size, ino, dev }, named] = await Promise.all([file.stat(), statOf(path)]);
    if (named?.ino !== ino || named.dev !== dev) continue; // rotated meanwhile
    // A program that was killed in the middle of its write left a piece of a line.
    const last = new Uint8Array([10]);
    if (size > 0) await file.seek(size - 1, Deno.SeekMode.Start).then(() => file.read(last));
    const bytes = new TextEncoder().encode(last[0] === 10 ? line : `\n${line}`);
    if (size > 0 && size + bytes.length > maxBytes) {
      await rotate(path, keep);
      continue;
    }
    if (await file.write(bytes) < bytes.length) {
      await file.truncate(size);
      throw new Error(`${path} took only a part of a line: its disk is full`);
    }
    return sync ? await file.syncData() : undefined;
  }
}

function open(path: string): Promise<Deno.FsFile> {
  return Deno.open(path, { read: true, append: true, create: true, mode: 0o600 });
}

/** Moves the files on. Whoever does it holds the lock of the file at `path`. */
async function rotate(path: string, keep: number): Promise<void> {
  if (keep < 1) return await Deno.remove(path);
  const name = (number: number) => number === 0 ? path : `${path}.${number}`;
  let last = 0;
  while (last < keep - 1 && await statOf(name(last + 1))) last++;
  for (; last >= 0; last--) await Deno.rename(name(last), name(last + 1));
}

function statOf(path: string): Promise<Deno.FileInfo | undefined> {
  return Deno.stat(path).catch(() => undefined);
}

/** Undefined for a user without an entry, and without the permission to ask. */
function userName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}
