/**
 * Where an archive is read from: a file or a stream.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { cancelled, orCancelled } from "../../images/wait.ts";
import type { ArchiveProgress } from "./export.ts";

/** An archive's bytes, until disposed. */
export interface ArchiveSource extends AsyncDisposable {
  readonly bytes: AsyncIterable<Uint8Array<ArrayBuffer>>;
}

const CHUNK = 1024 * 1024;

/**
 * Opens an archive.
 *
 * @throws {HutchError} `invalid_option` when there is no such file.
 */
export async function openSource(
  from: string | ReadableStream<Uint8Array<ArrayBuffer>>,
  { signal, onProgress = () => {} }: {
    readonly signal: AbortSignal;
    readonly onProgress?: ((progress: ArchiveProgress) => void) | undefined;
  },
): Promise<ArchiveSource> {
  if (typeof from !== "string") {
    const reader = from.getReader();
    const read = async () => {
      const { value, done } = await reader.read();
      return done ? undefined : value;
    };
    return {
      bytes: counted(read, { signal, onProgress }),
      // Who sends it may do nothing any more, not even end.
      [Symbol.asyncDispose]: async () => void await reader.cancel().catch(() => {}),
    };
  }
  const file = await openFile(from, signal);
  const { isFile, size } = await file.stat();
  const read = async () => {
    const chunk = new Uint8Array(CHUNK);
    const count = await file.read(chunk);
    return count === null ? undefined : chunk.subarray(0, count);
  };
  return {
    bytes: counted(read, { signal, onProgress, ...isFile ? { total: size } : {} }),
    [Symbol.asyncDispose]: () => Promise.resolve(file.close()),
  };
}

async function* counted(
  read: () => Promise<Uint8Array<ArrayBuffer> | undefined>,
  { signal, onProgress, total }: {
    readonly signal: AbortSignal;
    readonly onProgress: (progress: ArchiveProgress) => void;
    readonly total?: number;
  },
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let done = 0;;) {
    if (signal.aborted) throw cancelled("import a box", signal);
    const chunk = await orCancelled(read(), "import a box", { signal });
    if (chunk === undefined) return;
    yield chunk;
    done += chunk.length;
    onProgress({ done, ...total === undefined ? {} : { total } });
  }
}

async function openFile(path: string, signal: AbortSignal): Promise<Deno.FsFile> {
  let problem: string;
  try {
    // A named pipe opens when somebody writes.
    const late = (file: Deno.FsFile) => file.close();
    const file = await orCancelled(Deno.open(path), "import a box", { signal, late });
    if (!(await file.stat()).isDirectory) return file;
    file.close();
    problem = "it is a folder";
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    if (!missing && !(error instanceof Deno.errors.PermissionDenied)) throw error;
    problem = missing ? "it isn't there" : "it can't be read";
  }
  throw new HutchError("invalid_option", `Cannot import ${path}: ${problem}`);
}
