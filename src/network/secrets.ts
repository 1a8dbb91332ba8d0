/**
 * Secrets that a box uses without having them.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { domainToASCII } from "node:url";
import { HutchError } from "../errors.ts";
import type { NetworkConfig } from "./options.ts";

/** Where in a request a secret can be. */
export type SecretPlace = "header" | "query" | "body";

/** A secret, as a box is asked to have it: its value, or the plugin that knows it. */
export interface SecretOptions {
  /** Kept by the program that makes the box alone: in no file, and no record. */
  readonly value?: string;
  /**
   * Name of the plugin that is asked for the value (`secret`) in each start; `env` is the variable of
   * the same name of whoever starts the box.
   */
  readonly from?: string;
  /** Who gets it: names, and `*.NAME` for all names below it. */
  readonly hosts: readonly string[];
  /** Where it is put into requests. @default {["header"]} */
  readonly places?: readonly SecretPlace[];
}

/** A secret of a box, as recorded: without its value. */
export interface SecretConfig {
  /** The variable's name in the box. */
  readonly name: string;
  /** The variable's value in the box. */
  readonly placeholder: string;
  /** Names, and `*.NAME`, that get it. */
  readonly hosts: readonly string[];
  /** Where it is put into requests. */
  readonly places: readonly SecretPlace[];
  /** The plugin that knows it; null for a value that its creator gave. */
  readonly from: string | null;
}

/** Where each box that has secrets has the authority that its connections to their hosts show. */
export const AUTHORITY_PATH = "/etc/ssl/hutch.pem";
/** All authorities that the box trusts. */
export const BUNDLE_PATH = "/etc/ssl/hutch-bundle.pem";

const PLACES: readonly SecretPlace[] = ["header", "query", "body"];
const MAX_SECRETS = 64;
const MAX_HOSTS = 200;
const MAX_VALUE = 64 * 1024;

/**
 * Checks secrets and gives each a placeholder.
 *
 * @throws HutchError `invalid_option`, which names no value.
 */
export function secretConfigs(secrets: Readonly<Record<string, SecretOptions>>): SecretConfig[] {
  const entries = Object.entries(secrets);
  if (entries.length > MAX_SECRETS) {
    throw refused("so many secrets", `a box has ${MAX_SECRETS} at most`);
  }
  const configs = entries.map(([name, options]) => configOf(name, options));
  const hosts = new Set(configs.flatMap((secret) => secret.hosts));
  if (hosts.size <= MAX_HOSTS) return configs;
  throw refused("secrets", `${hosts.size} hosts are more than ${MAX_HOSTS}`);
}

function configOf(name: string, options: SecretOptions): SecretConfig {
  const what = `the secret ${JSON.stringify(name)}`;
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name) || name.startsWith("HUTCH_")) {
    throw refused(what, "its name can't be a variable's");
  }
  const { value, from, hosts, places = ["header"] } = options;
  if ((value === undefined) === (from === undefined)) {
    throw refused(what, "it has either a value or a plugin that knows it (from)");
  }
  if (value !== undefined) checkValue(value, what);
  if (!Array.isArray(hosts) || hosts.length === 0) throw refused(what, "no host may get it");
  if (places.length === 0 || places.some((place) => !PLACES.includes(place))) {
    throw refused(what, `its places aren't of ${PLACES.join(", ")}`);
  }
  return {
    name,
    placeholder: `hutch-secret-${randomBytes(16).toString("hex")}`,
    hosts: hosts.map((host) => hostOf(host, what)),
    places: [...places],
    from: from ?? null,
  };
}

/**
 * Throws for what can't be in a header.
 *
 * @throws HutchError `invalid_option`, which doesn't show it.
 */
export function checkValue(value: string, what: string): void {
  const good = typeof value === "string" && value.length > 0 && value.length <= MAX_VALUE &&
    /^[\t\x20-\x7e\x80-\xff]+$/.test(value);
  if (!good) {
    throw refused(what, "its value is no text of 1 to 65536 characters that a header can have");
  }
}

/**
 * A host's name, or `*.NAME`, as it is compared.
 *
 * @throws HutchError `invalid_option`.
 */
export function hostOf(host: string, what: string): string {
  const star = host.startsWith("*.") ? "*." : "";
  const name = domainToASCII(host.slice(star.length)).replace(/\.$/, "");
  const labels = name.split(".");
  const good = name.length <= 250 && labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label)) &&
    !/^\d+$/.test(labels.at(-1) ?? "");
  if (good) return star + name;
  throw refused(what, `"${host}" is no host's name, nor *.NAME`);
}

/** Whether TLS of the box ends in its interceptor. */
export function isIntercepted(
  { secrets, hooks }: Pick<NetworkConfig, "secrets" | "hooks">,
): boolean {
  return secrets.length > 0 || hooks.kinds.includes("request");
}

/** What commands in a box whose TLS is looked into have in their environment. */
export function secretVariables(
  { secrets, hooks }: Pick<NetworkConfig, "secrets" | "hooks">,
): Record<string, string> {
  if (!isIntercepted({ secrets, hooks })) return {};
  return {
    NODE_EXTRA_CA_CERTS: AUTHORITY_PATH,
    DENO_CERT: AUTHORITY_PATH,
    SSL_CERT_FILE: BUNDLE_PATH,
    ...Object.fromEntries(secrets.map(({ name, placeholder }) => [name, placeholder])),
  };
}

function refused(what: string, why: string): HutchError {
  return new HutchError("invalid_option", `Cannot give a box ${what}: ${why}`);
}
