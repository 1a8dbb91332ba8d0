/**
 * A client of a box whose agent is a double, for the tests of the client and of its streams.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { ErrorCode } from "../../src/errors.ts";
import { HutchError } from "../../src/errors.ts";
import { GuestClient } from "../../src/guest/client.ts";
import type { AgentScript } from "../doubles/agent.ts";
import { BoxDouble } from "../doubles/box.ts";

/** All of a stream. */
export const text = (stream: ReadableStream<Uint8Array<ArrayBuffer>>) =>
  new Response(stream).text();

/** A check for `assert.rejects`. */
export function has(code: ErrorCode, message = /^Cannot /): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

/** Runs a test with a client of a box whose agent does what it is told. */
export async function withClient(
  script: AgentScript,
  run: (client: GuestClient, box: BoxDouble) => Promise<void>,
): Promise<void> {
  await using box = await BoxDouble.start(script);
  await using client = await box.connect();
  await run(client, box);
}
