/**
 * Images of this machine's Docker or Podman: `docker:NAME[:TAG]`, `docker:NAME@sha256:…`,
 * `docker:sha256:…` with an image's id.
 *
 * @module
 */
import {
  definePlugin,
  formatReference,
  type ImageSource,
  isDigest,
  parseReference,
  type Plugin,
  requirePlatform,
  type SourceImage,
  type SourceRequest,
} from "../../mod.ts";
import { Engine, type Patience } from "./docker/engine.ts";
import { EngineImage } from "./docker/image.ts";

/** Options of {@link dockerSource}. */
export interface DockerOptions {
  /**
   * Where the engine listens: `unix:///PATH`, or `tcp://HOST:PORT` on this machine.
   *
   * @default {DOCKER_HOST, else the sockets of Docker, of the user's Podman and of the system's}
   */
  readonly host?: string;
  /** Time for an answer, in `ms`. @default {30000} */
  readonly timeoutMs?: number;
  /** Time for an export's beginning and between two pieces of it, in `ms`. @default {600000} */
  readonly exportTimeoutMs?: number;
}

/**
 * A plugin with the source `docker`. Images are exported as `docker save` does, to a file in
 * `TMPDIR` (`/var/tmp` without it) that has no name, and then read as `docker-archive:` reads them.
 * An image that is here already is asked for by its id alone.
 *
 * @example
 * ```ts
 * import { dockerSource } from "./docker.ts";
 * const plugin = dockerSource({ host: "unix:///run/user/1000/podman/podman.sock" });
 * ```
 */
export function dockerSource(options: DockerOptions = {}): Plugin {
  const patience: Patience = {
    timeoutMs: options.timeoutMs ?? 30_000,
    exportTimeoutMs: options.exportTimeoutMs ?? 600_000,
  };
  const source: ImageSource = {
    canonical: canonicalDockerReference,
    open: (request) => open(request, options.host, patience),
  };
  return definePlugin({ name: "docker", sources: { docker: source } });
}

/**
 * The full spelling of a name or an id.
 *
 * @throws {HutchError} `invalid_reference`
 */
export function canonicalDockerReference(text: string): string {
  const id = /^[0-9a-f]{64}$/.test(text) ? `sha256:${text}` : text;
  if (isDigest(id)) return id;
  const { tag, ...name } = parseReference(text);
  // A digest decides; not every engine takes both.
  return formatReference(name.digest !== undefined || tag === undefined ? name : { ...name, tag });
}

async function open(
  { reference, platform, known, signal }: SourceRequest,
  host: string | undefined,
  patience: Patience,
): Promise<SourceImage> {
  const name = canonicalDockerReference(reference);
  const engine = await Engine.find(host ?? Deno.env.get("DOCKER_HOST"), patience);
  try {
    const found = await engine.inspect(name, signal);
    requirePlatform(found.platform, platform, `docker:${name}`);
    const image = new EngineImage(engine, { name, id: found.id, platform });
    // The same id has the same configuration and layers, and so the same manifest.
    const { digest, manifest } = known?.resolvedDigest === found.id
      ? known
      : await image.exported(signal);
    return {
      digest,
      manifest,
      resolvedDigest: found.id,
      blob: (wanted, options) => image.blob(wanted, options),
      [Symbol.asyncDispose]: () => image[Symbol.asyncDispose](),
    };
  } catch (error) {
    engine[Symbol.dispose]();
    throw error;
  }
}
