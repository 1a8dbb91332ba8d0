/**
 * A connection within the process.
 *
 * @module
 */
import type { RelayConn } from "./relay_client.ts";

/** One direction. Nobody is held up: the relay's windows bound what is on its way. */
class Direction {
  readonly #pieces: Uint8Array[] = [];
  #closed = false;
  #came = Promise.withResolvers<void>();

  /** Takes a copy: the caller goes on with its memory. */
  write(bytes: Uint8Array): Promise<number> {
    if (this.#closed) return Promise.reject(new Deno.errors.BrokenPipe("the other end is closed"));
    this.#pieces.push(bytes.slice());
    this.#wake();
    return Promise.resolve(bytes.length);
  }

  async read(into: Uint8Array): Promise<number | null> {
    for (;;) {
      const [piece] = this.#pieces;
      if (piece) {
        const length = Math.min(piece.length, into.length);
        into.set(piece.subarray(0, length));
        if (length === piece.length) this.#pieces.shift();
        else this.#pieces[0] = piece.subarray(length);
        return length;
      }
      if (this.#closed) return null;
      await this.#came.promise;
    }
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    this.#came.resolve();
    this.#came = Promise.withResolvers();
  }
}

/** Two ends: what is written to one is read from the other, until either is closed. */
export function connectedPair(): readonly [RelayConn, RelayConn] {
  const [there, back] = [new Direction(), new Direction()];
  const close = () => {
    there.close();
    back.close();
  };
  const end = (from: Direction, to: Direction): RelayConn => ({
    read: (into) => from.read(into),
    write: (bytes) => to.write(bytes),
    close,
  });
  return [end(back, there), end(there, back)];
}
