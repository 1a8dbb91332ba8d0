/**
 * How a registry is connected to: in plain HTTP or TLS, with which authorities and certificate.
 *
 * @module
 */
import { errorText, HutchError, type RegistrySettings } from "../../../mod.ts";

/** What is said of registries in a request, put to use. */
export class Connections implements Disposable {
  readonly #settings: ReadonlyMap<string, RegistrySettings>;
  readonly #clients: Deno.HttpClient[] = [];

  /** @param settings By the registries' names, in lower case. */
  constructor(settings: ReadonlyMap<string, RegistrySettings> = new Map()) {
    this.#settings = settings;
  }

  /** What is said of a registry. */
  settings(registry: string): RegistrySettings {
    return this.#settings.get(registry.toLowerCase()) ?? {};
  }

  /** Whether a registry, or a token server, may be spoken to without TLS. */
  plainHttpAllowed(host: string): boolean {
    const { insecure, ca, clientCertificate } = this.settings(host);
    return insecure ?? (isLoopback(host) && ca === undefined && clientCertificate === undefined);
  }

  /**
   * Reads a registry's files. Its authorities count for whatever address the registry names, such
   * as its token server; its certificate is shown to nobody else.
   *
   * @returns What to connect to an address with.
   * @throws {HutchError} `invalid_option`
   */
  async open(
    registry: string,
    root: URL,
  ): Promise<(url: URL) => Deno.HttpClient | undefined> {
    const { ca = [], clientCertificate } = this.settings(registry);
    if (ca.length === 0 && clientCertificate === undefined) return () => undefined;
    const caCerts = await Promise.all(ca.map((path) => readPem(registry, path)));
    const make = (more: { cert: string; key: string } | Record<never, never>) => {
      const client = this.#make(registry, { caCerts, ...more });
      this.#clients.push(client);
      return client;
    };
    const others = make({});
    if (clientCertificate === undefined) return () => others;
    const itself = make({
      cert: await readPem(registry, clientCertificate.cert),
      key: await readPem(registry, clientCertificate.key),
    });
    return (url) => url.origin === root.origin ? itself : others;
  }

  /** Ends all connections. */
  [Symbol.dispose](): void {
    for (const client of this.#clients.splice(0)) client.close();
  }

  #make(registry: string, options: Deno.CreateHttpClientOptions): Deno.HttpClient {
    try {
      return Deno.createHttpClient(options);
    } catch (error) {
      throw new HutchError(
        "invalid_option",
        `Cannot speak to ${registry}: its certificates can't be used: ${errorText(error)}`,
      );
    }
  }
}

/** A file that has something of PEM's in it. */
async function readPem(registry: string, path: string): Promise<string> {
  let problem: string;
  try {
    const text = await Deno.readTextFile(path);
    if (text.includes("-----BEGIN ")) return text;
    problem = "it has no PEM block";
  } catch (error) {
    problem = error instanceof Deno.errors.NotFound ? "it isn't there" : errorText(error);
  }
  throw new HutchError("invalid_option", `Cannot speak to ${registry} with ${path}: ${problem}`, {
    hint: "look at what the configuration says of the registry",
  });
}

/** Whether a host is this machine for sure: `localhost`, 127.0.0.0/8 or ::1. */
function isLoopback(host: string): boolean {
  if (!URL.canParse(`http://${host}/`)) return false;
  const { hostname } = new URL(`http://${host}/`);
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}
