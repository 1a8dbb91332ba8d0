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
import { Authenticator, type RegistryCredentials } from "./auth.ts";
import { errorDetail, readLimited } from "./body.ts";
import { type Answer, Transport, type TransportOptions } from "./transport.ts";

/** Where a {@link RegistryClient} reads. */
export interface RegistryClientOptions extends TransportOptions {
  /** As in references. */
  readonly registry: string;
  readonly repository: string;
  /** Plain HTTP instead of HTTPS. */
  readonly plainHttp: boolean;
  readonly credentials: RegistryCredentials | undefined;
}

/** A manifest as the registry gave it, checked against the digests that were named. */
export interface FetchedManifest {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly digest: string;
  /** Without parameters; empty when the registry names none. */
  readonly mediaType: string;
}

/** Reads one repository. */
export class RegistryClient {
  readonly #options: RegistryClientOptions;
  readonly #root: URL;
  readonly #transport: Transport;
  readonly #authenticator: Authenticator;

  constructor(options: RegistryClientOptions) {
    this.#options = options;
    this.#root = new URL(
      `${options.plainHttp ? "http" : "https"}://${apiHost(options.registry)}/v2/`,
    );
    this.#transport = new Transport(options);
    const { credentials } = options;
    this.#authenticator = new Authenticator({
      transport: this.#transport,
      root: this.#root,
      credentials,
    });
  }

  /** Gets a manifest by tag or digest. */
  async manifest(target: string, signal: AbortSignal): Promise<FetchedManifest> {
    const { registry, repository } = this.#options;
    const what = `${registry}/${repository}${isDigest(target) ? "@" : ":"}${target}`;
    const { answer, bytes } = await this.#manifestAnswer(target, what, signal);
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

  /** Asks again when the connection breaks in the middle. */
  async #manifestAnswer(
    target: string,
    what: string,
    signal: AbortSignal,
  ): Promise<{ answer: Answer; bytes: Uint8Array<ArrayBuffer> }> {
    const { registry, attempts } = this.#options;
    const accept = [...MANIFEST_TYPES, ...INDEX_TYPES].join(", ");
    for (let attempt = 1;; attempt++) {
      const answer = await this.#get(`manifests/${target}`, { accept }, signal);
      if (answer.status === 404) {
        await answer.body.cancel();
        throw new HutchError(
          "image_not_found",
          `Cannot find ${what}: ${registry} doesn't have it`,
          {
            hint: "check its name and tag",
          },
        );
      }
      if (answer.status !== 200) throw await this.#refusal(answer, what);
      let bytes: Uint8Array<ArrayBuffer> | undefined;
      try {
        bytes = await readLimited(answer.body, MANIFEST_LIMIT);
      } catch (cause) {
        if (signal.aborted) {
          throw new HutchError("cancelled", `Cannot read ${what}: it was cancelled`, { cause });
        }
        if (attempt < attempts) continue;
        throw new HutchError("registry_failed", `Cannot read ${what}: the connection broke`, {
          cause,
          hint: "try again",
        });
      }
      if (bytes) return { answer, bytes };
      throw new HutchError(
        "registry_failed",
        `Cannot read ${what}: its manifest is larger than ${MANIFEST_LIMIT} bytes`,
      );
    }
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
      const answer = await this.#get(`blobs/${digest}`, range, signal);
      if (answer.status === 206 && rangeStart(answer.headers) === offset) {
        return { start: offset, body: answer.body };
      }
      if (answer.status === 200) return { start: 0, body: answer.body };
      await answer.body.cancel(); // it can't do ranges, or not this one: ask for everything
    }
    const answer = await this.#get(`blobs/${digest}`, headers, signal);
    if (answer.status !== 200) throw await this.#refusal(answer, what);
    return { start: 0, body: answer.body };
  }

  async #get(
    path: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Answer> {
    const { repository } = this.#options;
    const url = new URL(`${repository}/${path}`, this.#root);
    const sent = new Headers({ ...headers, "user-agent": "hutch" });
    let authorization = await this.#authenticator.current(repository);
    // Twice, since a token that worked before may have run out meanwhile.
    for (let round = 0;; round++) {
      if (authorization !== undefined) sent.set("authorization", authorization);
      const answer = await this.#transport.get(url, sent, signal);
      if (answer.status !== 401 || round === 2) return answer;
      await answer.body.cancel();
      const challenge = answer.headers.get("www-authenticate");
      authorization = await this.#authenticator.renew(
        repository,
        challenge,
        authorization,
        signal,
      );
    }
  }

  async #refusal(answer: Answer, what: string): Promise<HutchError> {
    const { registry } = this.#options;
    const detail = await errorDetail(answer.body);
    const tail = `${registry} answers ${answer.status}${detail === undefined ? "" : `: ${detail}`}`;
    if (answer.status === 401 || answer.status === 403) {
      return new HutchError("registry_denied", `Cannot read ${what}: ${tail}`, {
        hint: "check the image's name; a private image needs credentials",
      });
    }
    return new HutchError(
      "registry_failed",
      `Cannot read ${what}: ${tail}`,
      answer.status === 429 ? { hint: "the registry limits requests; try again later" } : {},
    );
  }
}

/** Docker's registry is known by a name that its API doesn't have. */
function apiHost(registry: string): string {
  return registry === "docker.io" ? "registry-1.docker.io" : registry;
}

function rangeStart(headers: Headers): number | undefined {
  const start = /^bytes (\d{1,15})-/.exec(headers.get("content-range") ?? "")?.[1];
  return start === undefined ? undefined : Number(start);
}
