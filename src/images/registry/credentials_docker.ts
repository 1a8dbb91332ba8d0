/**
 * Logins that Docker's own command line keeps: in its `config.json`, or through the helpers that
 * this file names.
 *
 * @module
 */
import { join } from "node:path";
import { errorText, HutchError } from "../../errors.ts";
import { asPermissionError } from "../../permissions.ts";
import type { Credentials } from "../../plugin/contract.ts";
import { helperGet, type HelperOptions, TOKEN_USER } from "./credentials_helper.ts";
import { isObject, type JsonObject } from "../json.ts";
import { DEFAULT_REGISTRY } from "../reference.ts";
import { canonicalHost, hostOf } from "./registries.ts";

/** Largest `config.json` that is read, in bytes. */
const LIMIT = 4 * 1024 * 1024;
/** How Docker's tools call the registry that references don't name. */
const DOCKER_SERVER = "https://index.docker.io/v1/";

/** How helpers call a registry. */
export function serverOf(registry: string): string {
  return registry === DEFAULT_REGISTRY ? DOCKER_SERVER : registry;
}

/** The folder of Docker's `config.json`: `DOCKER_CONFIG`, else `~/.docker`. */
export function dockerFolder(): string | undefined {
  const named = Deno.env.get("DOCKER_CONFIG");
  if (named) return named;
  const user = Deno.env.get("HOME");
  return user ? join(user, ".docker") : undefined;
}

/**
 * Whom Docker would be at a registry; undefined when it has no login there.
 *
 * @param registry Name as in references, in lower case.
 * @throws {HutchError} `credentials_unavailable`, `cancelled`
 */
export async function dockerCredentials(
  folder: string,
  registry: string,
  options: HelperOptions,
): Promise<Credentials | undefined> {
  const path = join(folder, "config.json");
  const config = await readConfig(path);
  if (config === undefined) return undefined;
  const helper = entryOf(field(config, "credHelpers", path), registry) ??
    config["credsStore"];
  let failure: unknown;
  if (helper !== undefined && helper !== "") {
    if (typeof helper !== "string") throw unusable(path, "a credential helper isn't named by text");
    try {
      const login = await helperGet(helper, serverOf(registry), options);
      if (login) return credentialsOf(login.username, login.secret);
    } catch (error) {
      if (options.signal.aborted) throw error;
      failure = error; // a login beside it may do: files outlive the helpers that they name
    }
  }
  const auth = entryOf(field(config, "auths", path), registry);
  const login = auth === undefined ? undefined : readAuth(auth, path);
  if (login === undefined && failure !== undefined) throw failure;
  return login;
}

/** A user name and what belongs to it, which is an identity token when there is no name. */
export function credentialsOf(username: string, secret: string): Credentials {
  return username === TOKEN_USER ? { identityToken: secret } : { username, password: secret };
}

async function readConfig(path: string): Promise<JsonObject | undefined> {
  let text: string;
  try {
    const { size } = await Deno.stat(path);
    if (size > LIMIT) throw new Error(`it is larger than ${LIMIT} bytes`);
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof Deno.errors.NotADirectory) return undefined;
    const missing = asPermissionError(error, `read logins from ${path}`);
    if (missing !== error) throw missing;
    throw unusable(path, errorText(error));
  }
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch { /* the parser's message would quote it */ }
  if (isObject(config)) return config;
  throw unusable(path, "it isn't a JSON object");
}

function field(config: JsonObject, name: string, path: string): JsonObject {
  const value = config[name] ?? {};
  if (isObject(value)) return value;
  throw unusable(path, `its ${name} isn't an object`);
}

/** The entry under the registry's plain name, else under another spelling of it. */
function entryOf(entries: JsonObject, registry: string): unknown {
  if (Object.hasOwn(entries, registry)) return entries[registry];
  return Object.entries(entries).find(([key]) => canonicalHost(hostOf(key)) === registry)?.[1];
}

function readAuth(entry: unknown, path: string): Credentials | undefined {
  if (!isObject(entry)) throw unusable(path, "a login in its auths isn't an object");
  const text = (name: string): string | undefined => {
    const value = entry[name];
    if (value === undefined || value === null || value === "") return undefined;
    if (typeof value === "string") return value;
    throw unusable(path, `the ${name} of a login in its auths isn't text`);
  };
  const identityToken = text("identitytoken");
  if (identityToken !== undefined) return { identityToken };
  const token = text("registrytoken");
  if (token !== undefined) return { token };
  const auth = text("auth");
  if (auth !== undefined) return readPair(auth, path);
  const username = text("username");
  const password = text("password");
  // An entry without either says that a helper has them.
  return username === undefined || password === undefined
    ? undefined
    : credentialsOf(username, password);
}

/** Base64 of `USER:PASSWORD`; Docker ends it with zero bytes at times. */
function readPair(auth: string, path: string): Credentials {
  try {
    const bytes = Uint8Array.fromBase64(auth);
    const pair = new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/\0+$/, "");
    const colon = pair.indexOf(":");
    if (colon > 0) return credentialsOf(pair.slice(0, colon), pair.slice(colon + 1));
  } catch { /* the message would quote it */ }
  throw unusable(path, "the auth of a login in its auths isn't USER:PASSWORD in base64");
}

function unusable(path: string, problem: string): HutchError {
  return new HutchError("credentials_unavailable", `Cannot read logins from ${path}: ${problem}`, {
    hint: "repair it, log in by `hutch login`, or set DOCKER_CONFIG to another folder",
  });
}
