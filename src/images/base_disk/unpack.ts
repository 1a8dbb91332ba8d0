/**
 * From an image's layers to its base disk, off the main thread.
 *
 * @module
 */
import { removeIfThere } from "../../atomic_file.ts";
import { type ErrorCode, HutchError } from "../../errors.ts";
import { checkLimits, type ImageLimits } from "../../../ffi/helper.ts";
import { layerCompression } from "../manifest.ts";
import { isCompiled } from "../../own_process.ts";
import { requirePermissions } from "../../permissions.ts";
import type { BaseDiskRequest, BuildBaseDisk } from "./base_disks.ts";

const WORKER = new URL("./unpack_worker.ts", import.meta.url);
/** Where the worker's modules are: what a worker imports, its program must be allowed to read. */
const MODULES = ["../../", "../../../ffi/"].map((path) => new URL(path, import.meta.url));

/** What {@link buildBaseDisk} gets. */
export interface UnpackRequest extends BaseDiskRequest {
  /** What the image may hold. */
  readonly limits?: ImageLimits;
}

/** How a layer's file is compressed. */
export type Compression = "none" | "gzip" | "zstd";

/** A layer as the worker gets it. */
export interface UnpackLayer {
  readonly path: string;
  readonly compression: Compression;
  readonly diffId: string;
}

/** Sent to the worker, first. */
export interface UnpackJob {
  readonly layers: readonly UnpackLayer[];
  readonly uuidFrom: string;
  readonly output: string;
  readonly limits: ImageLimits;
}

/** What the worker sends; `done` or `failed` is the last. */
export type UnpackMessage =
  | { readonly type: "progress"; readonly bytes: number }
  | { readonly type: "done" }
  | {
    readonly type: "failed";
    /** Undefined for what isn't a HutchError. */
    readonly code: ErrorCode | undefined;
    readonly message: string;
    readonly hint: string | undefined;
  };

/**
 * Makes a base disk: decompresses each layer, checks its diff ID and writes it straight into an
 * ext4 image, which is synced at the end. The same layers and `uuidFrom` give the same bytes.
 *
 * `output` gets its bytes as they come, so it must be a name that doesn't count yet; the caller
 * renames it when this returns. On failure it is removed.
 *
 * @throws HutchError `invalid_image`, `digest_mismatch`, `limit_exceeded`, `no_space`, `cancelled`,
 * `part_missing`, `invalid_option` when `output` exists
 */
export async function buildBaseDisk(request: UnpackRequest): Promise<void> {
  const { signal, output } = request;
  const layers = request.layers.map(({ path, mediaType, diffId }) => ({
    path,
    diffId,
    compression: compressionOf(mediaType, diffId),
  }));
  if (signal.aborted) throw cancelled(output, signal);
  const { uuidFrom, limits = {} } = request;
  try {
    await runWorker({ layers, uuidFrom, output, limits }, request);
  } catch (error) {
    // The name was somebody else's file before us: it isn't ours to remove.
    if (!(error instanceof HutchError && error.code === "invalid_option")) {
      await removeIfThere(output);
    }
    throw error;
  }
}

/**
 * {@link buildBaseDisk} with limits.
 *
 * @throws HutchError `invalid_option` for limits that can't be meant
 */
export function baseDiskBuilder(limits: ImageLimits = {}): BuildBaseDisk {
  checkLimits(limits);
  return (request) => buildBaseDisk({ ...request, limits });
}

function compressionOf(mediaType: string, diffId: string): Compression {
  const compression = layerCompression(mediaType);
  if (compression !== undefined) return compression;
  throw new HutchError(
    "invalid_image",
    `Cannot unpack layer ${diffId}: its media type ${JSON.stringify(mediaType)} is unknown`,
  );
}

function cancelled(output: string, signal: AbortSignal): HutchError {
  return new HutchError("cancelled", `Cannot make disk ${output}: it was cancelled`, {
    cause: signal.reason,
  });
}

/**
 * The worker is asked to stop and never terminated while it works: C may be reading memory of its
 * heap on another thread.
 */
async function runWorker(job: UnpackJob, request: UnpackRequest): Promise<void> {
  const { signal, onProgress } = request;
  if (WORKER.protocol === "file:" && !isCompiled()) {
    requirePermissions("unpack an image", MODULES.map((path) => ({ name: "read", path })));
  }
  const worker = new Worker(WORKER, { type: "module" });
  const stop = () => worker.postMessage("stop");
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  worker.onmessage = ({ data }: MessageEvent<UnpackMessage>) => {
    if (data.type === "progress") onProgress?.(data.bytes);
    else if (data.type === "done") resolve();
    else reject(failure(data));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(`Cannot make disk ${job.output}: its worker died: ${event.message}`));
  };
  signal.addEventListener("abort", stop, { once: true });
  try {
    worker.postMessage(job);
    await promise;
  } catch (error) {
    throw signal.aborted ? cancelled(job.output, signal) : error;
  } finally {
    signal.removeEventListener("abort", stop);
    worker.terminate();
  }
}

function failure(failed: Extract<UnpackMessage, { type: "failed" }>): Error {
  const { code, message, hint } = failed;
  if (code === undefined) return new Error(message);
  return new HutchError(code, message, hint === undefined ? {} : { hint });
}
