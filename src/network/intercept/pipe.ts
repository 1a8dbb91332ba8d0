/**
 * Bytes from one connection to another.
 *
 * @module
 */

const PIECE = 64 * 1024;
const ACCEPT_PAUSE_MS = 100;

/** A connection whose sides can end one after the other. */
export type Duplex = Deno.TcpConn | Deno.UnixConn;

/** Writes all of it. */
export async function writeAll(to: Duplex, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

/** Lets bytes wait where they come from, while there is no room for more where they go. */
export class Valve {
  #shut: PromiseWithResolvers<void> | undefined;

  /** Shuts, or opens; idempotent. */
  set(open: boolean): void {
    if (!open) this.#shut ??= Promise.withResolvers();
    else if (this.#shut) {
      this.#shut.resolve();
      this.#shut = undefined;
    }
  }

  get isOpen(): boolean {
    return this.#shut === undefined;
  }

  /** Resolves when it is open. */
  async opened(): Promise<void> {
    while (this.#shut) await this.#shut.promise;
  }
}

/** Carries bytes to their end, which it passes on. */
async function carry(from: Duplex, to: Duplex, valve: Valve | undefined): Promise<void> {
  const buffer = new Uint8Array(PIECE);
  for (let n; (n = await from.read(buffer)) !== null;) {
    await writeAll(to, buffer.subarray(0, n));
    await valve?.opened();
  }
  await to.closeWrite();
}

/** What goes from `a` to `b`, or back, may wait at a valve. */
export interface Valves {
  readonly forth?: Valve;
  readonly back?: Valve;
}

/** Joins two connections until both sides have ended, or one fails; closes both. */
export async function join(a: Duplex, b: Duplex, { forth, back }: Valves = {}): Promise<void> {
  try {
    await Promise.all([carry(a, b, forth), carry(b, a, back)]);
  } finally {
    close(a);
    close(b);
  }
}

/** Closes a connection that may be closed. */
export function close(connection: { close(): void }): void {
  try {
    connection.close();
  } catch {
    // It is.
  }
}

/**
 * Takes connections until the listener is closed. One that can't be taken, since there are too many
 * files open, say, waits in its queue.
 */
export async function acceptAll<C extends Duplex>(
  listener: Deno.Listener<C>,
  take: (connection: C) => void,
): Promise<void> {
  for (;;) {
    try {
      take(await listener.accept());
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
    }
  }
}

/** Reads up to the first `end`, `limit` bytes at most: the text before, and the bytes behind it. */
export async function readHead(
  from: Duplex,
  end: string,
  limit: number,
): Promise<{ readonly head: string; readonly rest: Uint8Array }> {
  const buffer = new Uint8Array(limit);
  for (let length = 0; length < limit;) {
    const n = await from.read(buffer.subarray(length));
    if (n === null) break;
    length += n;
    const text = new TextDecoder("latin1").decode(buffer.subarray(0, length));
    const at = text.indexOf(end);
    if (at >= 0) return { head: text.slice(0, at), rest: buffer.slice(at + end.length, length) };
  }
  throw new Error("a connection begins with something else");
}
