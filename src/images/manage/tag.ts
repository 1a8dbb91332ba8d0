/**
 * Giving an image that is here another name.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { type ImageRecord, originOf } from "../records.ts";
import { DEFAULT_REGISTRY, DEFAULT_SCHEME, parseReference } from "../reference.ts";

/** Such a name would hide images that are called by the beginning of their digest. */
const DIGEST_LIKE = new RegExp(`^${DEFAULT_SCHEME}:${DEFAULT_REGISTRY}/library/sha256:`);

/**
 * Checks that an image may be called so.
 *
 * @param target Canonical, with its scheme.
 * @throws {HutchError} `invalid_reference` for a name that says what it means by itself: a path, or
 * one with a digest; and for `sha256`.
 */
export function checkTarget(target: string): void {
  const problem = !target.startsWith(`${DEFAULT_SCHEME}:`)
    ? "it says where the image comes from"
    : parseReference(target.slice(DEFAULT_SCHEME.length + 1)).digest !== undefined
    ? "it has a digest, so it means one image already"
    : DIGEST_LIKE.test(target)
    ? "it reads like a digest"
    : undefined;
  if (problem !== undefined) {
    throw new HutchError("invalid_reference", `Cannot name an image ${target}: ${problem}`, {
      hint: "give a name such as debian:mine or registry.test/team/web:1",
    });
  }
}

/**
 * The record of an image under another name.
 *
 * @param target Canonical, with its scheme.
 * @param record What the name that was used for the image says of it.
 * @throws {HutchError} as {@link checkTarget} does.
 */
export function taggedRecord(target: string, record: ImageRecord): ImageRecord {
  checkTarget(target);
  const { origin: _, ...rest } = record;
  const origin = originOf(record);
  return {
    ...rest,
    reference: target,
    pulledAt: new Date().toISOString(),
    ...origin === target ? {} : { origin },
  };
}
