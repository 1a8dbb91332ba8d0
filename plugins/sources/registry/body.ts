/**
 * Reading answers of servers that may send too much, or nothing more.
 *
 * @module
 */
import { HutchError } from "../../../mod.ts";

/** The stream as it is, but it breaks when no byte comes for `stallMs`. */
export function withStallLimit(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  stallMs: number,
  host: string,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const stalled = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => {
          reject(
            new HutchError(
              "registry_failed",
              `Cannot read from ${host}: it sent nothing for ${stallMs} ms`,
            ),
          );
        }, stallMs);
      });
      try {
        const { value, done } = await Promise.race([reader.read(), stalled]);
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        await reader.cancel(error).catch(() => {});
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

/** All bytes of a stream, or undefined when there are more than `limit`. */
export async function readLimited(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  limit: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const chunk of body) { // leaving the loop early cancels the stream
    size += chunk.length;
    if (size > limit) return undefined;
    chunks.push(chunk);
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** The server's own words in an error answer, if they can be shown; one line, at most 200 characters. */
export async function errorDetail(
  body: ReadableStream<Uint8Array<ArrayBuffer>> | null,
): Promise<string | undefined> {
  if (body === null) return undefined;
  try {
    const bytes = await readLimited(body, 64 * 1024);
    const answer: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const text = firstMessage(answer);
    // deno-lint-ignore no-control-regex -- a server may send anything
    return text?.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ").trim().slice(0, 200) || undefined;
  } catch {
    return undefined; // the status has to do
  }
}

/** Of the distribution specification's `{ errors: [{ code, message }] }`. */
function firstMessage(answer: unknown): string | undefined {
  const errors = fieldOf(answer, "errors");
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  const code = fieldOf(first, "code");
  const message = fieldOf(first, "message");
  if (typeof message === "string" && message !== "") return message;
  return typeof code === "string" ? code : undefined;
}

/** A field of anything. */
export function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.entries(value).find(([key]) => key === name)?.[1];
}
