/**
 * Images from registries that speak the OCI distribution protocol, `registry:` or no scheme.
 *
 * @module
 */
import {
  chooseManifest,
  definePlugin,
  formatReference,
  HutchError,
  type ImageReference,
  type ImageSource,
  parseManifest,
  parseReference,
  type Plugin,
  type SourceImage,
  type SourceRequest,
} from "../../mod.ts";
import type { RegistryCredentials } from "./registry/auth.ts";
import { type FetchedManifest, RegistryClient } from "./registry/client.ts";

export type { RegistryCredentials };

/** Options of {@link registrySource}. */
export interface RegistryOptions {
  /** Whom to be at a registry (`host[:port]`, such as `docker.io`); undefined is nobody. */
  readonly credentials?: (
    registry: string,
  ) => RegistryCredentials | undefined | Promise<RegistryCredentials | undefined>;
  /** Time for an answer's beginning and between two pieces of it, in `ms`. @default {30000} */
  readonly timeoutMs?: number;
  /** Pause before the first retry, in `ms`; it doubles each time. @default {250} */
  readonly retryDelayMs?: number;
  /** How often a request is sent, the first time included. @default {4} */
  readonly attempts?: number;
}

/** How deep an index may be nested in indexes. */
const INDEX_DEPTH = 3;

/**
 * A plugin with the source `registry`.
 *
 * @example A private registry
 * ```ts
 * import { registrySource } from "./plugins/sources/registry.ts";
 * const password = Deno.env.get("REGISTRY_PASSWORD") ?? "";
 * const plugin = registrySource({
 *   credentials: (host) => host === "registry.example" ? { username: "me", password } : undefined,
 * });
 * ```
 */
export function registrySource(options: RegistryOptions = {}): Plugin {
  const source: ImageSource = {
    canonical: (reference) => formatReference(parseReference(reference)),
    pin: (reference, digest) => {
      const { registry, repository } = parseReference(reference);
      return formatReference({ registry, repository, digest });
    },
    open: (request) => open(request, options),
  };
  return definePlugin({ name: "registry", sources: { registry: source } });
}

async function open(request: SourceRequest, options: RegistryOptions): Promise<SourceImage> {
  const reference = parseReference(request.reference);
  const { registry, repository } = reference;
  const client = new RegistryClient({
    registry,
    repository,
    plainHttp: isLoopback(registry) || request.insecureRegistries.includes(registry),
    credentials: await options.credentials?.(registry),
    timeoutMs: options.timeoutMs ?? 30_000,
    retryDelayMs: options.retryDelayMs ?? 250,
    attempts: options.attempts ?? 4,
  });
  const { bytes, digest } = await resolve(client, reference, request);
  return {
    digest,
    manifest: bytes,
    blob: (wanted, { offset, signal }) => client.blob(wanted, offset, signal),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Follows indexes down to this platform's manifest. */
async function resolve(
  client: RegistryClient,
  reference: ImageReference,
  request: SourceRequest,
): Promise<FetchedManifest> {
  const name = formatReference(reference);
  let target = reference.digest ?? reference.tag ?? "latest";
  for (let depth = 0; depth <= INDEX_DEPTH; depth++) {
    const fetched = await client.manifest(target, request.signal);
    const manifest = parseManifest(fetched.bytes, `the manifest of ${name}`, fetched.mediaType);
    if (manifest.kind === "image") return fetched;
    target = chooseManifest(manifest.manifests, request.platform, name).digest;
  }
  throw new HutchError(
    "invalid_image",
    `Cannot read ${name}: its indexes are nested more than ${INDEX_DEPTH} deep`,
  );
}

/** Whether the registry is on this machine for sure: `localhost`, 127.0.0.0/8 or ::1. */
function isLoopback(registry: string): boolean {
  if (!URL.canParse(`http://${registry}/`)) return false;
  const { hostname } = new URL(`http://${registry}/`);
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}
