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
  type ImageManifest,
  type ImageReference,
  type ImageSource,
  parseManifest,
  parseReference,
  type Plugin,
  type PushAnswer,
  type PushRequest,
  type SourceImage,
  type SourceRequest,
  splitMirror,
} from "../../mod.ts";
import { RegistryClient } from "./registry/client.ts";
import { Connections } from "./registry/connection.ts";
import { type Endpoint, Endpoints } from "./registry/endpoints.ts";
import { logIn } from "./registry/login.ts";
import { pushImage } from "./registry/push.ts";
import { apiRoot, RegistrySession } from "./registry/session.ts";
import type { TransportOptions } from "./registry/transport.ts";

/** Options of {@link registrySource}. */
export interface RegistryOptions {
  /** Time for an answer's beginning and between two pieces of it, in `ms`. @default {30000} */
  readonly timeoutMs?: number;
  /** Pause before the first retry, in `ms`, varied by a half; it doubles each time. @default {250} */
  readonly retryDelayMs?: number;
  /** How often a request is sent, the first time included. @default {4} */
  readonly attempts?: number;
}

/** How deep an index may be nested in indexes. */
const INDEX_DEPTH = 3;
/** How often a mirror is asked the same. */
const MIRROR_ATTEMPTS = 2;
/** How long is waited for a mirror, in `ms`. */
const MIRROR_TIMEOUT_MS = 10_000;

/**
 * A plugin with the source `registry`. Whom to be at a registry that asks is what the
 * configuration, the query `credentials` and logins say, in this order; nothing is sent before the
 * registry asked, and then to it and the token server that it names alone.
 *
 * @example A private registry
 * ```ts
 * import { definePlugin, Runtime } from "../../mod.ts";
 * const password = Deno.env.get("REGISTRY_PASSWORD") ?? "";
 * const login = definePlugin({
 *   name: "login",
 *   resolve: {
 *     credentials: ({ registry }) =>
 *       registry === "registry.example" ? { username: "me", password } : undefined,
 *   },
 * });
 * await using runtime = await Runtime.open({ plugins: [login] });
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
    push: (request) => push(request, patienceOf(options)),
    logIn: (request) => logIn(request, patienceOf(options)),
  };
  return definePlugin({ name: "registry", sources: { registry: source } });
}

async function open(request: SourceRequest, options: RegistryOptions): Promise<SourceImage> {
  const reference = parseReference(request.reference);
  using resources = new DisposableStack();
  const connections = resources.use(new Connections(request.registries));
  const endpoints = new Endpoints(await endpointsOf(reference, request, connections, options));
  const found = await endpoints.first(
    (client) => resolve(client, reference, request),
    request.signal,
  );
  const sizes = new Map(
    [found.image.config, ...found.image.layers].map(({ digest, size }) => [digest, size]),
  );
  const opened = resources.move();
  return {
    digest: found.digest,
    resolvedDigest: found.resolvedDigest,
    manifest: found.bytes,
    blob: (digest, { offset, signal }) =>
      endpoints.blob({ digest, size: sizes.get(digest), offset, signal }),
    [Symbol.asyncDispose]: () => Promise.resolve(opened.dispose()),
  };
}

/** To the registry itself: mirrors are read from alone. */
async function push(
  request: PushRequest,
  patience: Omit<TransportOptions, "clientFor">,
): Promise<PushAnswer> {
  const reference = parseReference(request.reference);
  const { registry, repository } = reference;
  using connections = new Connections(request.registries);
  const plainHttpAllowed = (host: string) => connections.plainHttpAllowed(host);
  const clientFor = await connections.open(registry, apiRoot(registry, plainHttpAllowed(registry)));
  const session = new RegistrySession({
    ...patience,
    registry,
    repository,
    plainHttpAllowed,
    clientFor,
    credentials: () => request.credentials(registry),
  }, "pull,push");
  return await pushImage(session, reference, request, patience);
}

/** Its mirrors in their order, and the registry itself. */
async function endpointsOf(
  { registry, repository }: ImageReference,
  request: SourceRequest,
  connections: Connections,
  options: RegistryOptions,
): Promise<readonly Endpoint[]> {
  const patience = patienceOf(options);
  const client = async (
    host: string,
    repository: string,
    { attempts, timeoutMs, mirrors }: { attempts: number; timeoutMs: number; mirrors?: string },
  ) => {
    const plainHttpAllowed = (host: string) => connections.plainHttpAllowed(host);
    const root = apiRoot(host, plainHttpAllowed(host));
    return new RegistryClient({
      ...patience,
      attempts,
      timeoutMs,
      registry: host,
      repository,
      mirrors,
      plainHttpAllowed,
      clientFor: await connections.open(host, root),
      credentials: () => request.credentials(host),
    });
  };
  const endpoints: Endpoint[] = [];
  for (const name of connections.settings(registry).mirrors ?? []) {
    const { registry: host, path } = splitMirror(name);
    const there = path === "" ? repository : `${path}/${repository}`;
    // Less patiently than the registry: there is somebody else to ask.
    const attempts = Math.min(patience.attempts, MIRROR_ATTEMPTS);
    const timeoutMs = Math.min(patience.timeoutMs, MIRROR_TIMEOUT_MS);
    endpoints.push({
      name,
      client: await client(host, there, { attempts, timeoutMs, mirrors: registry }),
    });
  }
  endpoints.push({
    name: registry,
    client: await client(registry, repository, patience),
  });
  return endpoints;
}

/** An image's manifest, and what the reference itself named. */
interface Found {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly digest: string;
  readonly resolvedDigest: string;
  readonly image: ImageManifest;
}

/** Follows indexes down to this platform's manifest. */
async function resolve(
  client: RegistryClient,
  reference: ImageReference,
  { known, platform, signal }: SourceRequest,
): Promise<Found> {
  const name = formatReference(reference);
  const document = `the manifest of ${name}`;
  let target = reference.digest ?? reference.tag ?? "latest";
  let resolvedDigest: string | undefined;
  for (let depth = 0; depth <= INDEX_DEPTH; depth++) {
    const fetched = await client.manifest(target, {
      signal,
      known: depth === 0 ? known?.resolvedDigest : undefined,
    });
    if (fetched === undefined) {
      if (known === undefined) throw new Error("a manifest is unchanged only if it was known");
      const image = parseManifest(known.manifest, document);
      if (image.kind !== "image") throw new Error("what is known is an image");
      return { ...known, bytes: known.manifest, image };
    }
    const { bytes, digest } = fetched;
    resolvedDigest ??= digest;
    const manifest = parseManifest(bytes, document, fetched.mediaType);
    if (manifest.kind === "image") return { bytes, digest, resolvedDigest, image: manifest };
    target = chooseManifest(manifest.manifests, platform, name).digest;
  }
  throw new HutchError(
    "invalid_image",
    `Cannot read ${name}: its indexes are nested more than ${INDEX_DEPTH} deep`,
  );
}

function patienceOf(options: RegistryOptions): Omit<TransportOptions, "clientFor"> {
  return {
    timeoutMs: options.timeoutMs ?? 30_000,
    retryDelayMs: options.retryDelayMs ?? 250,
    attempts: options.attempts ?? 4,
  };
}
