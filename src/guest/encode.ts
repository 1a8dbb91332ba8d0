/**
 * Encoding what the host says.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { writeCbor } from "./cbor_writer.ts";
import type { Control, Request } from "./messages.ts";
import { MAX_MESSAGE } from "./protocol.ts";

/**
 * A message as CBOR. `what` follows "Cannot" in the error.
 *
 * @throws {HutchError} `limit_exceeded` if it is larger than a frame may be
 */
export function encodeMessage(message: Request | Control, what: string): Uint8Array {
  const bytes = writeCbor(message);
  if (bytes.length > MAX_MESSAGE) {
    throw new HutchError(
      "limit_exceeded",
      `Cannot ${what}: its arguments and environment are ${bytes.length} bytes, over ${MAX_MESSAGE}`,
    );
  }
  return bytes;
}
