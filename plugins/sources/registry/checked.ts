/**
 * Blobs that are held against their digests while they are read.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { HutchError } from "../../../mod.ts";
import type { BlobAnswer } from "./endpoints.ts";

/** What a blob must be. */
export interface BlobIdentity {
  readonly digest: string;
  /** In bytes, if it is known. */
  readonly size: number | undefined;
  /** Who gives it, for errors. */
  readonly host: string;
}

/**
 * The same stream, which breaks when its bytes turn out to be wrong: whoever reads it hasn't got the
 * last of them by then. Of a blob that doesn't begin at 0 only the size is checked.
 *
 * @param onFailure Told when the stream breaks, and whether the bytes so far are useless.
 */
export function checked(
  { start, body }: BlobAnswer,
  { digest, size, host }: BlobIdentity,
  onFailure: (wrong: boolean) => void,
): BlobAnswer {
  const reader = body.getReader();
  const hash = start === 0 ? createHash("sha256") : undefined;
  let position = start;
  let held: Uint8Array<ArrayBuffer> | undefined;
  const fail = (controller: ReadableStreamDefaultController, problem: string) => {
    onFailure(true);
    void reader.cancel().catch(() => {});
    controller.error(new HutchError("registry_failed", `Cannot read from ${host}: ${problem}`));
  };
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      for (;;) {
        let next: ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;
        try {
          next = await reader.read();
        } catch (error) {
          onFailure(false);
          throw error;
        }
        if (next.done) {
          const short = size !== undefined && position < size;
          const found = hash && `sha256:${hash.digest("hex")}`;
          if (short) onFailure(false); // the others may be right
          else if (found !== undefined && found !== digest) {
            return fail(controller, `blob ${digest} has digest ${found}`);
          }
          if (held) controller.enqueue(held);
          return controller.close();
        }
        hash?.update(next.value);
        position += next.value.length;
        if (size !== undefined && position > size) {
          return fail(controller, `blob ${digest} has more than its ${size} bytes`);
        }
        const before = held;
        held = next.value;
        if (before) return controller.enqueue(before);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
  return { start, body: stream };
}
