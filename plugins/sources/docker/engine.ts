/**
 * Speaking to Docker's engine, or to Podman's service that speaks as it does.
 *
 * @module
 */
import { errorText, HutchError, isDigest, JsonReader, type Platform } from "../../../mod.ts";
import { ANSWER_LIMIT, collect, messageIn, watched } from "./answer.ts";
import { type EnginePlace, enginePlaces } from "./places.ts";

/** How long an engine may be silent. */
export interface Patience {
  /** For small answers, in `ms`. */
  readonly timeoutMs: number;
  /** For an export's beginning and between two pieces of it, in `ms`. */
  readonly exportTimeoutMs: number;
}

/** What an engine says of an image. */
export interface Inspected {
  /** The engine's id of it, `sha256:…`. */
  readonly id: string;
  readonly platform: Platform;
}

const START_HINT =
  "start it (systemctl start docker, or systemctl --user start podman.socket), or say where it " +
  "listens with DOCKER_HOST";

/** One engine, spoken to until disposed. */
export class Engine implements Disposable {
  readonly #place: EnginePlace;
  readonly #client: Deno.HttpClient;
  readonly #patience: Patience;
  #closed = false;

  private constructor(place: EnginePlace, patience: Patience) {
    this.#place = place;
    this.#patience = patience;
    this.#client = Deno.createHttpClient({ proxy: place.proxy });
  }

  /** How errors call it. */
  get name(): string {
    return this.#place.name;
  }

  /**
   * The first engine that takes a connection.
   *
   * @param host As in DOCKER_HOST; undefined for the usual sockets.
   * @throws {HutchError} `registry_unreachable`, `registry_denied`, `invalid_option`
   */
  static async find(host: string | undefined, patience: Patience): Promise<Engine> {
    const places = enginePlaces(host);
    const problems: string[] = [];
    let denied = false;
    for (const place of places) {
      const error = place.path === undefined ? undefined : await problemAt(place.path);
      if (error === undefined) return new Engine(place, patience);
      denied ||= error instanceof Deno.errors.PermissionDenied;
      problems.push(`${place.name}: ${reason(error)}`);
    }
    throw new HutchError(
      denied ? "registry_denied" : "registry_unreachable",
      `Cannot reach a container engine: ${problems.join("; ")}`,
      {
        hint: denied
          ? "let your user use its socket (for Docker: usermod -aG docker USER, then log in " +
            "again), or run Podman's of your own: systemctl --user start podman.socket"
          : START_HINT,
      },
    );
  }

  /**
   * What the engine knows of an image.
   *
   * @throws {HutchError} `image_not_found`, `registry_…`, `invalid_image`, `cancelled`
   */
  async inspect(name: string, signal: AbortSignal): Promise<Inspected> {
    const { timeoutMs } = this.#patience;
    return await this.#get(`/images/${name}/json`, name, { timeoutMs, signal }, async (pieces) => {
      const reader = new JsonReader(`what ${this.name} says of docker:${name}`);
      const top = reader.parse(await collect(pieces), ANSWER_LIMIT);
      const id = reader.string(top["Id"], "Id");
      const variant = reader.optionalString(top["Variant"], "Variant");
      return {
        id: reader.digest(isDigest(id) ? id : `sha256:${id}`, "Id"),
        platform: {
          os: reader.optionalString(top["Os"], "Os") || "linux",
          architecture: reader.string(top["Architecture"], "Architecture"),
          ...(variant ? { variant } : {}),
        },
      };
    });
  }

  /**
   * Has an image exported, as `docker save` does.
   *
   * @param use Gets the archive's pieces; they end early when the engine does, by an error.
   * @throws {HutchError} `image_not_found`, `registry_…`, `cancelled`, and what `use` throws
   */
  async export<T>(
    image: { readonly id: string; readonly name: string },
    signal: AbortSignal,
    use: (pieces: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    const { exportTimeoutMs: timeoutMs } = this.#patience;
    return await this.#get(`/images/${image.id}/get`, image.name, { timeoutMs, signal }, use);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.close();
  }

  async #get<T>(
    path: string,
    name: string,
    { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
    use: (pieces: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    let answered = false;
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), timeoutMs);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), timeoutMs);
    };
    try {
      const response = await fetch(`http://localhost${path}`, {
        client: this.#client,
        redirect: "manual", // no engine has reason to send us elsewhere
        signal: AbortSignal.any([signal, silent.signal]),
      });
      answered = true;
      alive();
      if (!response.ok) throw await this.#refusal(response, name);
      if (!response.body) throw new Error("its answer is empty");
      return await use(watched(response.body, alive));
    } catch (error) {
      if (error instanceof HutchError && !signal.aborted) throw error;
      if (signal.aborted) throw cancelled(this.#place, signal);
      const why = silent.signal.aborted ? `it says nothing for ${timeoutMs} ms` : reason(error);
      throw new HutchError(
        "registry_unreachable",
        `Cannot get docker:${name} from ${this.name}: ${why}`,
        { cause: error, ...(answered ? {} : { hint: START_HINT }) },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  async #refusal(response: Response, name: string): Promise<HutchError> {
    const said = await collect(response.body ?? []);
    if (response.status === 404) {
      return new HutchError(
        "image_not_found",
        `Cannot find docker:${name}: ${this.name} has no such image`,
        {
          hint:
            "docker pull it, or leave docker: out to have hutch pull it; Podman calls what it " +
            "built localhost/NAME; DOCKER_HOST names another engine",
        },
      );
    }
    return new HutchError(
      "registry_failed",
      `Cannot get docker:${name} from ${this.name}: it answers ${response.status}${
        messageIn(said)
      }`,
    );
  }
}

/** Why nobody listens at a socket, or that nobody may speak to who does; undefined is fine. */
async function problemAt(path: string): Promise<unknown> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return undefined;
  } catch (error) {
    return error;
  }
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "isn't there";
  if (error instanceof Deno.errors.ConnectionRefused) return "nobody listens";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  const { cause } = error instanceof Error ? error : { cause: undefined };
  return errorText(cause ?? error);
}

function cancelled(place: EnginePlace, signal: AbortSignal): HutchError {
  return new HutchError("cancelled", `Cannot read from ${place.name}: it was cancelled`, {
    cause: signal.reason,
  });
}
