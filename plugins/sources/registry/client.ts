/**
 * The requests of the OCI distribution protocol that a pull needs.
 *
 * @module
 */
import {
  digestOf,
  HutchError,
  INDEX_TYPES,
  isDigest,
  MANIFEST_LIMIT,
  MANIFEST_TYPES,
} from "../../../mod.ts";
import { readLimited } from "./body.ts";
import { RegistrySession, type RegistrySessionOptions } from "./session.ts";
import type { Answer, SendOptions } from "./transport.ts";

/** Answers of those who can't give a part, or not this one. */
const RANGE_REFUSALS: ReadonlySet<number> = new Set([206, 400, 405, 416, 501]);

/** Where a {@link RegistryClient} reads. */
export interface RegistryClientOptions extends RegistrySessionOptions {
  /** The registry that this one is a mirror of: one that mirrors several is told. @default {none} */
  readonly mirrors?: string | undefined;
}

/** A manifest as the registry gave it, checked against the digests that were named. */
export interface FetchedManifest {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly digest: string;
  /** Without parameters; empty when the registry names none. */
  readonly mediaType: string;
}

/** What a manifest request can be told. */
export interface ManifestOptions {
  readonly signal: AbortSignal;
  /** A manifest that is here: it need not be sent again. @default {none} */
  readonly known?: string | undefined;
}

/** Reads one repository. */
export class RegistryClient {
  readonly #options: RegistryClientOptions;
  readonly #session: RegistrySession;

  constructor(options: RegistryClientOptions) {
    this.#options = options;
    this.#session = new RegistrySession(options, "pull");
  }

  /** Gets a manifest by tag or digest; undefined when it is the one that is known. */
  async manifest(target: string, options: ManifestOptions): Promise<FetchedManifest | undefined> {
    const { registry, repository } = this.#options;
    const what = `${registry}/${repository}${isDigest(target) ? "@" : ":"}${target}`;
    const got = await this.#manifestAnswer(target, what, options);
    if (got === undefined) return undefined;
    const { answer, bytes } = got;
    const mediaType = answer.headers.get("content-type")?.split(";")[0]?.trim() ?? "";
    if (bytes[0] !== 0x7b) { // "{"
      throw new HutchError(
        "registry_failed",
        `Cannot read ${what}: ${registry} answers what isn't a manifest ` +
          `(${mediaType.slice(0, 100) || "no media type"})`,
        { hint: "check that the host is a registry" },
      );
    }
    const digest = digestOf(bytes);
    const announced = answer.headers.get("docker-content-digest");
    const expected = isDigest(target) ? target : announced;
    if (expected !== null && isDigest(expected) && expected !== digest) {
      throw new HutchError(
        "digest_mismatch",
        `Cannot read ${what}: its manifest has digest ${digest}, not ${expected}`,
      );
    }
    return { bytes, digest, mediaType };
  }

  async #manifestAnswer(
    target: string,
    what: string,
    { known, signal }: ManifestOptions,
  ): Promise<{ answer: Answer; bytes: Uint8Array<ArrayBuffer> } | undefined> {
    const { registry } = this.#options;
    const headers = {
      accept: [...MANIFEST_TYPES, ...INDEX_TYPES].join(", "),
      ...known === undefined ? {} : { "if-none-match": `"${known}"` },
    };
    const answer = await this.#get(`manifests/${target}`, headers, {
      whole: MANIFEST_LIMIT,
      signal,
    });
    if (answer.status === 304 && known !== undefined) {
      await answer.body.cancel();
      return undefined;
    }
    if (answer.status === 404) {
      await answer.body.cancel();
      throw new HutchError("image_not_found", `Cannot find ${what}: ${registry} doesn't have it`, {
        hint: "check its name and tag",
      });
    }
    if (answer.status !== 200) throw await this.#refusal(answer, what);
    const bytes = await readLimited(answer.body, MANIFEST_LIMIT);
    if (bytes) return { answer, bytes };
    throw new HutchError(
      "registry_failed",
      `Cannot read ${what}: its manifest is larger than ${MANIFEST_LIMIT} bytes`,
    );
  }

  /** Opens a blob at `offset`; `start` says where the stream begins if the registry can't do that. */
  async blob(
    digest: string,
    offset: number,
    signal: AbortSignal,
  ): Promise<{ start: number; body: ReadableStream<Uint8Array<ArrayBuffer>> }> {
    const { registry, repository } = this.#options;
    const what = `${registry}/${repository}@${digest}`;
    // A compressed transfer would be unpacked by `fetch`, and offsets would count other bytes.
    const headers = { accept: "*/*", "accept-encoding": "identity" };
    if (offset > 0) {
      const range = { ...headers, range: `bytes=${offset}-` };
      const answer = await this.#get(`blobs/${digest}`, range, { signal });
      if (answer.status === 206 && rangeStart(answer.headers) === offset) {
        return { start: offset, body: answer.body };
      }
      if (answer.status === 200) return { start: 0, body: answer.body };
      if (!RANGE_REFUSALS.has(answer.status)) throw await this.#refusal(answer, what);
      await answer.body.cancel(); // it can't do ranges, or not this one: ask for everything
    }
    const answer = await this.#get(`blobs/${digest}`, headers, { signal });
    if (answer.status !== 200) throw await this.#refusal(answer, what);
    return { start: 0, body: answer.body };
  }

  async #get(
    path: string,
    headers: Readonly<Record<string, string>>,
    options: SendOptions,
  ): Promise<Answer> {
    const { mirrors } = this.#options;
    const url = this.#session.url(path);
    if (mirrors !== undefined) url.searchParams.set("ns", mirrors);
    return await this.#session.send(url, { headers }, options);
  }

  #refusal(answer: Answer, what: string): Promise<HutchError> {
    return this.#session.refusal(answer, `read ${what}`);
  }
}

function rangeStart(headers: Headers): number | undefined {
  const start = /^bytes (\d{1,15})-/.exec(headers.get("content-range") ?? "")?.[1];
  return start === undefined ? undefined : Number(start);
}
