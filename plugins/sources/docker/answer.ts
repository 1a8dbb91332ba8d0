/**
 * An engine's answers.
 *
 * @module
 */

/** Largest answer but an export, in bytes. */
export const ANSWER_LIMIT = 8 * 1024 * 1024;

/** A body's pieces; `alive` hears of each. */
export async function* watched(
  body: ReadableStream<Uint8Array>,
  alive: () => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    alive();
    yield piece;
  }
}

/** A small answer's bytes. */
export async function collect(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const piece of pieces) {
    size += piece.length;
    if (size > ANSWER_LIMIT) throw new Error(`its answer is larger than ${ANSWER_LIMIT} bytes`);
    parts.push(new Uint8Array(piece));
  }
  return await new Blob(parts).bytes();
}

/** The engine's own words, if it has some. */
export function messageIn(bytes: Uint8Array): string {
  try {
    const { message } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof message === "string" ? `: ${JSON.stringify(message.slice(0, 300))}` : "";
  } catch {
    return "";
  }
}
