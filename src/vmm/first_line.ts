/**
 * What a process that was started says first.
 *
 * @module
 */
import type { Readable } from "node:stream";

/** Longest first line that is waited for, in characters. */
const LIMIT = 16 * 1024;

/** The first line of a process's output; what there was of it, if it ends before. Never rejects. */
export function firstLine(stream: Readable): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const done = () => {
      stream.removeAllListeners("data");
      resolve(text.split("\n", 1)[0] ?? "");
    };
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      text += chunk;
      if (text.includes("\n") || text.length > LIMIT) done();
    });
    for (const end of ["end", "error", "close"]) stream.once(end, done);
  });
}
