/**
 * Whole files: read at once, written at once.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { FileHandle, load, Reader, Writer } from "./handle.ts";
import { checkMode, checkMost } from "./numbers.ts";
import type { FileReadOptions, FileWriteOptions } from "./options.ts";
import type { BoxPath } from "./paths.ts";
import type { FilesPort } from "./port.ts";
import { Flag, MAX_DATA } from "./wire.ts";

const MAX_BYTES = 2 ** 30;

/** All bytes of a file. */
export async function readWhole(
  port: FilesPort,
  path: BoxPath,
  { signal, maxBytes = MAX_BYTES }: FileReadOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  checkMost("maxBytes", maxBytes);
  const first = await load(port, { path, verb: "read", head: { op: "load" }, signal });
  using file = first.handle;
  const parts = [first.data];
  let length = first.data.length;
  const reader = file ? new Reader(file, length, signal) : undefined;
  for (let part = await reader?.next(); part; part = await reader?.next()) {
    parts.push(part);
    length += part.length;
    if (length > maxBytes) break;
    if (part.length < MAX_DATA && length === file?.size) break; // no need to look for an end
  }
  if (length > maxBytes) throw tooLarge(port, path, maxBytes);
  const [only] = parts;
  if (parts.length === 1 && only) return only;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Writes a file from its beginning, or its end. */
export async function writeWhole(
  port: FilesPort,
  path: BoxPath,
  { data, options }: {
    readonly data: Uint8Array | ReadableStream<Uint8Array>;
    readonly options: FileWriteOptions;
  },
): Promise<void> {
  const { append = false, create = true, createNew = false, signal } = options;
  const mode = options.mode === undefined ? undefined : checkMode(options.mode);
  const flags = (append ? Flag.APPEND : Flag.WRITE | Flag.TRUNCATE) |
    (createNew ? Flag.CREATE_NEW : create ? Flag.CREATE : 0);
  if (data instanceof Uint8Array && data.length <= MAX_DATA) {
    const setMode = mode === undefined ? 0 : Flag.SET_MODE;
    const head = {
      op: "store",
      path: port.path(path),
      flags: flags | setMode,
      mode: mode ?? 0o666,
    };
    await port.ask({ what: port.what("write", path), head, data, signal });
    return;
  }
  const file = await FileHandle.open(port, { path, flags, mode, verb: "write", signal });
  try {
    if (mode !== undefined) await file.ask("chmod", { mode }, { signal });
    const writer = new Writer(file, file.seekable && !append ? 0 : undefined, signal);
    try {
      if (data instanceof Uint8Array) await writer.add(data);
      else await pour(data, writer, signal);
    } finally {
      await writer.end(); // with an error of its own: the first one counts
    }
  } catch (error) {
    await file.close().catch(() => {}); // that it is incomplete is known
    throw error;
  }
  await file.close();
}

/** Small chunks are gathered: each request costs the same. */
async function pour(
  stream: ReadableStream<Uint8Array>,
  writer: Writer,
  signal: AbortSignal | undefined,
): Promise<void> {
  let gathered = new Uint8Array(MAX_DATA);
  let used = 0;
  const flush = async () => {
    await writer.add(gathered.subarray(0, used));
    [gathered, used] = [new Uint8Array(MAX_DATA), 0];
  };
  for await (const chunk of abortable(stream, signal)) {
    if (used + chunk.length > MAX_DATA) await flush();
    if (chunk.length >= MAX_DATA) {
      await writer.add(chunk);
    } else {
      gathered.set(chunk, used);
      used += chunk.length;
    }
  }
  await flush();
}

function abortable(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): ReadableStream<Uint8Array> {
  return signal
    ? stream.pipeThrough(new TransformStream<Uint8Array, Uint8Array>(), { signal })
    : stream;
}

function tooLarge(port: FilesPort, path: BoxPath, maxBytes: number): HutchError {
  return new HutchError(
    "limit_exceeded",
    `Cannot ${port.what("read", path)}: it has more than ${maxBytes} bytes`,
    { hint: "read it as a stream with open, or raise maxBytes" },
  );
}
