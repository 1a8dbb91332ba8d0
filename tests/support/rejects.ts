import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";

/** Waits for a promise that must fail with an error of hutch's, its code and such a message. */
export async function rejects(
  promise: Promise<unknown>,
  code: string,
  problem: RegExp,
): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, problem);
    return true;
  });
}
