/**
 * Opening images by the registry's source, as the tests of it do.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Credentials, ErrorCode, SourceImage, SourceRequest } from "../../mod.ts";
import { HutchError, parsePlatform, type RegistrySettings } from "../../mod.ts";
import { type RegistryOptions, registrySource } from "../../plugins/sources/registry.ts";

/** What {@link openImage} is told. */
export interface OpenOptions extends Pick<SourceRequest, "known"> {
  /** Whom to be at a registry. @default {nobody} */
  readonly as?: (registry: string) => Credentials | undefined | Promise<Credentials | undefined>;
  readonly registries?: Readonly<Record<string, RegistrySettings>>;
  readonly signal?: AbortSignal;
  /** Of the source. @default {impatient ones} */
  readonly options?: RegistryOptions;
}

/** Opens a reference without its scheme. */
export async function openImage(
  reference: string,
  { as, registries = {}, signal, options, known }: OpenOptions = {},
): Promise<SourceImage> {
  const source = registrySource({ retryDelayMs: 1, timeoutMs: 5000, ...options })
    .sources?.["registry"];
  assert.ok(source);
  return await source.open({
    reference,
    platform: parsePlatform("linux/amd64"),
    registries: new Map(Object.entries(registries)),
    credentials: (host) => Promise.resolve(as?.(host)),
    signal: signal ?? new AbortController().signal,
    known,
  });
}

/** Reads a blob from `offset` on. */
export async function readBlob(
  image: SourceImage,
  digest: string,
  offset = 0,
): Promise<{ start: number; bytes: Uint8Array<ArrayBuffer> }> {
  const { start, body } = await image.blob(digest, {
    offset,
    signal: new AbortController().signal,
  });
  return { start, bytes: await new Response(body).bytes() };
}

/** Expects a failure of ours whose message fits; nowhere in it is one of the secrets. */
export async function rejectsWith(
  promise: Promise<unknown>,
  code: ErrorCode,
  problem: RegExp,
  ...secrets: readonly string[]
): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, problem);
    for (const secret of secrets) {
      assert.ok(!Deno.inspect(error).includes(secret), Deno.inspect(error));
    }
    return true;
  });
}
