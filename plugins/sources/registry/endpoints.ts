/**
 * A registry and its mirrors, asked in turn.
 *
 * @module
 */
import { errorText, HutchError, type SourceImage } from "../../../mod.ts";
import { checked } from "./checked.ts";
import type { RegistryClient } from "./client.ts";

/** A place that may have the image. */
export interface Endpoint {
  /** As in the configuration. */
  readonly name: string;
  readonly client: RegistryClient;
}

/** The bytes of a blob, as sources give them. */
export type BlobAnswer = Awaited<ReturnType<SourceImage["blob"]>>;

/** Which blob is wanted. */
export interface BlobWish {
  readonly digest: string;
  /** In bytes, if it is known. */
  readonly size: number | undefined;
  readonly offset: number;
  readonly signal: AbortSignal;
}

/**
 * Asks mirrors first and the registry last. What a mirror hasn't, doesn't say, or says wrongly, the
 * next one is asked for; only the registry's own answer is final.
 */
export class Endpoints {
  #endpoints: readonly Endpoint[];
  /** Those that failed for a blob, by its digest. */
  readonly #failed = new Map<string, Set<Endpoint>>();
  /** Blobs of which somebody got wrong bytes. */
  readonly #spoiled = new Set<string>();

  /** The registry itself is the last one. */
  constructor(endpoints: readonly Endpoint[]) {
    this.#endpoints = endpoints;
  }

  /** The first good answer; who failed isn't asked again. */
  async first<T>(
    ask: (client: RegistryClient) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const failures: { name: string; error: unknown }[] = [];
    for (const [index, { name, client }] of this.#endpoints.entries()) {
      try {
        const answer = await ask(client);
        this.#endpoints = this.#endpoints.slice(index);
        return answer;
      } catch (error) {
        if (signal.aborted || index === this.#endpoints.length - 1) {
          throw withMirrors(error, failures);
        }
        failures.push({ name, error });
      }
    }
    throw new Error("a registry is always among its endpoints");
  }

  /** Opens a blob. A mirror's is held against its digest while it is read. */
  async blob({ digest, size, offset, signal }: BlobWish): Promise<BlobAnswer> {
    const failed = this.#failed.get(digest) ?? new Set();
    this.#failed.set(digest, failed);
    const failures: { name: string; error: unknown }[] = [];
    // Nothing can be added to bytes that are wrong.
    const from = this.#spoiled.delete(digest) ? 0 : offset;
    const endpoints = this.#endpoints;
    for (const [index, endpoint] of endpoints.entries()) {
      const last = index === endpoints.length - 1;
      if (!last && failed.has(endpoint)) continue;
      try {
        const answer = await endpoint.client.blob(digest, from, signal);
        if (last) return answer;
        return checked(answer, { digest, size, host: endpoint.name }, (wrong) => {
          failed.add(endpoint);
          if (wrong) this.#spoiled.add(digest);
        });
      } catch (error) {
        if (signal.aborted || last) throw withMirrors(error, failures);
        failed.add(endpoint);
        failures.push({ name: endpoint.name, error });
        if (error instanceof HutchError && error.code === "registry_unreachable") {
          this.#endpoints = this.#endpoints.filter((each) => each !== endpoint);
        }
      }
    }
    throw new Error("a registry is always among its endpoints");
  }
}

/** The registry's error, with what its mirrors failed with. */
function withMirrors(
  error: unknown,
  failures: readonly { readonly name: string; readonly error: unknown }[],
): unknown {
  if (failures.length === 0 || !(error instanceof HutchError)) return error;
  const mirrors = failures.map(({ name, error }) => `${name} (${errorText(error)})`).join(", ");
  return new HutchError(error.code, `${error.message}; before it, mirrors failed: ${mirrors}`, {
    cause: error,
    ...error.hint === undefined ? {} : { hint: error.hint },
  });
}
