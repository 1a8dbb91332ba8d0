/**
 * A client of a box process that tests read and write frame by frame.
 *
 * @module
 */
import assert from "node:assert/strict";
import { makeFrame } from "../../src/guest/codec.ts";
import { encodeMessage } from "../../src/guest/encode.ts";
import { FrameReader } from "../../src/guest/frame_reader.ts";
import { FrameType } from "../../src/guest/protocol.ts";
import { exec } from "./box.ts";

/** A client that speaks in frames, and reads only when told to. */
export class RawClient implements Disposable {
  readonly #conn: Deno.Conn;
  readonly #reader: FrameReader;

  private constructor(conn: Deno.Conn) {
    this.#conn = conn;
    this.#reader = new FrameReader(conn, "agent");
  }

  /** Connects to a box process's socket. */
  static async connect({ path }: { readonly path: string }): Promise<RawClient> {
    return new RawClient(await Deno.connect({ transport: "unix", path }));
  }

  /** A client that has had its HELLO. */
  static async greeted(box: { readonly path: string }): Promise<RawClient> {
    const client = await RawClient.connect(box);
    assert.equal((await client.next())?.type, FrameType.HELLO);
    return client;
  }

  /** Sends frames. */
  async send(...frames: readonly Uint8Array[]): Promise<void> {
    for (const frame of frames) {
      for (let at = 0; at < frame.length;) at += await this.#conn.write(frame.subarray(at));
    }
  }

  /** Asks for a command. */
  open(stream: number, ...argv: string[]): Promise<void> {
    return this.send(makeFrame(FrameType.OPEN, stream, encodeMessage(exec(...argv), "run")));
  }

  /** The next frame, or null at the end. */
  async next(): Promise<
    { type: number; stream: number; flags: number; payload: Uint8Array } | null
  > {
    while (!this.#reader.next()) {
      assert.equal(this.#reader.problem, undefined);
      if (!await this.#reader.fill().catch(() => false)) return null;
    }
    const { type, stream, flags } = this.#reader.header;
    return { type, stream, flags, payload: this.#reader.payload.slice() };
  }

  /** Reads until the relay ends the connection. */
  async ended(): Promise<void> {
    while (await this.next()) { /* dropped */ }
  }

  /** Ends the connection. */
  [Symbol.dispose](): void {
    this.#conn.close();
  }
}
