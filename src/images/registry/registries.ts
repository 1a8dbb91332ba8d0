/**
 * How registries are spoken to: what a configuration says of each.
 *
 * @module
 */
import { errorText, HutchError } from "../../errors.ts";
import type { Credentials } from "../../plugin/contract.ts";
import { DEFAULT_REGISTRY, parseReference } from "../reference.ts";

/** How a registry is spoken to, for image sources. Files are named by absolute paths. */
export interface RegistrySettings {
  /**
   * Registries (`host[:port]`, or `host[:port]/path` for those that keep it below a path) that are
   * asked before it, in this order; each by its own settings and with its own credentials.
   * @default {[]}
   */
  readonly mirrors?: readonly string[];
  /**
   * Plain HTTP: all that is sent and got can be read, and but for blobs changed, on the way. TLS
   * always checks whom it speaks to; for a private authority there is `ca`.
   * @default {for loopback addresses without `ca` true, else false}
   */
  readonly insecure?: boolean;
  /** PEM files of certificate authorities to trust beside the usual ones. @default {[]} */
  readonly ca?: readonly string[];
  /** PEM files with the certificate, and its key, that tell the registry who we are. @default {none} */
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
}

/** What a configuration says of a registry. */
export interface RegistryConfig extends RegistrySettings {
  /** Whom to be there, before plugins and logins are asked. @default {none} */
  readonly credentials?: Credentials;
}

/** What is said of registries, by their names (`docker.io`, `registry.test:5000`). */
export type RegistryConfigs = Readonly<Record<string, RegistryConfig>>;

/** Names of Docker's registry, in references, in its configuration files, and as a host. */
const DOCKER_NAMES: ReadonlySet<string> = new Set([
  DEFAULT_REGISTRY,
  "index.docker.io",
  "registry-1.docker.io",
]);

/**
 * The name of a registry as references have it, in lower case, from what people and other tools
 * write: `docker.io` of `https://index.docker.io/v1/`.
 *
 * @throws {HutchError} `invalid_option`
 */
export function registryName(text: string): string {
  if (text.includes("@")) { // not shown: it may be a password
    throw new HutchError(
      "invalid_option",
      "Cannot use a registry whose name has an @: it is host[:port]",
      { hint: "a user name and a password are given by themselves" },
    );
  }
  const host = hostOf(text);
  const path = text.replace(/^https?:\/\//i, "").slice(host.length);
  const shown = JSON.stringify(text);
  if (!/^\/?(?:v[12]\/?)?$/.test(path)) {
    throw new HutchError(
      "invalid_option",
      `Cannot use registry ${shown}: it has a path, which names a repository`,
      { hint: `did you mean ${JSON.stringify(host)}?` },
    );
  }
  if (host === "") throw new HutchError("invalid_option", "Cannot use a registry without a name");
  try {
    const name = parseReference(`${host}/x`).registry;
    if (DOCKER_NAMES.has(host) || name === host) return canonicalHost(host);
  } catch (error) {
    throw new HutchError("invalid_option", `Cannot use registry ${shown}: ${problemOf(error)}`);
  }
  throw new HutchError(
    "invalid_option",
    `Cannot use registry ${shown}: it isn't a host name with a dot or a port`,
    { hint: `a registry is named as in references, such as ghcr.io or localhost:5000` },
  );
}

/** The registry that a name in another tool's file means, whatever else it says. */
export function hostOf(text: string): string {
  return (/^(?:https?:\/\/)?([^/]*)/i.exec(text)?.[1] ?? "").toLowerCase();
}

/** Docker's names in one. */
export function canonicalHost(host: string): string {
  return DOCKER_NAMES.has(host) ? DEFAULT_REGISTRY : host;
}

/** What is wrong with a reference, for the end of another sentence. */
function problemOf(error: unknown): string {
  return errorText(error).replace(/^Cannot read reference "[^"]*": /, "");
}

/**
 * The registry and the path of a mirror, `mirror.test:5000/proxy/docker`.
 *
 * @throws {HutchError} `invalid_option`
 */
export function splitMirror(text: string): { registry: string; path: string } {
  const slash = text.indexOf("/");
  const registry = registryName(slash < 0 ? text : text.slice(0, slash));
  const path = slash < 0 ? "" : text.slice(slash + 1).replace(/\/$/, "");
  if (path === "") return { registry, path };
  try {
    if (parseReference(`${registry}/${path}/x`).repository === `${path}/x`) {
      return { registry, path };
    }
  } catch { /* said below */ }
  throw new HutchError(
    "invalid_option",
    `Cannot use mirror ${JSON.stringify(text)}: it isn't host[:port] or host[:port]/path`,
  );
}
