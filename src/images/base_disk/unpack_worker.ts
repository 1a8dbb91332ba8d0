/**
 * The worker of {@link buildBaseDisk}: decompresses and hashes here while the helper writes on a
 * thread of its own.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { createHash } from "node:crypto";
import { asReason, errorText, HutchError } from "../../errors.ts";
import { Ext4Image } from "../../../ffi/helper.ts";
import { layerBytes } from "./layer_stream.ts";
import type { UnpackJob, UnpackLayer, UnpackMessage } from "./unpack.ts";

const PROGRESS_STEP = 4 * 1024 * 1024;

const stopping = new AbortController();

self.onmessage = async ({ data }: MessageEvent<UnpackJob | "stop">) => {
  if (data === "stop") {
    stopping.abort();
    return;
  }
  try {
    await unpack(data);
    send({ type: "done" });
  } catch (error) {
    const known = error instanceof HutchError ? error : undefined;
    send({ type: "failed", code: known?.code, message: errorText(error), hint: known?.hint });
  }
};

function send(message: UnpackMessage): void {
  self.postMessage(message);
}

async function unpack({ layers, uuidFrom, output, limits }: UnpackJob): Promise<void> {
  using image = Ext4Image.create(output, uuidFrom, limits);
  const progress = countProgress();
  for (const layer of layers) await applyLayer(image, layer, progress);
  stopping.signal.throwIfAborted();
  await image.finish();
}

async function applyLayer(
  image: Ext4Image,
  layer: UnpackLayer,
  progress: (bytes: number) => void,
): Promise<void> {
  const hash = createHash("sha256");
  try {
    await image.applyLayer(hashed(layerBytes(layer, progress), hash));
  } catch (error) {
    if (!(error instanceof HutchError)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    const message = `Cannot unpack layer ${layer.diffId}: ${asReason(error.message)}`;
    throw new HutchError(error.code, message, { cause: error, ...hint });
  }
  const found = `sha256:${hash.digest("hex")}`;
  if (found === layer.diffId) return;
  throw new HutchError(
    "digest_mismatch",
    `Cannot unpack layer ${layer.diffId}: its content has digest ${found}`,
  );
}

async function* hashed(
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const piece of pieces) {
    stopping.signal.throwIfAborted();
    hash.update(piece);
    yield piece;
  }
}

function countProgress(): (bytes: number) => void {
  let total = 0;
  let told = 0;
  return (bytes) => {
    total += bytes;
    if (total - told < PROGRESS_STEP) return;
    told = total;
    send({ type: "progress", bytes: total });
  };
}
