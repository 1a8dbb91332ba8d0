/**
 * Image references as Docker and the distribution project write them.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { isDigest, parseDigest } from "./digest.ts";

/** The registry of references that name none. */
export const DEFAULT_REGISTRY = "docker.io";

/** The scheme of references that name none. */
export const DEFAULT_SCHEME = "registry";

/** What a reference names. Either `tag` or `digest` is there, or both; then the digest decides. */
export interface ImageReference {
  /** `host[:port]`, such as `docker.io`, `localhost:5000`, `[::1]:5000`; spelled as it was given. */
  readonly registry: string;
  /** Path in the registry, such as `library/debian`. */
  readonly repository: string;
  /** Such as `12`. */
  readonly tag?: string;
  /** `sha256:` and 64 hexadecimal digits. */
  readonly digest?: string;
}

const REPOSITORY_LIMIT = 255;
const HOST_LIMIT = 255;
const REFERENCE_LIMIT = 1024;

const LABEL = /^(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])$/;
const COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const IDENTIFIER = /^[a-f0-9]{64}$/;

/** Whether `text` can be a tag: a letter, digit or `_`, then at most 127 of those, `.` and `-`. */
export function isTag(text: string): boolean {
  return TAG.test(text);
}

/**
 * Takes a reference apart and fills in what Docker fills in: `docker.io`, `library/`, `latest`.
 *
 * @example The long form of a short reference
 * ```ts
 * import { formatReference, parseReference } from "@hutch/hutch";
 * console.log(formatReference(parseReference("debian"))); // docker.io/library/debian:latest
 * ```
 *
 * @throws {HutchError} `invalid_reference`
 */
export function parseReference(text: string): ImageReference {
  try {
    return parse(text);
  } catch (thrown) {
    const shown = JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);
    throw new HutchError(
      "invalid_reference",
      `Cannot read reference ${shown}: ${errorText(thrown)}`,
    );
  }
}

function parse(text: string): ImageReference {
  if (text === "") throw new Error("it is empty");
  if (text.length > REFERENCE_LIMIT) throw new Error(`it is longer than ${REFERENCE_LIMIT}`);
  if (IDENTIFIER.test(text)) {
    throw new Error("64 hexadecimal digits are an image's id, not its name");
  }
  const { rest: named, digest } = cutDigest(text);
  const { registry, path } = cutRegistry(named);
  const { repository: short, tag } = cutTag(path);
  const repository = registry === DEFAULT_REGISTRY && !short.includes("/")
    ? `library/${short}`
    : short;
  checkRepository(repository, short);
  const kept = tag ?? (digest === undefined ? "latest" : undefined);
  return {
    registry,
    repository,
    ...(kept === undefined ? {} : { tag: kept }),
    ...(digest === undefined ? {} : { digest }),
  };
}

function cutDigest(text: string): { rest: string; digest: string | undefined } {
  const at = text.indexOf("@");
  if (at < 0) return { rest: text, digest: undefined };
  return { rest: text.slice(0, at), digest: parseDigest(text.slice(at + 1)) };
}

function cutRegistry(text: string): { registry: string; path: string } {
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  if (slash < 0 || !looksLikeHost(first)) return { registry: DEFAULT_REGISTRY, path: text };
  checkHost(first);
  const registry = first === "index.docker.io" ? DEFAULT_REGISTRY : first;
  return { registry, path: text.slice(slash + 1) };
}

/** Docker's rule: a first part with a dot, a colon or an upper-case letter, or `localhost`. */
function looksLikeHost(first: string): boolean {
  return /[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first;
}

function checkHost(host: string): void {
  if (host.length > HOST_LIMIT) throw new Error(`its host is longer than ${HOST_LIMIT}`);
  const cut = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(host);
  const name = cut?.[1] ?? "";
  const port = cut?.[2];
  if (cut === null) throw new Error(`host ${JSON.stringify(host)} has too many colons`);
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) <= 65535)) {
    throw new Error(`port ${JSON.stringify(port)} isn't a number up to 65535`);
  }
  const valid = name.startsWith("[")
    ? isIpv6(name.slice(1, -1))
    : name.split(".").every((label) => LABEL.test(label));
  if (!valid) throw new Error(`host ${JSON.stringify(name)} isn't a host name or address`);
}

/** Without zones, which the distribution grammar leaves out too. */
function isIpv6(text: string): boolean {
  return /^[0-9a-fA-F:]+$/.test(text) && URL.canParse(`http://[${text}]/`);
}

function cutTag(path: string): { repository: string; tag: string | undefined } {
  const colon = path.indexOf(":");
  if (colon < 0) return { repository: path, tag: undefined };
  const tag = path.slice(colon + 1);
  if (tag === "") throw new Error("its tag is empty");
  if (!TAG.test(tag)) {
    throw new Error(
      `tag ${JSON.stringify(tag)} isn't 1 to 128 letters, digits, "_", "." and "-", ` +
        `beginning with none of the last two`,
    );
  }
  return { repository: path.slice(0, colon), tag };
}

function checkRepository(repository: string, short: string): void {
  if (short === "") throw new Error("it names no repository");
  if (repository.length > REPOSITORY_LIMIT) {
    throw new Error(`its repository is longer than ${REPOSITORY_LIMIT}`);
  }
  for (const component of short.split("/")) {
    if (COMPONENT.test(component)) continue;
    const why = component !== component.toLowerCase()
      ? "has upper-case letters"
      : `isn't lower-case letters and digits, separated by ".", "_", "__" or "-"`;
    throw new Error(`repository part ${JSON.stringify(component)} ${why}`);
  }
}

/** The canonical spelling: `parseReference` of it gives the same reference again. */
export function formatReference(reference: ImageReference): string {
  const { registry, repository, tag, digest } = reference;
  return `${registry}/${repository}` + (tag === undefined ? "" : `:${tag}`) +
    (digest === undefined ? "" : `@${digest}`);
}

/** A reference cut at its scheme. */
export interface SchemedReference {
  readonly scheme: string;
  /** What follows the scheme; for its source to understand. */
  readonly rest: string;
}

/**
 * Cuts a reference at its scheme. Only a scheme that `isScheme` knows counts, so
 * `localhost:5000/x` and `debian:12` have none and get {@link DEFAULT_SCHEME}. Docker's own image
 * called `registry` keeps working: `registry:2` is its tag 2, and `registry:5000/x` is on a host of
 * that name, whereas `registry:debian:12` and `registry:docker.io/library/debian` have the scheme.
 *
 * @throws {HutchError} `invalid_reference` when nothing follows the scheme.
 */
export function splitScheme(
  text: string,
  isScheme: (name: string) => boolean,
): SchemedReference {
  const colon = text.indexOf(":");
  const scheme = text.slice(0, Math.max(colon, 0));
  const rest = text.slice(colon + 1);
  if (colon <= 0 || !isScheme(scheme)) return { scheme: DEFAULT_SCHEME, rest: text };
  if (scheme === DEFAULT_SCHEME && readsAsTagOrPort(rest)) return { scheme, rest: text };
  if (rest === "") {
    const shown = JSON.stringify(text);
    throw new HutchError(
      "invalid_reference",
      `Cannot read reference ${shown}: it ends at its scheme`,
    );
  }
  return { scheme, rest };
}

function readsAsTagOrPort(rest: string): boolean {
  if (/^\d{1,5}\//.test(rest)) return true;
  const at = rest.indexOf("@");
  return TAG.test(at < 0 ? rest : rest.slice(0, at)) && (at < 0 || isDigest(rest.slice(at + 1)));
}

/** The spelling that {@link splitScheme} takes apart again. */
export function joinScheme(reference: SchemedReference): string {
  return `${reference.scheme}:${reference.rest}`;
}
