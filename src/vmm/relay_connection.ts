/**
 * One of the box process's own connections to its relay: what is said on it waits in a queue.
 *
 * @module
 */
import { SendQueue } from "../guest/send_queue.ts";

/** See the module. */
export class RelayConnection {
  /** What is read from. */
  readonly conn: Deno.Conn;
  /** What is written to. */
  readonly queue: SendQueue;
  #closed = false;

  /** Takes a connection over. */
  constructor(conn: Deno.Conn) {
    this.conn = conn;
    this.queue = new SendQueue(conn, () => {}); // reading finds out too
  }

  /** Says why reading failed, unless it was ended from here. */
  failed(error: unknown): void {
    if (!this.#closed) console.error(error);
  }

  /** Ends it; idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.queue.stop();
    this.conn.close();
  }
}
