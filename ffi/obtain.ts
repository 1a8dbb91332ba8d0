/**
 * Brings the native parts beside modules that came from a URL: a release's own files, else the C
 * sources, compiled once. Only programs that need one of them load this.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { makeOnce, removeIfThere } from "../src/atomic_file.ts";
import { errorText, HutchError } from "../src/errors.ts";
import { buildTarget, systemCompiler } from "./build.ts";
import { type Part, sourcesOf, targetOf } from "./parts.ts";

/** How long one file may take to come, in `ms`. */
const FETCH_MS = 60_000;
/** Files that are fetched at once. */
const PARALLEL = 8;

/** What {@link obtainPart} gets. */
export interface ObtainRequest {
  readonly part: Part;
  /** Where `mod.ts` is: a URL that ends with a slash. */
  readonly base: URL;
  /** A release's file of the part; undefined where it has none for this machine. */
  readonly prebuilt?: {
    /** Below `base`. */
    readonly file: string;
    readonly sha256: string;
    /** Where it is kept. */
    readonly path: string;
  };
  readonly sources: {
    /** SHA-256 by path below `ffi/`. */
    readonly digests: Readonly<Record<string, string>>;
    /** Where what they make is kept. */
    readonly path: string;
  };
  /** C compiler. @default {systemCompiler()} */
  readonly compiler?: string;
}

/**
 * Makes a part's file, unless it is there by now: any number of programs may want the same.
 *
 * @throws HutchError `part_missing` with both ways to mend it; `no_space`.
 */
export async function obtainPart(request: ObtainRequest): Promise<void> {
  const { part, prebuilt } = request;
  const problems: string[] = [];
  if (prebuilt) {
    try {
      return await fetchPrebuilt(prebuilt, request.base);
    } catch (error) {
      if (isNoSpace(error)) throw error;
      problems.push(errorText(error));
    }
  }
  try {
    return await compile(request);
  } catch (error) {
    if (isNoSpace(error)) throw error;
    problems.push(errorText(error));
    throw new HutchError(
      "part_missing",
      `Cannot get the native part ${part.file}: ${problems.join("; ")}`,
      {
        hint: "install a C compiler and the libraries' headers (Debian: apt-get install gcc " +
          `libc6-dev libext2fs-dev libarchive-dev libzstd-dev), or name a built one with ${part.variable}`,
        cause: error,
      },
    );
  }
}

async function fetchPrebuilt(
  { file, sha256, path }: NonNullable<ObtainRequest["prebuilt"]>,
  base: URL,
): Promise<void> {
  if (await digestOfFile(path) === sha256) return;
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await removeIfThere(path); // damaged: it would count as made
  await makeOnce(path, async (temporary) => {
    await Deno.writeFile(temporary, await fetchVerified(new URL(file, base), sha256), {
      mode: 0o700,
    });
  });
}

async function compile({ part, base, sources, compiler }: ObtainRequest): Promise<void> {
  await Deno.mkdir(dirname(sources.path), { recursive: true, mode: 0o700 });
  await makeOnce(sources.path, async (temporary) => {
    const work = `${temporary}.work`;
    await removeIfThere(work); // of a maker that died: we hold the lock
    try {
      const ffi = join(work, "ffi");
      await fetchSources({ part, base, digests: sources.digests, folder: ffi });
      const output = join(work, "build", part.file);
      await buildTarget(targetOf(part, ffi, { output }), compiler ?? systemCompiler());
      await Deno.rename(output, temporary);
    } finally {
      await removeIfThere(work);
    }
  });
}

async function fetchSources({ part, base, digests, folder }: {
  readonly part: Part;
  readonly base: URL;
  readonly digests: Readonly<Record<string, string>>;
  readonly folder: string;
}): Promise<void> {
  const files = sourcesOf(part, Object.keys(digests));
  for (const file of files) await Deno.mkdir(dirname(join(folder, file)), { recursive: true });
  let next = 0;
  const worker = async () => {
    for (let file = files[next++]; file !== undefined; file = files[next++]) {
      const bytes = await fetchVerified(new URL(`ffi/${file}`, base), digests[file] ?? "");
      await Deno.writeFile(join(folder, file), bytes);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
}

async function fetchVerified(url: URL, sha256: string): Promise<Uint8Array> {
  const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_MS) });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`${url} answers ${response.status}`);
  }
  const bytes = await response.bytes();
  const found = createHash("sha256").update(bytes).digest("hex");
  if (found === sha256) return bytes;
  throw new Error(`${url} has the SHA-256 ${found}, not ${sha256}`);
}

async function digestOfFile(path: string): Promise<string | undefined> {
  try {
    return createHash("sha256").update(await Deno.readFile(path)).digest("hex");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function isNoSpace(error: unknown): boolean {
  return error instanceof HutchError && error.code === "no_space";
}
