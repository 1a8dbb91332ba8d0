/**
 * What a configuration says of registries, checked.
 *
 * @module
 */
import { resolve } from "node:path";
import { type RegistryConfig, registryName, splitMirror } from "../images/registry/registries.ts";
import { describe, type Fields, isFields, refuseUnknown } from "../plugin/check.ts";
import type { Credentials } from "../plugin/contract.ts";

const KEYS: Record<keyof RegistryConfig, true> = {
  mirrors: true,
  insecure: true,
  ca: true,
  clientCertificate: true,
  credentials: true,
};

/**
 * Checks what a configuration says of registries, which may come from a program without types.
 *
 * @param folder What relative paths count from.
 * @throws {HutchError} `invalid_option`, or an error that names the field.
 */
export function readRegistries(
  value: unknown,
  folder: string,
): ReadonlyMap<string, RegistryConfig> {
  if (!isFields(value)) throw new Error(`its registries is ${describe(value)}, not an object`);
  const found = new Map<string, RegistryConfig>();
  for (const [key, fields] of Object.entries(value)) {
    const name = registryName(key);
    if (found.has(name)) throw new Error(`its registries names ${name} twice`);
    if (!isFields(fields)) {
      throw new Error(
        `its registries[${JSON.stringify(key)}] is ${describe(fields)}, not an object`,
      );
    }
    found.set(name, readConfig(fields, `registries[${JSON.stringify(key)}].`, folder));
  }
  return found;
}

function readConfig(fields: Fields, at: string, folder: string): RegistryConfig {
  refuseUnknown(fields, KEYS, at);
  const { mirrors, insecure, ca, clientCertificate: certificate, credentials } = fields;
  if (insecure !== undefined && typeof insecure !== "boolean") {
    throw new Error(`its ${at}insecure is ${describe(insecure)}, not true or false`);
  }
  const pem = texts(ca, `${at}ca`)?.map((path) => resolve(folder, path));
  const names = texts(mirrors, `${at}mirrors`);
  for (const mirror of names ?? []) splitMirror(mirror);
  if (insecure === true && (pem || certificate !== undefined)) {
    throw new Error(`its ${at}insecure is true, but ca and clientCertificate are for TLS`);
  }
  return {
    ...names === undefined ? {} : { mirrors: names },
    ...insecure === undefined ? {} : { insecure },
    ...pem === undefined ? {} : { ca: pem },
    ...certificate === undefined
      ? {}
      : { clientCertificate: readCertificate(certificate, `${at}clientCertificate`, folder) },
    ...credentials === undefined
      ? {}
      : { credentials: readCredentials(credentials, `${at}credentials`) },
  };
}

function readCertificate(value: unknown, at: string, folder: string) {
  const { cert, key } = isFields(value) ? value : {};
  if (typeof cert === "string" && typeof key === "string") {
    return { cert: resolve(folder, cert), key: resolve(folder, key) };
  }
  throw new Error(`its ${at} doesn't have the paths cert and key`);
}

/** Never shows a value: it is a secret. */
function readCredentials(value: unknown, at: string): Credentials {
  if (isFields(value)) {
    const { username, password, token, identityToken } = value;
    if (typeof username === "string" && typeof password === "string") return { username, password };
    if (typeof token === "string") return { token };
    if (typeof identityToken === "string") return { identityToken };
  }
  throw new Error(`its ${at} isn't username and password, token, or identityToken, as texts`);
}

function texts(value: unknown, at: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
  throw new Error(`its ${at} is not a list of texts`);
}
